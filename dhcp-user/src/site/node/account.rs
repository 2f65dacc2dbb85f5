//! What the audit log is told of leases that other nodes granted and ended: what can be seen by comparing what was known of
//! an address with what is told of it now. Several changes between two looks are one: what began and ended between them is on
//! record where it happened. What must not be here: decisions about leases.

use super::peer::ROUND_TRIP_MAX;
use crate::{
    audit::{AuditEvent, End, Granter},
    engine::QUARANTINE,
    lease::record::{HardwareAddress, LeaseRecord, LeaseState},
    time::{Span, Timestamp},
};

/// Says what it means that what was known of an address has become what is told of it.
///
/// A holding that was not known has just begun if it was granted within the last `fresh`, which is what it takes to be
/// told; one that was granted before that may have been renewed before it was heard of, so that only its latest grant is
/// known: as of a holding older than the log. In a snapshot most are, and renewals have a bound.
pub(super) fn account(
    now: Timestamp,
    fresh: Span,
    known: Option<&LeaseRecord>,
    told: &LeaseRecord,
    audit: &mut Vec<AuditEvent>,
) {
    let held = known.filter(|known| known.state == LeaseState::Bound);
    let goes_on = held.is_some_and(|held| told.state == LeaseState::Bound && told.client == held.client);
    let newer = known.is_none_or(|known| is_later(told, known));
    audit.extend(held.filter(|_| !goes_on).map(|held| ended(now, held, told)));
    match told.state {
        LeaseState::Bound if goes_on => audit.extend(newer.then(|| renewed(told))),
        LeaseState::Bound if now.since(told.granted_at) <= fresh => {
            let lease = Box::new(told.clone());
            audit.push(AuditEvent::Granted { lease, by: Granter::Node, at: told.granted_at });
        }
        LeaseState::Bound => audit.push(renewed(told)),
        LeaseState::Free | LeaseState::Quarantined => {
            let another = held.is_none_or(|held| held.client != told.client) && !told.client.is_nobody();
            // Of an address of which nothing was known at all only what holds still is told: a snapshot has all that ever were.
            if another && newer && known.is_some() {
                audit.push(passed(now, told));
            }
            audit.extend(quarantine(now, known, told));
        }
    }
}

/// Whether a record has a later grant than another. One moment is read at two of our clock, if it is read twice.
fn is_later(told: &LeaseRecord, known: &LeaseRecord) -> bool {
    told.granted_at > known.granted_at + ROUND_TRIP_MAX
}

fn renewed(told: &LeaseRecord) -> AuditEvent {
    let LeaseRecord { address, granted_at: at, expires: until, .. } = *told;
    AuditEvent::Renewed { address, by: Granter::Node, at, until }
}

/// The end of a holding that was known: no later than its time ran out, than it was heard of, or than another's began.
fn ended(now: Timestamp, held: &LeaseRecord, told: &LeaseRecord) -> AuditEvent {
    let mut lease = held.clone();
    let of_nobody = told.client.is_nobody() && told.hardware == held.hardware;
    let (theirs, later) = (told.client == held.client || of_nobody, is_later(told, held));
    if theirs && later {
        // It was renewed unheard, for as long as before as far as is known.
        lease.expires = told.granted_at + held.expires.since(held.granted_at);
        lease.granted_at = told.granted_at;
    }
    let over = match told.state {
        // When it was freed; when its grant ends if it was given back and is not free yet.
        LeaseState::Free if theirs => told.expires,
        LeaseState::Quarantined if theirs => told.expires - QUARANTINE,
        _ if later => told.granted_at,
        _ => now,
    };
    let at = over.min(now).min(lease.expires).max(lease.granted_at);
    let how = match told.state {
        LeaseState::Quarantined if told.client == held.client => End::Declined,
        _ if at < lease.expires => End::Released,
        _ => End::Expired,
    };
    AuditEvent::Ended { lease: Box::new(lease), how, by: Some(Granter::Node), at }
}

/// A holding that began and ended unheard.
fn passed(now: Timestamp, told: &LeaseRecord) -> AuditEvent {
    let (over, how) = match told.state {
        LeaseState::Quarantined => (told.expires - QUARANTINE, End::Declined),
        _ if told.expires > now => (now, End::Released),
        _ => (told.expires, End::Expired),
    };
    let at = over.min(now).max(told.granted_at);
    AuditEvent::Ended { lease: Box::new(told.clone()), how, by: Some(Granter::Node), at }
}

/// Whether an address that nobody holds was found in use, or may be given again.
fn quarantine(now: Timestamp, known: Option<&LeaseRecord>, told: &LeaseRecord) -> Option<AuditEvent> {
    let was = known.is_some_and(|known| known.state == LeaseState::Quarantined);
    let (address, until) = (told.address, told.expires);
    match told.state {
        LeaseState::Free if was => Some(AuditEvent::QuarantineEnded { address, at: until.min(now) }),
        // One that was declined has its client's name.
        LeaseState::Quarantined if !was && told.client.is_nobody() => {
            let is_known = |hardware: &HardwareAddress| hardware.octets().iter().any(|octet| *octet != 0);
            let hardware = Some(told.hardware).filter(is_known);
            Some(AuditEvent::Conflict { address, hardware, at: now, until })
        }
        LeaseState::Bound | LeaseState::Free | LeaseState::Quarantined => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        audit::{Journal, Known, Moment, history},
        config::model::Audit,
        lease::{record::ClientKey, table::LeaseTable},
    };

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 10);
    const FRESH: Span = Span::from_secs(65);

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Span::from_secs(1_700_000_000 + secs)
    }

    /// A lease of 600 s.
    fn lease(client: u8, granted: u64) -> LeaseRecord {
        let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, client]);
        LeaseRecord {
            address: ADDRESS,
            state: LeaseState::Bound,
            client: ClientKey::Hardware(hardware),
            hardware,
            hostname: (*b"host").into(),
            relay_information: Box::default(),
            granted_at: at(granted),
            expires: at(granted + 600),
            horizon: at(granted + 1_200),
            kept_until: Timestamp::ZERO,
            forms: [None, None],
        }
    }

    /// As the holder has it after it ended.
    fn over(lease: &LeaseRecord, state: LeaseState, expires: u64) -> LeaseRecord {
        LeaseRecord { state, expires: at(expires), horizon: Timestamp::ZERO, ..lease.clone() }
    }

    fn said(now: u64, known: Option<&LeaseRecord>, told: &LeaseRecord) -> Vec<AuditEvent> {
        let mut audit = Vec::new();
        account(at(now), FRESH, known, told, &mut audit);
        audit
    }

    fn granted(lease: LeaseRecord) -> AuditEvent {
        AuditEvent::Granted { at: lease.granted_at, by: Granter::Node, lease: Box::new(lease) }
    }

    fn renewed_at(granted: u64) -> AuditEvent {
        AuditEvent::Renewed { address: ADDRESS, by: Granter::Node, at: at(granted), until: at(granted + 600) }
    }

    fn ended_at(lease: LeaseRecord, how: End, secs: u64) -> AuditEvent {
        AuditEvent::Ended { lease: Box::new(lease), how, by: Some(Granter::Node), at: at(secs) }
    }

    #[test]
    fn a_lease_that_is_new() {
        let free = over(&lease(2, 0), LeaseState::Free, 500);
        for known in [None, Some(&free)] {
            assert_eq!(said(1_060, known, &lease(1, 1_000)), [granted(lease(1, 1_000))]);
            // It may have begun before, and is told like one that did.
            assert_eq!(said(1_300, known, &lease(1, 1_000)), [renewed_at(1_000)]);
        }
    }

    #[test]
    fn a_lease_that_goes_on() {
        assert_eq!(said(360, Some(&lease(1, 0)), &lease(1, 300)), [renewed_at(300)]);
        // The same grant by another reading of the other's clock; an earlier one.
        assert_eq!(said(360, Some(&lease(1, 300)), &lease(1, 301)), []);
        assert_eq!(said(360, Some(&lease(1, 300)), &lease(1, 0)), []);
    }

    #[test]
    fn a_lease_that_ended() {
        let known = lease(1, 0);
        let told = |state, expires| over(&known, state, expires);
        let ended = |how, secs| [ended_at(known.clone(), how, secs)];
        // Given back, and not free yet: its grant's end is told.
        assert_eq!(said(100, Some(&known), &told(LeaseState::Free, 600)), ended(End::Released, 100));
        assert_eq!(said(150, Some(&known), &told(LeaseState::Free, 90)), ended(End::Released, 90));
        assert_eq!(said(700, Some(&known), &told(LeaseState::Free, 605)), ended(End::Expired, 600));
        assert_eq!(said(150, Some(&known), &told(LeaseState::Quarantined, 3_700)), ended(End::Declined, 100));
        // The address is kept for nobody.
        let nobody = LeaseRecord { client: ClientKey::nobody(), ..told(LeaseState::Free, 90) };
        assert_eq!(said(150, Some(&known), &nobody), ended(End::Released, 90));
        // It was renewed unheard before.
        let later = over(&lease(1, 400), LeaseState::Free, 1_005);
        let renewed = LeaseRecord { horizon: known.horizon, ..lease(1, 400) };
        assert_eq!(said(1_100, Some(&known), &later), [ended_at(renewed, End::Expired, 1_000)]);
        // Said once more, it ended once.
        let free = told(LeaseState::Free, 600);
        assert_eq!(said(160, Some(&free), &told(LeaseState::Free, 90)), []);
    }

    #[test]
    fn a_lease_of_another_client() {
        let ended = |how, secs| ended_at(lease(1, 0), how, secs);
        assert_eq!(
            said(310, Some(&lease(1, 0)), &lease(2, 300)),
            [ended(End::Released, 300), granted(lease(2, 300))]
        );
        assert_eq!(
            said(910, Some(&lease(1, 0)), &lease(2, 900)),
            [ended(End::Expired, 600), granted(lease(2, 900))]
        );
        // And that is over already.
        let free = over(&lease(2, 900), LeaseState::Free, 1_505);
        let passed = ended_at(free.clone(), End::Expired, 1_505);
        assert_eq!(said(1_600, Some(&lease(1, 0)), &free), [ended(End::Expired, 600), passed.clone()]);
        let before = over(&lease(1, 0), LeaseState::Free, 605);
        assert_eq!(said(1_600, Some(&before), &free), [passed]);
        assert_eq!(said(1_600, None, &free), [], "a snapshot has every address that ever was somebody's");
    }

    #[test]
    fn an_address_that_is_in_use() {
        let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, 9]);
        let nobody = |hardware| LeaseRecord { client: ClientKey::nobody(), hardware, ..lease(1, 0) };
        let found = over(&nobody(hardware), LeaseState::Quarantined, 1_300);
        let free = over(&lease(1, 0), LeaseState::Free, 605);
        let conflict =
            |hardware| AuditEvent::Conflict { address: ADDRESS, hardware, at: at(710), until: at(1_300) };
        assert_eq!(said(710, Some(&free), &found), [conflict(Some(hardware))]);
        let unknown = LeaseRecord { hardware: HardwareAddress::ethernet([0; 6]), ..found.clone() };
        assert_eq!(said(710, None, &unknown), [conflict(None)]);
        assert_eq!(
            said(710, Some(&lease(1, 0)), &found),
            [ended_at(lease(1, 0), End::Expired, 600), conflict(Some(hardware))]
        );
        assert_eq!(said(720, Some(&found), &found), []);
        let again = LeaseRecord { state: LeaseState::Free, ..found.clone() };
        let ended = AuditEvent::QuarantineEnded { address: ADDRESS, at: at(1_300) };
        assert_eq!(said(1_310, Some(&found), &again), [ended]);
    }

    /// A node grants, its block moves, another ends the lease and gives the address away: all in the first one's log.
    #[test]
    fn the_log_names_the_right_client_wherever_it_was_granted() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Audit {
            path: folder.path().join("audit"),
            file_octets: 1 << 20,
            files_max: 16,
            days_max: None,
            renewals_secs: 3_600,
            sync: false,
        };
        let mut journal = Journal::open(&settings).unwrap();
        let mut write = |now: u64, events: &[AuditEvent], lease: &LeaseRecord| {
            let leases = LeaseTable::from_records([lease.clone()]);
            journal.write(Known { leases: &leases, now: at(now), wall: at(now) }, events);
        };
        let own = AuditEvent::Granted { lease: Box::new(lease(1, 0)), by: Granter::Daemon, at: at(0) };
        write(0, &[own], &lease(1, 0));
        let told = [
            (330, lease(1, 300)),
            (430, over(&lease(1, 300), LeaseState::Free, 420)),
            (530, lease(2, 500)),
            (1_530, lease(3, 1_500)),
        ];
        let mut known = lease(1, 0);
        for (now, told) in told {
            write(now, &said(now, Some(&known), &told), &told);
            known = told;
        }
        let holder = |secs| {
            let history = history::of(&settings.path, ADDRESS, Some(Moment(at(secs)))).unwrap();
            assert!(history.holdings.len() <= 1 && history.unreadable_lines == 0, "{history:?}");
            history.holdings.into_iter().next().and_then(|holding| holding.hw_address)
        };
        let mac = |client: u8| Some(format!("02:00:00:00:00:{client:02x}"));
        let wanted = [
            (0, mac(1)),
            (419, mac(1)),
            (420, None),
            (500, mac(2)),
            (1_099, mac(2)),
            (1_100, None),
            (1_500, mac(3)),
        ];
        for (secs, wanted) in wanted {
            assert_eq!(holder(secs), wanted, "at {secs}");
        }
    }
}
