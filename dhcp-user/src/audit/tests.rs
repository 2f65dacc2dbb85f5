//! The log against what it is asked: who held an address at a moment, through renewals, other clients, rotation, losses.

use std::{fs, net::Ipv4Addr};

use super::*;
use crate::{
    config::model::Audit,
    lease::{
        record::{ClientKey, HardwareAddress, LeaseRecord, LeaseState},
        table::LeaseTable,
    },
    time::{Span, Timestamp},
};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 7);

fn at(secs: u64) -> Timestamp {
    Timestamp::ZERO + Span::from_secs(1_700_000_000 + secs)
}

fn settings(folder: &tempfile::TempDir) -> Audit {
    Audit {
        path: folder.path().join("audit"),
        file_octets: 1 << 20,
        files_max: 16,
        days_max: None,
        renewals_secs: 60,
        sync: false,
    }
}

fn lease(client: u8, granted: u64) -> LeaseRecord {
    let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, client]);
    LeaseRecord {
        address: ADDRESS,
        state: LeaseState::Bound,
        client: ClientKey::Hardware(hardware),
        hardware,
        hostname: (*b"na\"me").into(),
        relay_information: Box::default(),
        granted_at: at(granted),
        expires: at(granted + 100),
        horizon: at(granted + 200),
        kept_until: Timestamp::ZERO,
        forms: [None, None],
    }
}

fn granted(client: u8, secs: u64) -> AuditEvent {
    AuditEvent::Granted { lease: Box::new(lease(client, secs)), by: Granter::Daemon, at: at(secs) }
}

fn renewed(secs: u64) -> AuditEvent {
    AuditEvent::Renewed { address: ADDRESS, by: Granter::Kernel, at: at(secs), until: at(secs + 100) }
}

fn ended(client: u8, how: End, secs: u64) -> AuditEvent {
    AuditEvent::Ended { lease: Box::new(lease(client, 0)), how, by: None, at: at(secs) }
}

/// Writes events at moments, the lease at each being that of the client given.
fn write(journal: &mut Journal, client: u8, secs: u64, events: &[AuditEvent]) {
    let leases = LeaseTable::from_records([lease(client, secs)]);
    journal.write(Known { leases: &leases, now: at(secs), wall: at(secs) }, events);
}

fn holder(audit: &Audit, secs: u64) -> Option<String> {
    let history = history::of(&audit.path, ADDRESS, Some(Moment(at(secs)))).unwrap();
    assert!(history.holdings.len() <= 1, "{history:?}");
    history.holdings.first().and_then(|holding| holding.hw_address.clone())
}

#[test]
fn the_right_holder_at_every_moment() {
    let folder = tempfile::tempdir().unwrap();
    let audit = settings(&folder);
    let mut journal = Journal::open(&audit).unwrap();
    write(&mut journal, 1, 10, &[granted(1, 10)]);
    write(&mut journal, 1, 60, &[renewed(60)]);
    write(&mut journal, 1, 110, &[renewed(109)]);
    write(&mut journal, 1, 150, &[ended(1, End::Released, 149)]);
    write(&mut journal, 2, 160, &[granted(2, 160)]);
    drop(journal);
    // Another daemon goes on in another file.
    let mut journal = Journal::open(&audit).unwrap();
    write(&mut journal, 2, 210, &[renewed(210)]);
    write(&mut journal, 2, 320, &[ended(2, End::Expired, 310)]);
    write(&mut journal, 3, 400, &[granted(3, 400)]);

    let one = Some("02:00:00:00:00:01".to_owned());
    let two = Some("02:00:00:00:00:02".to_owned());
    let three = Some("02:00:00:00:00:03".to_owned());
    for (secs, wanted) in [
        (9, &None),
        (10, &one),
        (148, &one),
        (149, &None),
        (160, &two),
        (309, &two),
        (310, &None),
        (450, &three),
    ] {
        assert_eq!(holder(&audit, secs), *wanted, "at {secs}");
    }
    let all = history::of(&audit.path, ADDRESS, None).unwrap();
    assert_eq!(all.holdings.len(), 3);
    assert_eq!(all.holdings[0].granted_until, Moment(at(209)));
    assert_eq!((all.holdings[1].ended, all.holdings[2].to), (Some(Kind::Expired), None));
    assert_eq!(history::of(&audit.path, Ipv4Addr::LOCALHOST, None).unwrap().holdings, []);
}

#[test]
fn a_holding_of_which_nothing_more_is_heard_ends_for_the_asker() {
    let folder = tempfile::tempdir().unwrap();
    let audit = settings(&folder);
    let mut journal = Journal::open(&audit).unwrap();
    journal.note(at(0), at(0), Line::new(Kind::Started, at(0)));
    write(&mut journal, 1, 10, &[granted(1, 10)]);
    // Renewals of a minute may go unwritten.
    write(&mut journal, 1, 60, &[renewed(60)]);
    let one = Some("02:00:00:00:00:01".to_owned());
    for (secs, wanted) in [(9, &None), (10, &one), (169, &one), (170, &None)] {
        assert_eq!(holder(&audit, secs), *wanted, "at {secs}");
    }
    // Another's end says that it held it, though its beginning is on no line; and when it is said again, nothing more.
    let mut other = lease(2, 200);
    other.expires = at(250);
    let ended = AuditEvent::Ended {
        lease: Box::new(other),
        how: End::Released,
        by: Some(Granter::Node),
        at: at(220),
    };
    write(&mut journal, 2, 230, std::slice::from_ref(&ended));
    write(&mut journal, 3, 240, &[granted(3, 240), ended]);
    let two = Some("02:00:00:00:00:02".to_owned());
    let three = Some("02:00:00:00:00:03".to_owned());
    for (secs, wanted) in [(109, &one), (110, &None), (200, &two), (219, &two), (220, &None), (240, &three)] {
        assert_eq!(holder(&audit, secs), *wanted, "at {secs}");
    }
    let all = history::of(&audit.path, ADDRESS, None).unwrap().holdings;
    let told = all.iter().map(|holding| (holding.from_earlier, holding.ended, holding.to));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (false, None, Some(Moment(at(110)))),
            (true, Some(Kind::Released), Some(Moment(at(220)))),
            (false, None, None)
        ]
    );
}

#[test]
fn a_line_of_an_earlier_version_is_read_as_it_was_written() {
    let line = r#"{"at":"2026-01-01T00:00:00.000Z","event":"granted","address":"198.18.1.7","hw_address":"02:00:00:00:00:01","by":"kernel"}"#;
    let line: Line = serde_json::from_str(line).unwrap();
    assert_eq!((line.by, line.renewals_secs), (Some(Granter::Kernel), None));
    let line = Line { by: Some(Granter::Node), ..line };
    assert!(serde_json::to_string(&line).unwrap().contains(r#""by":"node""#));
}

#[test]
fn renewals_are_coalesced_and_written_anew_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let audit = settings(&folder);
    let mut journal = Journal::open(&audit).unwrap();
    write(&mut journal, 1, 0, &[granted(1, 0)]);
    for secs in 1..=59 {
        write(&mut journal, 1, secs, &[renewed(secs)]);
    }
    assert_eq!(journal.counts(), AuditCounts { lines: 1, lost: 0, coalesced: 59 });
    write(&mut journal, 1, 60, &[renewed(60)]);
    assert_eq!(journal.counts().lines, 2);
    drop(journal);
    let mut journal = Journal::open(&audit).unwrap();
    write(&mut journal, 1, 61, &[renewed(61)]);
    assert_eq!(journal.counts().lines, 1);
    let files = list(&audit.path).unwrap();
    assert_eq!(files.len(), 1, "a start goes on with the latest file");
    let text = fs::read_to_string(&files[0]).unwrap();
    let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = lines.iter().map(|line| (line.event, line.renewals, line.at));
    let renewed = [(60, 60), (1, 61)].map(|(count, secs)| (Kind::Renewed, Some(count), Moment(at(secs))));
    assert_eq!(told.skip(1).collect::<Vec<_>>(), renewed);
}

#[test]
fn files_are_rotated_private_and_bounded() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit { file_octets: 300, files_max: 3, ..settings(&folder) };
    let mut journal = Journal::open(&audit).unwrap();
    for secs in 0..40 {
        write(&mut journal, 1, secs * 100, &[granted(1, secs * 100)]);
    }
    let files = list(&audit.path).unwrap();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in &files {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o137, 0, "{file:?}");
    }
    // The oldest are gone, the latest is there.
    assert_eq!(holder(&audit, 0), None);
    assert!(holder(&audit, 3_900).is_some());
    assert!(matches!(Journal::open(&audit), Err(FilesError::Locked { .. })));
}

#[test]
fn a_torn_line_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let audit = settings(&folder);
    let mut journal = Journal::open(&audit).unwrap();
    write(&mut journal, 1, 0, &[granted(1, 0)]);
    drop(journal);
    let file = &list(&audit.path).unwrap()[0];
    let whole = fs::read_to_string(file).unwrap();
    fs::write(file, format!("{whole}{}", &whole[..whole.len() / 2])).unwrap();
    let mut journal = Journal::open(&audit).unwrap();
    write(&mut journal, 1, 50, &[ended(1, End::Released, 50)]);
    let history = history::of(&audit.path, ADDRESS, None).unwrap();
    assert_eq!((history.unreadable_lines, history.holdings.len()), (1, 1));
    assert_eq!(history.holdings[0].to, Some(Moment(at(50))));
}

#[test]
fn what_cannot_be_written_is_counted_and_said_later() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit { file_octets: 1, ..settings(&folder) };
    let mut journal = Journal::open(&audit).unwrap();
    write(&mut journal, 1, 0, &[granted(1, 0)]);
    // The next line needs another file, and there is no directory to make it in.
    let away = folder.path().join("away");
    fs::rename(&audit.path, &away).unwrap();
    write(&mut journal, 1, 10, &[ended(1, End::Released, 10)]);
    write(&mut journal, 2, 20, &[granted(2, 20)]);
    assert_eq!(journal.counts(), AuditCounts { lines: 1, lost: 2, coalesced: 0 });
    fs::rename(&away, &audit.path).unwrap();
    write(&mut journal, 2, 30, &[renewed(30)]);
    assert_eq!(journal.counts(), AuditCounts { lines: 3, lost: 2, coalesced: 0 });
    let history = history::of(&audit.path, ADDRESS, Some(Moment(at(15)))).unwrap();
    assert_eq!(
        history.doubts,
        [history::Doubt { what: Kind::Lost, from: Moment(at(10)), to: Moment(at(30)) }]
    );
    assert_eq!(holder(&audit, 31).as_deref(), Some("02:00:00:00:00:02"));
}

#[test]
fn moments_are_read_as_written() {
    let moment = Moment(Timestamp(1_764_000_000_123_000_000));
    assert_eq!(moment.to_string(), "2025-11-24T16:00:00.123Z");
    assert_eq!(Moment::parse(&moment.to_string()), Some(moment));
    assert_eq!(Moment::parse("2025-11-24 16:00:00"), Some(Moment(Timestamp(1_764_000_000_000_000_000))));
    assert_eq!(Moment::parse("yesterday"), None);
}

#[test]
fn many_renewals_at_once_take_a_bounded_number_of_lines_and_the_next_ones_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let mut journal = Journal::open(&settings).unwrap();
    let address = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(198, 19, high, low)
    };
    let leases = |secs| {
        let lease = move |number| LeaseRecord { address: address(number), ..lease(1, secs) };
        LeaseTable::from_records((0..10_000).map(lease))
    };
    let mut renew = |secs: u64, millis: u64, numbers: std::ops::Range<u16>| {
        let now = at(secs) + Span::from_millis(millis);
        let by = Granter::Node;
        let event = |number| AuditEvent::Renewed { address: address(number), by, at: at(secs), until: now };
        let events: Vec<AuditEvent> = numbers.map(event).collect();
        journal.write(Known { leases: &leases(secs), now, wall: now }, &events);
        journal.counts()
    };
    for call in 0..10 {
        renew(1_000, u64::from(call) * 40, call * 1_000..(call + 1) * 1_000);
    }
    assert_eq!(renew(1_000, 499, 0..4_096).lines, 4_096, "those on record are nothing more to tell");
    // The next half second says first how many were left out; whose renewals come now that were.
    let counts = renew(1_001, 0, 9_000..9_010);
    assert_eq!((counts.lines, counts.coalesced), (4_096 + 1 + 10, 5_904 + 4_096));
    let files = list(&settings.path).unwrap();
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let left_out = text.lines().find(|line| line.contains("\"coalesced\"")).unwrap();
    assert!(left_out.contains("\"renewals\":5904"), "{left_out}");
}
