//! What the management interfaces ask of the service's thread beyond one lease and the counters. Every answer is bounded
//! work, for while it is made nothing else is done: a page looks at so many leases, and whoever wants more asks again.

use std::{net::Ipv4Addr, sync::Arc};

use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::{
    service::Service,
    view::{LeaseView, PoolView, SubnetView},
    work::Work,
};
use crate::{
    audit::{AuditEvent, Granter},
    config::model::Config,
    engine::Effects,
    lease::{
        record::{ClientKey, HardwareAddress, LeaseRecord, LeaseState},
        table::{LeaseTable, Search},
    },
    time::Timestamp,
};

/// The most leases one page carries.
pub const PAGE_LEASES_MAX: usize = 512;
/// The most leases looked at for one page, and the most that an index is asked to tell for it.
pub const PAGE_SCAN_MAX: usize = 4_096;

/// So many subnets and pools are shown at once, but for the pools of the last of these subnets.
const PART_POOLS: usize = 512;

/// From one address to another, ascending and disjoint.
pub type Ranges = Arc<[(Ipv4Addr, Ipv4Addr)]>;

/// Which leases are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// From this address, itself excepted.
    pub after: Option<Ipv4Addr>,
    /// Not before this one.
    pub first: Option<Ipv4Addr>,
    /// Not after this one.
    pub last: Option<Ipv4Addr>,
    /// Inside one of these. Nothing outside of them is looked at, or told.
    pub ranges: Option<Ranges>,
    /// Of this hardware address.
    pub hw_address: Option<HardwareAddress>,
    /// With this option 61.
    pub client_id: Option<Vec<u8>>,
    /// With this in the host name, in lower case.
    pub hostname: Option<String>,
    /// In this state.
    pub state: Option<LeaseState>,
    /// Last granted by the kernel (`true`) or the daemon.
    pub by_kernel: Option<bool>,
    /// The most to give, up to [`PAGE_LEASES_MAX`].
    pub limit: usize,
}

/// Some of the leases that are wanted, by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The leases.
    pub leases: Vec<LeaseView>,
    /// Ask again with this as `after`; `None` at the end.
    pub next: Option<Ipv4Addr>,
    /// How many leases were looked at, and ranges looked into.
    pub scanned: usize,
}

/// Some of the subnets, by address.
#[derive(Clone, Debug, PartialEq)]
pub struct SubnetPart {
    /// The subnets.
    pub subnets: Vec<SubnetView>,
    /// Ask again from here on; `None` at the end.
    pub next: Option<Ipv4Addr>,
}

/// What an operator wants done to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Take the address from its client, by the way a RELEASE goes.
    Release,
    /// Grant it its lease time from now.
    Extend,
}

/// Why a lease stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActError {
    /// There is none.
    #[error("there is no lease of this address")]
    NoLease,
    /// It is no longer what was looked at.
    #[error("the lease has changed since it was looked at: look again")]
    Changed,
    /// Its state does not allow it.
    #[error("the lease is not bound, or on its way out: there is nothing to release or extend")]
    NotBound,
    /// It cannot be made durable.
    #[error("the store has no room: nothing was changed; free some space")]
    StoreFull,
}

/// A change to a lease.
#[derive(Debug)]
pub struct Change {
    /// Its address.
    pub address: Ipv4Addr,
    /// What to do.
    pub act: Act,
    /// The versions it may have; any without.
    pub expected: Option<Vec<String>>,
    /// Where to say how it went.
    pub to: oneshot::Sender<Result<LeaseView, ActError>>,
}

/// Whether the parts of a running service are there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, ToSchema)]
pub struct ServiceHealth {
    /// Interfaces on which the kernel program should run.
    pub fast_path_wanted: usize,
    /// Interfaces on which it runs, as far as was last seen.
    pub fast_path_attached: usize,
    /// Interfaces that are not there any more, or not the ones that were opened: nothing is received there.
    pub interfaces_lost: usize,
    /// How often the kernel program was attached again because somebody had taken it away.
    pub attached_again: u64,
    /// What is wrong with interfaces and programs, in words, with the way out.
    pub problems: Vec<String>,
    /// Replies not sent because their leases could not be made durable.
    pub store_refusals: u64,
    /// Batches made durable.
    pub commits: u64,
}

impl Wanted {
    /// Where to look for them in a table.
    pub fn search<'a>(&self, table: &'a LeaseTable) -> Search<'a> {
        let client = self.client_id.as_deref().map(|id| ClientKey::Id(id.into()));
        table.search(client.as_ref(), self.hw_address.as_ref(), PAGE_SCAN_MAX)
    }

    /// The first and the last address there may be on the page; `None` if there is none.
    fn bounds(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let next = match self.after {
            Some(after) => Some(Ipv4Addr::from_bits(after.to_bits().checked_add(1)?)),
            None => None,
        };
        let first = next.max(self.first).unwrap_or(Ipv4Addr::UNSPECIFIED);
        let last = self.last.unwrap_or(Ipv4Addr::BROADCAST);
        (first <= last).then_some((first, last))
    }

    fn fits(&self, lease: &LeaseRecord) -> bool {
        let id = |wanted: &Vec<u8>| matches!(&lease.client, ClientKey::Id(id) if **id == **wanted);
        let named = |wanted: &String| {
            lease.hostname.escape_ascii().to_string().to_lowercase().contains(wanted.as_str())
        };
        self.state.is_none_or(|state| state == lease.state)
            && self.hw_address.is_none_or(|wanted| lease.hardware == wanted)
            && self.client_id.as_ref().is_none_or(id)
            && self.hostname.as_ref().is_none_or(named)
    }
}

/// Finds the page of `leases` (as [`Search::between`] gives them for an address range) that is wanted, range by range: what
/// lies between them costs nothing. `view` shows a lease, or says that it is not wanted after all.
pub fn page<'a, I: Iterator<Item = &'a LeaseRecord>>(
    wanted: &Wanted,
    leases: impl Fn(Ipv4Addr, Ipv4Addr) -> I,
    mut view: impl FnMut(&LeaseRecord) -> Option<LeaseView>,
) -> Page {
    let limit = wanted.limit.clamp(1, PAGE_LEASES_MAX);
    let mut page = Page { leases: Vec::new(), next: None, scanned: 0 };
    let Some((first, last)) = wanted.bounds() else { return page };
    let everywhere = [(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)];
    let ranges = wanted.ranges.as_deref().unwrap_or(&everywhere);
    let before = ranges.partition_point(|(_, end)| *end < first);
    let ranges = ranges.get(before..).unwrap_or_default().iter();
    let mut done = None;
    for (begin, end) in ranges.take_while(|(begin, _)| *begin <= last) {
        if page.scanned >= PAGE_SCAN_MAX {
            page.next = done;
            return page;
        }
        let before = page.scanned;
        for lease in leases(first.max(*begin), last.min(*end)) {
            page.scanned += 1;
            if wanted.fits(lease) {
                page.leases.extend(view(lease));
            }
            if page.leases.len() == limit || page.scanned >= PAGE_SCAN_MAX {
                page.next = Some(lease.address);
                return page;
            }
        }
        // One without leases costs as much as a lease.
        page.scanned = page.scanned.max(before + 1);
        done = Some(*end);
    }
    page
}

/// Some of the subnets of a configuration, from an address on; `free` tells the free addresses of a pool, by indices.
pub fn subnets(config: &Config, from: Ipv4Addr, mut free: impl FnMut(usize, usize) -> u64) -> SubnetPart {
    let mut part = SubnetPart { subnets: Vec::new(), next: None };
    let mut looked_at = 0;
    let before = config.subnets.partition_point(|subnet| subnet.prefix.network() < from);
    for (at, subnet) in config.subnets.iter().enumerate().skip(before) {
        if looked_at >= PART_POOLS {
            part.next = Some(subnet.prefix.network());
            break;
        }
        let pools = subnet.pools.iter().enumerate();
        let pools = pools.map(|(n, pool)| PoolView::new(pool.first, pool.last, free(at, n)));
        part.subnets.push(SubnetView::new(config, subnet, pools.collect()));
        looked_at += 1 + subnet.pools.len();
    }
    part
}

impl Service {
    pub(super) fn page(&self, wanted: &Wanted) -> Page {
        let search = wanted.search(self.keeper.core.engine.leases());
        page(
            wanted,
            |first, last| search.between(first, last),
            |lease| {
                let is_wanted = wanted.by_kernel.is_none_or(|kernel| kernel == self.is_by_kernel(lease));
                is_wanted.then(|| self.lease_view(lease))
            },
        )
    }

    pub(super) fn subnet_part(&self, from: Ipv4Addr) -> SubnetPart {
        let engine = &self.keeper.core.engine;
        subnets(engine.config(), from, |subnet, pool| engine.free_in_pool(subnet, pool))
    }

    pub(super) fn health(&self) -> ServiceHealth {
        let config = self.keeper.core.engine.config();
        let off = crate::config::model::AttachMode::Off;
        let wanted: Vec<_> =
            config.interfaces.iter().filter(|one| one.mode != off).map(|one| &one.name).collect();
        let (_, found) = self.watch.found();
        let is_well = |name: &&&String| {
            self.modes.contains_key(**name) && found.iter().all(|fault| fault.interface != ***name)
        };
        ServiceHealth {
            fast_path_wanted: wanted.len(),
            fast_path_attached: wanted.iter().filter(is_well).count(),
            interfaces_lost: found.iter().filter(|one| one.fault.is_lost()).count(),
            attached_again: self.mending.attached_again,
            problems: found.iter().map(ToString::to_string).collect(),
            store_refusals: self.keeper.store_refusals,
            commits: self.keeper.commits,
        }
    }

    /// Does to leases what operators want, all in one batch; durable when this returns.
    ///
    /// # Errors
    /// As [`Keeper::settle`](super::keeper::Keeper::settle).
    pub(super) fn change(
        &mut self,
        now: Timestamp,
        changes: Vec<Change>,
    ) -> Result<(), super::keeper::KeeperError> {
        let (mut work, mut done) = (Work::default(), Vec::new());
        for Change { address, act, expected, to } in changes {
            let effects = match self.effects_of(now, address, act, expected.as_deref()) {
                Ok(effects) => effects,
                Err(error) => {
                    drop(to.send(Err(error)));
                    continue;
                }
            };
            work.take(effects);
            if let (Act::Extend, Some(lease)) = (act, self.keeper.core.engine.leases().get(address)) {
                let until = lease.expires;
                work.audit.push(AuditEvent::Renewed { address, by: Granter::Daemon, at: now, until });
            }
            done.push((address, to));
        }
        let wants_commit = !work.batch.is_empty();
        let durable = self.settle(now, work)? || !wants_commit;
        for (address, to) in done {
            let lease = self.keeper.core.engine.leases().get(address);
            let done = match lease {
                Some(lease) if durable => Ok(self.lease_view(lease)),
                Some(_) => Err(ActError::StoreFull),
                None => Err(ActError::NoLease),
            };
            drop(to.send(done));
        }
        Ok(())
    }

    fn effects_of(
        &mut self,
        now: Timestamp,
        address: Ipv4Addr,
        act: Act,
        expected: Option<&[String]>,
    ) -> Result<Effects, ActError> {
        let engine = &mut self.keeper.core.engine;
        let lease = engine.leases().get(address).ok_or(ActError::NoLease)?;
        let version = super::view::version(lease, engine.leases().leaving(address).is_some());
        if expected.is_some_and(|expected| !expected.contains(&version)) {
            return Err(ActError::Changed);
        }
        let effects = match act {
            Act::Release => engine.release_for_operator(now, address),
            Act::Extend => engine.extend_for_operator(now, address),
        };
        effects.ok_or(ActError::NotBound)
    }

    /// Settles work and [concludes](Self::conclude) it; whether anything was made durable.
    ///
    /// # Errors
    /// As [`Keeper::settle`](super::keeper::Keeper::settle).
    pub(super) fn settle(&mut self, now: Timestamp, work: Work) -> Result<bool, super::keeper::KeeperError> {
        self.land()?;
        let commits = self.keeper.commits;
        let aftermath = self.keeper.settle(now, work)?;
        self.conclude(aftermath);
        Ok(self.keeper.commits != commits)
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
