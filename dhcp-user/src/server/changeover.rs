//! Another configuration under a running daemon, as far as it keeps promises: the takeover of a start, inside the process.
//! Behind traits, so that the simulator runs this very code.
//!
//! New maps know no renewal, so programs over them answer nothing: they can be attached first, and taken away again
//! without a trace should anything after that be refused. What the programs before them renewed is read when they
//! certainly run no more; then one batch makes the new configuration's digest, generation and key durable and drops all
//! answers; and only then is anything taught or promised under it.

use std::{net::Ipv4Addr, sync::Arc};

use dhcp_common::{abi::Control, request::Interface};

use super::{
    keeper::{Keeper, KeeperError},
    learn::Learner,
    takeover::digest_of,
};
use crate::{
    config::model::{Config, ConflictDetection},
    fastpath::{answers::AnswerTable, error::FastPathError, kernel::Mark, lease_map::LeaseMap, stored},
    lease::{
        record::LeaseState,
        store::{Batch, LeaseStore, MetaKey, StoreError},
    },
    time::{Span, Timestamp},
};

/// What changes.
#[derive(Clone, Debug)]
pub struct Change {
    /// The configuration to serve.
    pub config: Arc<Config>,
    /// Our address on each of its interfaces.
    pub servers: Vec<Ipv4Addr>,
    /// The interfaces, in its order.
    pub interfaces: Vec<Interface>,
    /// All our addresses.
    pub local: Vec<Ipv4Addr>,
    /// How addresses are asked for, as far as there are sockets to ask by.
    pub probing: Option<ConflictDetection>,
    /// A fingerprint key, [`stored::KEY_LEN`] octets.
    pub random_key: Vec<u8>,
}

/// Why the configuration stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The kernel refuses; nothing has changed.
    #[error("the kernel refuses, and everything stays as it was: {0}")]
    Refused(#[source] FastPathError),
    /// It cannot be made durable; nothing has changed.
    #[error("it cannot be made durable, and everything stays as it was: {0}")]
    NotDurable(#[source] StoreError),
    /// Store or kernel failed in the middle: nothing more may be promised.
    #[error(transparent)]
    Failed(#[from] KeeperError),
}

/// The kernel's side of a change.
pub trait Changeover {
    /// The maps.
    type Map: LeaseMap;

    /// The boot clock, now.
    fn boot_ns(&self) -> u64;

    /// Makes empty maps that no program uses yet.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn load(&mut self, control: &Control) -> Result<Self::Map, FastPathError>;

    /// Has programs answer from `map`, and from no other.
    ///
    /// # Errors
    /// If the kernel refuses: then some may, and some may not.
    fn attach(&mut self, map: &mut Self::Map) -> Result<(), FastPathError>;

    /// Waits until every program that is running now has ended.
    ///
    /// # Errors
    /// If the kernel refuses; then nothing may be assumed to have ended.
    fn wait_for_programs(&mut self) -> Result<(), FastPathError>;

    /// Lets go of maps that no program uses and that have nothing more to say.
    fn discard(&mut self, map: Self::Map);
}

impl<S: LeaseStore, K: LeaseMap> Keeper<S, K> {
    /// Puts another configuration in force. Leases, and what the kernel renewed of them, stay; what it knew of renewals
    /// does not, so that each client's next renewal comes to the daemon. What the audit log is to say of the kernel's last
    /// renewals is in [`inherited`](Self::inherited) afterwards.
    ///
    /// # Errors
    /// [`ChangeError`]: all but [`ChangeError::Failed`] leave everything as it was.
    pub fn change_over(
        &mut self,
        change: Change,
        side: &mut impl Changeover<Map = K>,
        authority: Span,
    ) -> Result<(), ChangeError> {
        let generation = self.core.learner.control.generation.wrapping_add(1).max(1);
        let key = stored::decode_key(&change.random_key)
            .ok_or(ChangeError::Refused(FastPathError::Missing("key of the right length")))?;
        let control = Control { generation, key, ..Control::default() };
        let (fresh, marks) = match self.kernel {
            None => (None, Vec::new()),
            Some(_) => {
                let mut fresh = side.load(&control).map_err(ChangeError::Refused)?;
                match self.bring_in(&mut fresh, side) {
                    Ok(marks) => (Some(fresh), marks),
                    Err(error) => return Err(self.stay(error, Some(fresh), side)),
                }
            }
        };
        let batch = Batch {
            meta: vec![
                (MetaKey::ConfigDigest, digest_of(&change.config, &change.servers)),
                (MetaKey::Generation, generation.to_le_bytes().to_vec()),
                (MetaKey::FingerprintKey, stored::encode_key(&control)),
            ],
            dropped_answers: self.core.learner.answers.iter().map(|(index, _)| index).collect(),
            ..Batch::default()
        };
        // Of parts, should it be too large for one, the first disowns what is dropped in the others.
        match self.store.commit_in_parts(&batch) {
            Ok(()) => self.commits += 1,
            Err(error @ StoreError::Full { .. }) => {
                return Err(self.stay(ChangeError::NotDurable(error), fresh, side));
            }
            Err(error) => return Err(ChangeError::Failed(error.into())),
        }
        self.reconfigure(self.timeline.timestamp(side.boot_ns()), change, control);
        if let Some(map) = fresh {
            let before = self.kernel.take();
            self.fill(map).map_err(KeeperError::from)?;
            if let Some(map) = &mut self.kernel {
                map.set_authority_until_boot_ns(side.boot_ns().saturating_add(authority.0));
            }
            if self.carry(&marks)? {
                before.into_iter().for_each(|before| side.discard(before));
            }
        }
        Ok(())
    }

    /// Has the new maps bear the marks of those before. What they cannot (the address is in no pool any more, or on its
    /// way out) was known so far by its mark alone: it is made durable, or a start after this one would not know it.
    /// `false` if there is no room for that: then the maps before must stay pinned.
    fn carry(&mut self, marks: &[Mark]) -> Result<bool, ChangeError> {
        let mut batch = Batch::default();
        let Some(map) = &mut self.kernel else { return Ok(true) };
        for mark in marks {
            map.carry_mark(mark);
            let lease = self.core.engine.leases().get(mark.address);
            let held = lease.filter(|lease| {
                lease.state == LeaseState::Bound && lease.hardware.as_ethernet() == Some(mark.chaddr)
            });
            if map.renewed_boot_ns(mark.address) < Some(mark.renewed_boot_ns) {
                batch.leases.extend(held.cloned());
            }
        }
        match self.store.commit_in_parts(&batch) {
            Ok(()) => Ok(true),
            Err(error @ StoreError::Full { .. }) => {
                tracing::error!(%error, "maps from before stay pinned: what they say cannot be made durable");
                Ok(false)
            }
            Err(error) => Err(ChangeError::Failed(error.into())),
        }
    }

    /// Runs programs over `fresh` in the place of those before, and takes note of what those renewed to their very end.
    fn bring_in(
        &mut self,
        fresh: &mut K,
        side: &mut impl Changeover<Map = K>,
    ) -> Result<Vec<Mark>, ChangeError> {
        side.attach(fresh).map_err(ChangeError::Refused)?;
        side.wait_for_programs().map_err(ChangeError::Refused)?;
        let marks = self.kernel.as_ref().map(LeaseMap::all_marks).unwrap_or_default();
        let now = self.timeline.timestamp(side.boot_ns());
        match self.inherit(now, &marks) {
            Ok(()) => Ok(marks),
            Err(KeeperError::Store(error @ StoreError::Full { .. })) => Err(ChangeError::NotDurable(error)),
            Err(error) => Err(ChangeError::Failed(error)),
        }
    }

    /// Takes the links back for the maps that are in force; `error`, or a worse one.
    fn stay(
        &mut self,
        error: ChangeError,
        fresh: Option<K>,
        side: &mut impl Changeover<Map = K>,
    ) -> ChangeError {
        let Some(map) = self.kernel.as_mut().filter(|_| fresh.is_some()) else { return error };
        if let Err(worse) = side.attach(map) {
            return ChangeError::Failed(worse.into());
        }
        fresh.into_iter().for_each(|fresh| side.discard(fresh));
        error
    }

    /// The configuration in memory; what was learnt under the one before is forgotten.
    fn reconfigure(&mut self, now: Timestamp, change: Change, control: Control) {
        let Change { config, servers, interfaces, local, probing, .. } = change;
        let answers = AnswerTable::new(config.fastpath.answers_max);
        self.core.engine.reconfigure(now, config, servers, probing);
        let unpublishable = self.core.learner.unpublishable;
        // Interfaces and their links may be others.
        let relays = Default::default();
        self.core.learner = Learner { control, answers, interfaces, unpublishable, relays };
        self.core.local = local;
        if let Some(site) = &mut self.site {
            site.teach_anew();
        }
        // Their clients ask again, and whether their addresses are free is asked anew.
        self.core.waiting.clear();
        self.unsaved_answers.clear();
    }
}
