//! Which of what happened becomes a line, and what is owed when lines cannot be written.
//!
//! A holding begins by a line and ends by a line, at once. Renewals between the two change nothing about who holds the
//! address, so they are written at most once in `renewals_secs` for each holding, and no more than [`RENEWALS_MAX`] in
//! half a second; the line that is written has the latest renewal and says how many it stands for. After a start every holding's
//! next renewal is written, so that no holding is older than the files that are kept.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::Ipv4Addr,
};

use ahash::AHashMap;

use super::{
    event::{AuditEvent, End, Granter},
    files::{Files, FilesError},
    line::{Kind, Line, Moment},
};
use crate::{
    config::model::Audit,
    lease::{
        record::{ClientKey, LeaseRecord, LeaseState},
        table::LeaseTable,
    },
    time::{Span, Timestamp},
};

/// Renewals written in [`TURN`]: the service reads marks that often, or is told a million leases by another node, and must not
/// spend its time here.
const RENEWALS_MAX: u32 = 4_096;
const TURN: Span = Span::from_millis(500);
/// How far the wall clock may be from the timeline before a line says so.
const WALL_AGREES: Span = Span::from_secs(1);

/// What is counted, for `stats`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
pub struct AuditCounts {
    /// Lines written since the start.
    pub lines: u64,
    /// Lines that could not be written.
    pub lost: u64,
    /// Renewals that have no line of their own.
    pub coalesced: u64,
}

/// The log as it is written.
#[derive(Debug)]
pub struct Journal {
    files: Files,
    renewals_every: Span,
    told: AHashMap<Ipv4Addr, Told>,
    turn: Turn,
    /// From when on lines were lost, and how many, until a line says so.
    owed: Option<(Timestamp, u64)>,
    counts: AuditCounts,
}

/// Half a second's renewals.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    began: Timestamp,
    written: u32,
    unwritten: u64,
}

impl Turn {
    /// Ends it; what is to be said of those that were not written.
    fn end(&mut self) -> Option<Line> {
        let Self { began, unwritten, .. } = std::mem::take(self);
        (unwritten != 0).then(|| Line { renewals: Some(unwritten), ..Line::new(Kind::Coalesced, began) })
    }
}

/// What the log says of a holding.
#[derive(Clone, Copy, Debug)]
struct Told {
    client: u64,
    at: Timestamp,
    /// Renewals since.
    since: u64,
}

/// What is known when lines are written.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// All leases.
    pub leases: &'a LeaseTable,
    /// Now, on the timeline.
    pub now: Timestamp,
    /// The wall clock.
    pub wall: Timestamp,
}

impl Journal {
    /// Opens the log for more lines.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn open(settings: &Audit) -> Result<Self, FilesError> {
        Ok(Self {
            files: Files::open(settings)?,
            renewals_every: Span::from_secs(settings.renewals_secs.into()),
            told: AHashMap::new(),
            turn: Turn::default(),
            owed: None,
            counts: AuditCounts::default(),
        })
    }

    /// What was counted.
    pub const fn counts(&self) -> AuditCounts {
        self.counts
    }

    /// Writes what happened. Never fails: what cannot be written is counted, and said by a later line.
    pub fn write(&mut self, known: Known<'_>, events: &[AuditEvent]) {
        let mut lines = Vec::new();
        if known.now >= self.turn.began + TURN {
            lines.extend(self.turn.end());
            self.turn.began = known.now;
        }
        for event in events {
            match event {
                AuditEvent::Renewed { address, by, at, until } => {
                    let spent = self.turn.written == RENEWALS_MAX;
                    if (spent || *by == Granter::Kernel) && self.is_told(*address, known.now) {
                        continue;
                    }
                    if spent {
                        self.turn.unwritten += 1;
                        self.counts.coalesced += 1;
                        self.told.entry(*address).and_modify(|told| told.since += 1);
                    } else if let Some(lease) = known.leases.get(*address)
                        && (*by != Granter::Node || is_of(lease, *at))
                    {
                        let line = self.renewed(lease, *by, *at, *until, known.now);
                        self.turn.written += u32::from(line.is_some());
                        lines.extend(line);
                    }
                }
                AuditEvent::Granted { lease, by, at } => {
                    self.told.insert(
                        lease.address,
                        Told { client: identity(&lease.client), at: known.now, since: 0 },
                    );
                    lines.push(Line {
                        by: Some(*by),
                        until: Some(Moment(lease.expires)),
                        ..Line::of(Kind::Granted, *at, lease)
                    });
                }
                AuditEvent::Ended { lease, how, by, at } => {
                    self.told.remove(&lease.address);
                    let kind = match how {
                        End::Expired => Kind::Expired,
                        End::Released => Kind::Released,
                        End::Declined => Kind::Declined,
                    };
                    let last_granted = Some(Moment(lease.granted_at));
                    lines.push(Line { by: *by, last_granted, ..Line::of(kind, *at, lease) });
                }
                AuditEvent::QuarantineEnded { address, at } => {
                    lines.push(Line { address: Some(*address), ..Line::new(Kind::QuarantineEnded, *at) });
                }
                AuditEvent::Conflict { address, hardware, at, until } => lines.push(Line {
                    address: Some(*address),
                    hw_address: hardware.map(|hardware| hardware.to_string()),
                    until: Some(Moment(*until)),
                    ..Line::new(Kind::Conflict, *at)
                }),
            }
        }
        self.append(known.now, known.wall, lines);
    }

    /// Writes lines that are about no lease: a start, a stop, a gap.
    pub fn note(&mut self, now: Timestamp, wall: Timestamp, line: Line) {
        let renewals_secs = (line.event == Kind::Started).then_some(self.renewals_every.as_secs());
        let lines = self.turn.end().into_iter().chain([Line { renewals_secs, ..line }]).collect();
        self.append(now, wall, lines);
    }

    /// Whether the log has a line of this holding that is new enough; counts the renewal then. The short way for the kernel's
    /// renewals, of which there may be a million at once: whom it renews is whom it was taught.
    fn is_told(&mut self, address: Ipv4Addr, now: Timestamp) -> bool {
        let Some(told) = self.told.get_mut(&address) else { return false };
        let is_new = now < told.at + self.renewals_every;
        if is_new {
            told.since += 1;
            self.counts.coalesced += 1;
        }
        is_new
    }

    fn renewed(
        &mut self,
        lease: &LeaseRecord,
        by: Granter,
        at: Timestamp,
        until: Timestamp,
        now: Timestamp,
    ) -> Option<Line> {
        let client = identity(&lease.client);
        let told = self.told.entry(lease.address).or_insert(Told { client, at: Timestamp::ZERO, since: 0 });
        told.since += 1;
        if told.client == client && now < told.at + self.renewals_every {
            self.counts.coalesced += 1;
            return None;
        }
        let renewals = Some(told.since);
        *told = Told { client, at: now, since: 0 };
        Some(Line {
            by: Some(by),
            until: Some(Moment(until)),
            renewals,
            ..Line::of(Kind::Renewed, at, lease)
        })
    }

    fn append(&mut self, now: Timestamp, wall: Timestamp, mut lines: Vec<Line>) {
        if lines.is_empty() {
            return;
        }
        let count = lines.len() as u64;
        if let Some((from, lost)) = self.owed {
            let (from, to) = (Some(Moment(from)), Some(Moment(now)));
            lines.insert(0, Line { from, to, lines: Some(lost), ..Line::new(Kind::Lost, now) });
        }
        let apart = now.since(wall).max(wall.since(now));
        let mut octets = Vec::with_capacity(lines.len() * 256);
        for line in &mut lines {
            line.wall = (apart > WALL_AGREES).then_some(Moment(wall));
            let before = octets.len();
            match serde_json::to_writer(&mut octets, line) {
                Ok(()) => octets.push(b'\n'),
                Err(_) => octets.truncate(before),
            }
        }
        match self.files.append(&octets) {
            Ok(()) => {
                self.counts.lines += lines.len() as u64;
                if let Some((_, lost)) = self.owed.take() {
                    tracing::info!(lost, "the audit log is written again");
                }
            }
            Err(error) => {
                self.counts.lost += count;
                let (from, lost) = self.owed.unwrap_or((now, 0));
                if self.owed.is_none() {
                    tracing::error!(
                        %error,
                        "the audit log cannot be written: leases are granted all the same, and lost lines are counted"
                    );
                }
                self.owed = Some((from, lost + count));
                // Their holdings are not on record: the next renewals are to be written.
                let lost = lines.iter().filter_map(|line| line.address);
                for address in lost {
                    self.told.remove(&address);
                }
            }
        }
    }
}

/// Whether a renewal that another node granted is the lease's last: it may have ended since, and be another client's, before
/// this is written. Then a later event says so.
fn is_of(lease: &LeaseRecord, renewed_at: Timestamp) -> bool {
    lease.state == LeaseState::Bound && lease.granted_at == renewed_at
}

/// Not for keeping: tells clients apart while this runs.
fn identity(client: &ClientKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    client.hash(&mut hasher);
    hasher.finish()
}
