//! Inheritance: global, subnet, pool, reservation, each level over the one before; equal results are shared.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    net::Ipv4Addr,
    sync::Arc,
};

use super::text;
use crate::config::{
    model::{OptionValue, Policy},
    options,
    problem::{Path, Problems},
    wire::Settings,
};

/// A lease shorter than this could not be renewed in whole seconds.
const LEASE_SECS_MIN: u32 = 4;
/// Ten years. No lease is for ever: an address must come free some day.
const LEASE_SECS_MAX: u32 = 315_360_000;
/// All options of one client together: no reply could hold more, whatever a client asks for.
const OPTIONS_OCTETS_MAX: usize = 16_384;
/// The lease time where none is configured.
const LEASE_SECS_DEFAULT: u32 = 7200;

/// Where a setting was made, for messages about two that do not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    BuiltIn,
    Global,
    Subnet,
    Pool,
    Reservation,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "by default",
            Self::Global => "set globally",
            Self::Subnet => "set in the subnet",
            Self::Pool => "set in the pool",
            Self::Reservation => "set in the reservation",
        })
    }
}

/// A setting and where it was made.
#[derive(Clone, Copy, Debug)]
struct Set<T> {
    value: T,
    level: Level,
}

/// The settings in force at some level, before they are made a policy.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    lease: Set<u32>,
    lease_min: Option<Set<u32>>,
    lease_max: Option<Set<u32>>,
    t1: Set<u16>,
    t2: Set<u16>,
    rapid_commit: bool,
    next_server: Ipv4Addr,
    server_name: Vec<u8>,
    boot_file: Vec<u8>,
    options: BTreeMap<u8, OptionValue>,
}

impl Draft {
    /// The settings of the top level over the built-in ones.
    pub(super) fn global(settings: &Settings<'_>, path: &Path<'_>, problems: &mut Problems) -> Self {
        let built_in = Self {
            lease: Set { value: LEASE_SECS_DEFAULT, level: Level::BuiltIn },
            lease_min: None,
            lease_max: None,
            t1: Set { value: 500, level: Level::BuiltIn },
            t2: Set { value: 875, level: Level::BuiltIn },
            rapid_commit: true,
            next_server: Ipv4Addr::UNSPECIFIED,
            server_name: Vec::new(),
            boot_file: Vec::new(),
            options: BTreeMap::new(),
        };
        built_in.inherit(settings, Level::Global, path, problems)
    }

    /// These settings with those of the next level, which stand in the object at `path`, over them.
    pub(super) fn inherit(
        &self,
        settings: &Settings<'_>,
        level: Level,
        path: &Path<'_>,
        problems: &mut Problems,
    ) -> Self {
        let mut draft = self.clone();
        draft.take_times(settings, level, path, problems);
        draft.rapid_commit = settings.rapid_commit.unwrap_or(draft.rapid_commit);
        if let Some(written) = settings.next_server
            && let Some(address) = text::address(written, &path.key("next_server"), problems)
        {
            draft.next_server = address;
        }
        let field =
            |written: Option<&str>, most: usize, key, field: &mut Vec<u8>, problems: &mut Problems| {
                let Some(written) = written else { return };
                if written.len() > most {
                    let message = format!("{} octets, the field holds {most}; shorten it", written.len());
                    problems.add(&path.key(key), message);
                } else if written.contains('\0') {
                    problems.add(&path.key(key), "holds a zero character, which would end it; remove it");
                } else {
                    *field = written.as_bytes().to_vec();
                }
            };
        field(settings.server_name, 63, "server_name", &mut draft.server_name, problems);
        field(settings.boot_file, 127, "boot_file", &mut draft.boot_file, problems);
        draft.take_options(settings, path, problems);
        draft
    }

    fn take_times(
        &mut self,
        settings: &Settings<'_>,
        level: Level,
        path: &Path<'_>,
        problems: &mut Problems,
    ) {
        let mut sound = true;
        let mut secs = |written: Option<u32>, key, problems: &mut Problems| {
            let value = written?;
            let within = text::within(value, LEASE_SECS_MIN, LEASE_SECS_MAX, "s", &path.key(key), problems);
            sound &= within;
            within.then_some(Set { value, level })
        };
        self.lease = secs(settings.lease_secs, "lease_secs", problems).unwrap_or(self.lease);
        self.lease_min = secs(settings.lease_min_secs, "lease_min_secs", problems).or(self.lease_min);
        self.lease_max = secs(settings.lease_max_secs, "lease_max_secs", problems).or(self.lease_max);
        let written = settings.lease_secs.or(settings.lease_min_secs).or(settings.lease_max_secs).is_some();
        if written && sound {
            self.check_lease(path, problems);
        }

        let mut sound = true;
        let mut permille = |written: Option<f64>, (least, most), key, problems: &mut Problems| {
            let value = text::permille(written?, least, most, &path.key(key), problems)
                .and_then(|value| u16::try_from(value).ok());
            sound &= value.is_some();
            value.map(|value| Set { value, level })
        };
        self.t1 = permille(settings.t1_percent, (1, 998), "t1_percent", problems).unwrap_or(self.t1);
        self.t2 = permille(settings.t2_percent, (2, 999), "t2_percent", problems).unwrap_or(self.t2);
        let written = settings.t1_percent.or(settings.t2_percent).is_some();
        let (t1, t2) = (self.t1, self.t2);
        if written && sound && t1.value >= t2.value {
            let percent = |t: Set<u16>| format!("{} ({})", f64::from(t.value) / 10.0, t.level);
            let message = format!("t1_percent {} must be below t2_percent {}", percent(t1), percent(t2));
            problems.add(path, message);
        }
    }

    fn check_lease(&self, path: &Path<'_>, problems: &mut Problems) {
        let lease = self.lease;
        let fault = |word: &str, key: &str, bound: Set<u32>| {
            format!(
                "lease_secs {} ({}) is {word} {key} {} ({}); set both to agree",
                lease.value, lease.level, bound.value, bound.level
            )
        };
        if let Some(min) = self.lease_min.filter(|min| min.value > lease.value) {
            problems.add(path, fault("below", "lease_min_secs", min));
        }
        if let Some(max) = self.lease_max.filter(|max| max.value < lease.value) {
            problems.add(path, fault("above", "lease_max_secs", max));
        }
    }

    fn take_options(&mut self, settings: &Settings<'_>, path: &Path<'_>, problems: &mut Problems) {
        let mut seen: HashMap<u8, usize> = HashMap::new();
        let path = path.key("options");
        for (index, entry) in settings.options.iter().enumerate() {
            let path = path.index(index);
            let Some(change) = options::change(entry, &path, problems) else { continue };
            if let Some(first) = seen.insert(change.code, index) {
                let message =
                    format!("option {} is given already in options[{first}]; remove one", change.code);
                problems.add(&path, message);
            }
            match change.value {
                Some(value) => self.options.insert(change.code, value),
                None => self.options.remove(&change.code),
            };
        }
        let octets: usize = self.options.values().map(|value| value.bytes.len()).sum();
        if octets > OPTIONS_OCTETS_MAX && !settings.options.is_empty() {
            let message = format!(
                "with what is inherited, options take {octets} octets, {OPTIONS_OCTETS_MAX} are the most; give fewer"
            );
            problems.add(&path, message);
            // Not handed on: every level below would copy it.
            self.options.clear();
        }
    }
}

/// Makes policies of drafts, one of those that are equal.
#[derive(Default)]
pub(super) struct Resolver {
    known: HashSet<Arc<Policy>>,
}

impl Resolver {
    /// The policy of `draft` in a subnet with this mask.
    pub(super) fn policy(&mut self, draft: &Draft, mask: Ipv4Addr) -> Arc<Policy> {
        let lease = draft.lease.value;
        let mut options = draft.options.clone();
        options.entry(1).or_insert_with(|| OptionValue { bytes: mask.octets().to_vec(), always: false });
        let policy = Policy {
            lease_default_secs: lease,
            lease_min_secs: draft.lease_min.map_or(lease, |min| min.value),
            lease_max_secs: draft.lease_max.map_or(lease, |max| max.value),
            t1_permille: draft.t1.value,
            t2_permille: draft.t2.value,
            rapid_commit: draft.rapid_commit,
            next_server: draft.next_server,
            server_name: draft.server_name.clone(),
            boot_file: draft.boot_file.clone(),
            options,
        };
        if let Some(known) = self.known.get(&policy) {
            return Arc::clone(known);
        }
        let policy = Arc::new(policy);
        self.known.insert(Arc::clone(&policy));
        policy
    }
}
