//! A line of the log: one JSON object. Fields may be added; none changes its meaning.

use std::{
    fmt,
    net::Ipv4Addr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::ToSchema;

use super::event::Granter;
use crate::{
    lease::record::{ClientKey, LeaseRecord},
    time::Timestamp,
};

/// A moment as it is written: RFC 3339, UTC, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Timestamp);

impl Moment {
    /// Reads RFC 3339 (`2026-01-31T12:00:00Z`), also with a blank in place of the `T` and without the `Z`.
    pub fn parse(text: &str) -> Option<Self> {
        let time: SystemTime = humantime::parse_rfc3339_weak(text).ok()?;
        let since = time.duration_since(UNIX_EPOCH).ok()?;
        Some(Self(Timestamp(u64::try_from(since.as_nanos()).ok()?)))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(self.0.0)).fmt(f)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 time"))
    }
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A client was given the address.
    Granted,
    /// Its holder was granted more time; `renewals` says how often since the last line of this holding.
    Renewed,
    /// Its holder's time ran out at `at`.
    Expired,
    /// Its holder gave it back at `at`, or took another address.
    Released,
    /// Its holder found it in use; nobody is given it for a while.
    Declined,
    /// Somebody who holds no lease of it was found there; nobody is given it until `until`.
    Conflict,
    /// A quarantined address may be given again.
    QuarantineEnded,
    /// The daemon started, with this generation of answers.
    Started,
    /// The configuration changed: from here on answers are of this generation.
    Configured,
    /// The daemon stopped; the kernel goes on for a while, and what it grants is written at the next start.
    Stopped,
    /// Renewals by the kernel between `from` and `to` are not known, for their marks were lost (a reboot, an unload).
    Gap,
    /// Lines between `from` and `to` could not be written, `lines` of them.
    Lost,
    /// More was renewed at once than lines are written: `renewals` of holdings whose next renewal is written instead.
    Coalesced,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Line {
    /// When it happened, on the daemon's timeline: the wall clock but for steps of it.
    #[schema(value_type = String, format = "date-time")]
    pub at: Moment,
    /// What happened.
    pub event: Kind,
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub address: Option<Ipv4Addr>,
    /// The holder's hardware address, or that of whoever was found there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hw_address: Option<String>,
    /// The holder's option 61 in hexadecimal, if it sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its option 12, with what is not printable escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Option 82 in hexadecimal, as the relay agent last sent it: the port the client is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_information: Option<String>,
    /// Who granted; of an end, `node` if it was at another node of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Granter>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub until: Option<Moment>,
    /// When time was last granted in a holding that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub last_granted: Option<Moment>,
    /// How many renewals the line stands for, as far as they were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewals: Option<u64>,
    /// Where a gap begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub from: Option<Moment>,
    /// Where it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub to: Option<Moment>,
    /// How many lines were lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
    /// The generation of answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// How often renewals of one holding are written at most, from this start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewals_secs: Option<u64>,
    /// What the wall clock showed when the line was written, if it was not within a second of the timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub wall: Option<Moment>,
}

impl Line {
    /// A line that says nothing yet but what and when.
    pub const fn new(event: Kind, at: Timestamp) -> Self {
        Self {
            at: Moment(at),
            event,
            address: None,
            hw_address: None,
            client_id: None,
            hostname: None,
            relay_information: None,
            by: None,
            until: None,
            last_granted: None,
            renewals: None,
            from: None,
            to: None,
            lines: None,
            generation: None,
            renewals_secs: None,
            wall: None,
        }
    }

    /// A line about a lease, with all that identifies its client.
    pub fn of(event: Kind, at: Timestamp, lease: &LeaseRecord) -> Self {
        let hexadecimal = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let client_id = match &lease.client {
            ClientKey::Id(octets) if !octets.is_empty() => Some(hexadecimal(octets)),
            ClientKey::Id(_) | ClientKey::Hardware(_) => None,
        };
        let relay = &lease.relay_information;
        Self {
            address: Some(lease.address),
            hw_address: Some(lease.hardware.to_string()),
            client_id,
            hostname: (!lease.hostname.is_empty()).then(|| lease.hostname.escape_ascii().to_string()),
            relay_information: (!relay.is_empty()).then(|| hexadecimal(relay)),
            ..Self::new(event, at)
        }
    }
}
