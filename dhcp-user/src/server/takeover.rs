//! A daemon's start between its store and the kernel, as far as it keeps promises: what is remembered, and how the
//! promises of an earlier daemon's program are taken over. Behind traits, so that the simulator runs this very code.

use std::{net::Ipv4Addr, sync::Arc};

use dhcp_common::{abi::Control, request::Interface};

use super::{
    core::Core,
    keeper::{Keeper, KeeperError, MARKS_BATCH},
    learn::Learner,
    memory::{Memory, meta},
    work::Work,
};
use crate::{
    config::{self, model::Config},
    engine::Engine,
    fastpath::{answers::AnswerTable, error::FastPathError, kernel::Mark, lease_map::LeaseMap},
    lease::{
        record::LeaseRecord,
        store::{Batch, LeaseStore, MetaKey, Recovered, StoreError},
        table::LeaseTable,
    },
    time::{Span, Timestamp},
    timeline::{Anchor, BootId, Resume, Timeline, TimelineError},
};

/// Why nothing can be remembered.
#[derive(Debug, thiserror::Error)]
pub enum RememberError {
    /// The timeline cannot be resumed.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// What was decided about the store's content cannot be made durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a daemon finds on the machine it starts on.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The configuration to serve.
    pub config: Arc<Config>,
    /// Our address on each interface of the configuration.
    pub servers: Vec<Ipv4Addr>,
    /// The interfaces, in the order of the configuration.
    pub interfaces: Vec<Interface>,
    /// All our addresses.
    pub local: Vec<Ipv4Addr>,
    /// Which boot it is.
    pub boot_id: BootId,
    /// The boot clock.
    pub boot_ns: u64,
    /// The wall clock, nanoseconds since the Unix epoch.
    pub wall_ns: u64,
    /// A fingerprint key to use if a new one is needed.
    pub random_key: Vec<u8>,
    /// Spreads allocation.
    pub seed: u64,
}

/// A keeper of what `store` held (`recovered` and `leases`) and still holds under the configuration; there is no kernel
/// yet.
///
/// # Errors
/// [`RememberError`], a full disk among them: then nothing was promised, and an earlier daemon's program goes on.
pub fn remember<S: LeaseStore, K: LeaseMap>(
    around: Surroundings,
    store: S,
    recovered: &Recovered,
    leases: Vec<LeaseRecord>,
) -> Result<(Keeper<S, K>, Resume), RememberError> {
    let anchor = meta(recovered, MetaKey::TimelineAnchor).map(Anchor::decode).transpose()?;
    let (timeline, resume) = Timeline::resume(anchor, around.boot_id, around.boot_ns, around.wall_ns);
    let digest = digest_of(&around.config, &around.servers);
    let answers_max = around.config.fastpath.answers_max;
    let mut memory = Memory::judge(recovered, leases, digest, answers_max, &around.random_key);

    let table = LeaseTable::from_records(std::mem::take(&mut memory.leases));
    let learner = Learner {
        control: memory.control,
        answers: std::mem::replace(&mut memory.answers, AnswerTable::new(0)),
        interfaces: around.interfaces,
        unpublishable: 0,
        relays: Default::default(),
    };
    let engine = Engine::new(around.config, around.servers, table);
    let core = Core::new(engine, learner, around.local, around.seed);
    let mut keeper = Keeper::new(core, store, timeline, &memory);
    // With where the timeline stands in this boot: should this start be cut short, the next one need not ask the wall
    // clock again, which may have been set by then.
    memory
        .batch
        .meta
        .push((MetaKey::TimelineAnchor, timeline.anchor(around.boot_ns, around.wall_ns).encode()));
    // Not by `commit`: without it, what is learnt from here on would not be known again, or be taken for something else.
    keeper.store.commit_in_parts(&memory.batch)?;
    Ok((keeper, resume))
}

/// A digest of all that shapes replies: the server's addresses do so too, and may come from the system.
pub(super) fn digest_of(config: &Config, servers: &[Ipv4Addr]) -> Vec<u8> {
    let mut digest = config::digest(config).to_vec();
    servers.iter().for_each(|server| digest.extend_from_slice(&server.octets()));
    digest
}

/// The kernel's side of a start.
pub trait Succession {
    /// The maps of the new daemon.
    type Map: LeaseMap;

    /// The boot clock, now.
    fn boot_ns(&self) -> u64;

    /// Every lease that an earlier daemon's program renewed; `None` if there are no maps of an earlier daemon.
    fn predecessor_marks(&self) -> Option<Vec<Mark>>;

    /// Makes empty maps that no program uses yet.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn load(&mut self, control: &Control) -> Result<Self::Map, FastPathError>;

    /// Has programs answer from `map`, in the place of an earlier daemon's where there are such.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn attach(&mut self, map: &mut Self::Map) -> Result<(), FastPathError>;

    /// Waits until every program that is running now has ended.
    ///
    /// # Errors
    /// If the kernel refuses; then nothing may be assumed to have ended.
    fn wait_for_programs(&mut self) -> Result<(), FastPathError>;

    /// Lets go of the maps of earlier daemons: all that they say is durable.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn finish(&mut self) -> Result<(), FastPathError>;
}

impl<S: LeaseStore, K: LeaseMap> Keeper<S, K> {
    /// Puts our programs and maps in the place of an earlier daemon's, if there was one: what its program renewed is
    /// read before the engine judges any lease, the new maps are full before programs use them, and what the old
    /// program renewed in the meantime is read once it certainly runs no more. The kernel's authority then lasts for
    /// `authority`.
    ///
    /// # Errors
    /// If the store or the kernel fail: then the earlier program goes on within its horizons.
    pub fn take_over(
        &mut self,
        succession: &mut impl Succession<Map = K>,
        authority: Span,
    ) -> Result<(), KeeperError> {
        // Renewals of an earlier program that nobody has seen yet.
        let marks = succession.predecessor_marks();
        let had_predecessor = marks.is_some();
        match marks {
            Some(marks) => {
                let now = self.timeline.timestamp(succession.boot_ns());
                self.inherit(now, &marks)?;
            }
            // Marks of grants made before now, if any, are lost.
            None => self.marks_known_since = self.timeline.timestamp(succession.boot_ns()),
        }
        // Should this start be cut short below, the old program's last marks may be lost: until they have been read,
        // the next start is to go by horizons for everything granted before now.
        let now = self.timeline.timestamp(succession.boot_ns());
        self.note_marks_known_since(now)?;

        let map = succession.load(&self.core.learner.control)?;
        self.fill(map)?;
        if let Some(map) = &mut self.kernel {
            map.set_authority_until_boot_ns(succession.boot_ns().saturating_add(authority.0));
            succession.attach(map)?;
        }
        if had_predecessor {
            // Frames that the old program was still answering when it was swapped are in its marks after this.
            succession.wait_for_programs()?;
            // All of them again: one that stood still for long marks an old moment.
            let marks = succession.predecessor_marks().unwrap_or_default();
            let now = self.timeline.timestamp(succession.boot_ns());
            self.inherit(now, &marks)?;
        }
        self.note_marks_known_since(self.marks_known_since)?;
        succession.finish()?;
        Ok(())
    }

    /// Takes note of what an earlier program renewed, durably: our maps do not bear its marks, and a start after this
    /// one will not see its maps.
    pub(super) fn inherit(&mut self, now: Timestamp, marks: &[Mark]) -> Result<(), KeeperError> {
        for some in marks.chunks(MARKS_BATCH) {
            let mut work = Work::default();
            for mark in some {
                let known = self.granted_at(mark.address);
                self.core.renewed(now, mark, &self.timeline, &mut work);
                if self.granted_at(mark.address) != known {
                    work.batch.leases.extend(self.core.engine.leases().get(mark.address).cloned());
                }
            }
            // Not by `commit`: a full disk is no reason to go on without.
            self.store.commit_in_parts(&work.batch)?;
            work.batch = Batch::default();
            // What this withdraws, the engine asks for again.
            let aftermath = self.settle(now, work)?;
            self.inherited.extend(aftermath.audit);
        }
        Ok(())
    }

    fn granted_at(&self, address: Ipv4Addr) -> Option<Timestamp> {
        Some(self.core.engine.leases().get(address)?.granted_at)
    }
}
