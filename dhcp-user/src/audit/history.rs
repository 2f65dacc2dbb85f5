//! Reads the log back: who held an address, and when. Files are read line by line; what is kept is of one address.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    files,
    line::{Kind, Line, Moment},
};
use crate::time::{Span, Timestamp};

/// The longest line taken; the daemon's are a tenth of it.
const LINE_MAX: u64 = 64 << 10;
/// For how long renewals may go unwritten at most, whatever the configuration: what counts if no line of the log says.
const RENEWALS_SECS_MAX: u64 = 604_800;

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the audit log {}: {error}; name its directory with --path, or the configuration with --config", path.display())]
pub struct ReadError {
    path: PathBuf,
    #[source]
    error: io::Error,
}

impl ReadError {
    /// Whether there is no log at all.
    pub fn is_missing(&self) -> bool {
        self.error.kind() == io::ErrorKind::NotFound
    }
}

/// A client's holding of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Holding {
    /// The client's hardware address.
    pub hw_address: Option<String>,
    /// Its option 61 in hexadecimal.
    pub client_id: Option<String>,
    /// Its option 12.
    pub hostname: Option<String>,
    /// Option 82 in hexadecimal.
    pub relay_information: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = "date-time")]
    pub from: Moment,
    /// Whether it held it before that already: the files are gone, or it was another node's to say.
    pub from_earlier: bool,
    /// When it was last granted time, as far as written.
    #[schema(value_type = String, format = "date-time")]
    pub last_granted: Moment,
    /// Until when that was.
    #[schema(value_type = String, format = "date-time")]
    pub granted_until: Moment,
    /// When the holding ended; `null` if no line says so.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub to: Option<Moment>,
    /// How it ended.
    pub ended: Option<Kind>,
}

impl Holding {
    /// Whether the client held the address at a moment, where renewals may go `unwritten` for so long. If no line says that
    /// the holding ended, it is not known beyond that: a later renewal would be on record.
    pub fn covers(&self, at: Timestamp, unwritten: Span) -> bool {
        let to = self.to.map_or(self.granted_until.0 + unwritten, |to| to.0);
        self.from.0 <= at && at < to
    }

    /// One of a line's client, open from a moment on.
    fn of(line: &Line, from: Moment) -> Self {
        Self {
            hw_address: line.hw_address.clone(),
            client_id: line.client_id.clone(),
            hostname: line.hostname.clone(),
            relay_information: line.relay_information.clone(),
            from,
            from_earlier: false,
            last_granted: from,
            granted_until: from,
            to: None,
            ended: None,
        }
    }

    fn is_of(&self, line: &Line) -> bool {
        self.client_id == line.client_id && (self.client_id.is_some() || self.hw_address == line.hw_address)
    }
}

/// Between two moments the log does not say all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Doubt {
    /// `gap` (renewals by the kernel unknown) or `lost` (lines not written).
    pub what: Kind,
    /// From when.
    #[schema(value_type = String, format = "date-time")]
    pub from: Moment,
    /// Until when.
    #[schema(value_type = String, format = "date-time")]
    pub to: Moment,
}

/// What the log says of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// The address.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// The moment asked about, if one was.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub at: Option<Moment>,
    /// Whether all files of the log were read, or only the newest.
    #[serde(default = "all")]
    pub complete: bool,
    /// Its holdings, the earliest first; at most one if a moment was asked about.
    pub holdings: Vec<Holding>,
    /// When somebody without a lease of it was found there.
    pub conflicts: Vec<Line>,
    /// Where the log has gaps: those at the moment, if one was asked about.
    pub doubts: Vec<Doubt>,
    /// Lines that cannot be read, as after a power cut.
    pub unreadable_lines: u64,
}

/// What the newest files of the log in the directory `path` say of an address: as many as hold so many octets together,
/// but one at least.
///
/// # Errors
/// If a file cannot be read.
pub fn latest(path: &Path, address: Ipv4Addr, octets_max: u64) -> Result<History, ReadError> {
    let failed = |error| ReadError { path: path.to_owned(), error };
    let files = files::list(path).map_err(failed)?;
    let mut room = octets_max;
    let newest = files.iter().rev().enumerate().take_while(|(at, file)| {
        // One that was removed since it was listed takes no room.
        let octets = std::fs::metadata(file).map_or(0, |found| found.len());
        let fits = *at == 0 || octets <= room;
        room = room.saturating_sub(octets);
        fits
    });
    let first = files.len() - newest.count();
    let (mut history, _) = read_all(files.get(first..).unwrap_or_default(), address)?;
    history.complete = first == 0;
    Ok(history)
}

/// What the log in the directory `path` says of an address: all of it, or at one moment.
///
/// # Errors
/// If a file cannot be read.
pub fn of(path: &Path, address: Ipv4Addr, at: Option<Moment>) -> Result<History, ReadError> {
    let files = files::list(path).map_err(|error| ReadError { path: path.to_owned(), error })?;
    let (mut history, unwritten) = read_all(&files, address)?;
    history.at = at;
    if let Some(Moment(at)) = at {
        history.holdings.retain(|holding| holding.covers(at, unwritten));
        history.conflicts.retain(|line| line.at.0 <= at && line.until.is_some_and(|until| at < until.0));
        history.doubts.retain(|doubt| doubt.from.0 <= at && at < doubt.to.0);
    }
    Ok(history)
}

const fn all() -> bool {
    true
}

/// What files say of an address, and for how long renewals may go unwritten in them.
fn read_all(files: &[PathBuf], address: Ipv4Addr) -> Result<(History, Span), ReadError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| ReadError { path, error }
    };
    let mut history = History {
        address,
        at: None,
        complete: true,
        holdings: Vec::new(),
        conflicts: Vec::new(),
        doubts: Vec::new(),
        unreadable_lines: 0,
    };
    let mut unwritten_secs = None;
    for file in files {
        match File::open(file) {
            Ok(open) => read(open, &mut history, &mut unwritten_secs).map_err(failed(file))?,
            // Removed by the daemon since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(file)(error)),
        }
    }
    Ok((history, Span::from_secs(unwritten_secs.unwrap_or(RENEWALS_SECS_MAX))))
}

fn read(file: File, history: &mut History, unwritten_secs: &mut Option<u64>) -> io::Result<()> {
    let mut file = BufReader::new(file);
    let mut octets = Vec::new();
    let needle = format!("\"address\":\"{}\"", history.address);
    loop {
        octets.clear();
        if file.by_ref().take(LINE_MAX).read_until(b'\n', &mut octets)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&octets);
        let text = text.trim();
        // Most lines are about other addresses: they are not worth parsing.
        if text.is_empty() || text.contains("\"address\":") && !text.contains(&needle) && text.ends_with('}')
        {
            continue;
        }
        match serde_json::from_str::<Line>(text) {
            Ok(line) => {
                if line.event == Kind::Started {
                    let secs = line.renewals_secs.unwrap_or(RENEWALS_SECS_MAX);
                    *unwritten_secs = (*unwritten_secs).max(Some(secs));
                }
                history.take(line);
            }
            Err(_) => history.unreadable_lines += 1,
        }
    }
}

impl History {
    /// Takes up the next line.
    pub(super) fn take(&mut self, line: Line) {
        match line.event {
            Kind::Gap | Kind::Lost => {
                if let (Some(from), Some(to)) = (line.from, line.to) {
                    self.doubts.push(Doubt { what: line.event, from, to });
                }
            }
            _ if line.address != Some(self.address) => {}
            Kind::Granted | Kind::Renewed => self.held(&line),
            Kind::Expired | Kind::Released | Kind::Declined => self.ended(&line),
            Kind::Conflict => self.conflicts.push(line),
            Kind::QuarantineEnded | Kind::Started | Kind::Configured | Kind::Stopped | Kind::Coalesced => {}
        }
    }

    fn open(&mut self) -> Option<&mut Holding> {
        self.holdings.last_mut().filter(|last| last.to.is_none())
    }

    fn held(&mut self, line: &Line) {
        let granted_until = line.until.unwrap_or(line.at);
        if let Some(open) = self.open() {
            if open.is_of(line) {
                open.last_granted = open.last_granted.max(line.at);
                open.granted_until = open.granted_until.max(granted_until);
                open.hostname.clone_from(&line.hostname);
                open.relay_information.clone_from(&line.relay_information);
                return;
            }
            // Its end was not written: it was before this, and no later than its last grant's.
            open.to = Some(open.granted_until.min(line.at));
        }
        // What was heard late may have been granted before what was taken for the end of the one before.
        let free = self.holdings.last().and_then(|last| last.to);
        let from = free.map_or(line.at, |free| free.max(line.at));
        self.holdings.push(Holding {
            from_earlier: line.event == Kind::Renewed,
            last_granted: line.at,
            granted_until,
            ..Holding::of(line, from)
        });
    }

    fn ended(&mut self, line: &Line) {
        let held_at = line.last_granted.unwrap_or(line.at);
        match self.holdings.last_mut() {
            Some(last) if last.to.is_none() && last.is_of(line) => {
                (last.to, last.ended) = (Some(line.at), Some(line.event));
                last.last_granted = line.last_granted.unwrap_or(last.last_granted);
            }
            // It is on record already, or is of an earlier holding than the last.
            Some(last) if line.at <= last.from || last.is_of(line) && last.to >= Some(held_at) => {}
            last => {
                // Its beginning was not written: it held the address when it was last granted time, and then no other did.
                if let Some(open) = last.filter(|last| last.to.is_none()) {
                    open.to = Some(open.granted_until.min(held_at).max(open.from));
                }
                self.holdings.push(Holding {
                    from_earlier: true,
                    granted_until: line.at,
                    to: Some(line.at),
                    ended: Some(line.event),
                    ..Holding::of(line, held_at)
                });
            }
        }
    }
}
