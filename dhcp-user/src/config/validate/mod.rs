//! From the file as written to the validated model, noting every fault on the way.

use std::path::PathBuf;

use self::{reservation::Beside, subnet::Makings};
use super::{
    made::Made,
    model::{AttachMode, Audit, Config, ConflictDetection, Control, FastPath, Interface, Store},
    problem::{Path, Problems, quoted},
    wire::{self, InterfaceEntry},
};
use crate::time::Span;

pub(super) mod api;
mod limits;
mod link;
mod policy;
mod reservation;
mod service_address;
mod sites;
mod subnet;
pub(super) mod text;

/// Addresses of all pools and reservations together: as many as a 10.0.0.0/8 has, and as many as the kernel's lease map
/// is ever sized for.
const ADDRESSES_MAX: u64 = 1 << 24;

/// The validated configuration. `None`, or problems noted, if there is any fault; a caller must look at both.
pub(super) fn validate(file: &wire::File, made: &[Made], problems: &mut Problems) -> Option<Config> {
    let dhcp = &file.dhcp;
    let path = Path::ROOT.key("dhcp");
    let mut interfaces =
        interfaces(&dhcp.interfaces, dhcp.fastpath.enabled, &path.key("interfaces"), problems);
    let multi_site = dhcp.datacenter.as_ref().and_then(|datacenter| datacenter.multi_site.as_ref());
    let several = multi_site.is_some_and(|section| section.enabled);
    let mut makings = Makings { resolver: policy::Resolver::default(), beside: Beside::of(made, several) };
    let global = policy::Draft::global(&dhcp.settings(), &path, problems);
    let subnets = subnet::subnets(&dhcp.subnets, &interfaces, &global, &mut makings, &path, problems);
    let store = Store { path: absolute(&dhcp.store.path, &path.key("store").key("path"), problems) };
    let socket_path = path.key("control");
    let control = Control { socket: absolute(&dhcp.control.socket, &socket_path.key("socket"), problems) };
    if control.socket.as_os_str().len() > SOCKET_OCTETS_MAX {
        let message =
            format!("longer than the {SOCKET_OCTETS_MAX} octets a Unix socket's path can have; shorten it");
        problems.add(&socket_path.key("socket"), message);
    }
    let api = api::api(&dhcp.api, &store.path, &path.key("api"), problems);
    let path_of_detection = path.key("conflict_detection");
    let conflict_detection = conflict_detection(&dhcp.conflict_detection, &path_of_detection, problems);
    let audit = audit(&dhcp.audit, &store, &path.key("audit"), problems);
    let fastpath = fastpath(&dhcp.fastpath, &path.key("fastpath"), problems);
    let limits = limits::limits(&dhcp.limits, &path.key("limits"), problems);
    let sites_path = path.key("datacenter");
    let multi_site = match multi_site {
        Some(written) => {
            let path = sites_path.key("multi_site");
            let mut section = sites::multi_site(written, &store.path, &path, problems)?;
            service_address::apply(&mut section, &mut interfaces, &subnets, &path, problems);
            link::apart_from_the_api(&section, &api, &path, problems);
            Some(section)
        }
        None => None,
    };
    let authoritative = dhcp.authoritative;
    Some(Config {
        interfaces,
        subnets,
        authoritative,
        store,
        control,
        api,
        fastpath,
        conflict_detection,
        audit,
        limits,
        multi_site,
        left_out: makings.beside.left_out(),
    })
}

/// More than any machine has ports; each costs sockets and an attached program. VLANs need no entry of their own.
const INTERFACES_MAX: usize = 1024;

/// `sun_path` has 108 octets, one of them the end mark.
const SOCKET_OCTETS_MAX: usize = 107;

fn absolute(written: &std::path::Path, path: &Path<'_>, problems: &mut Problems) -> PathBuf {
    if !written.is_absolute() || written.as_os_str().as_encoded_bytes().contains(&0) {
        let shown = quoted(&written.to_string_lossy());
        problems.add(path, format!("{shown} is not an absolute path; begin it with /"));
    }
    written.to_owned()
}

/// The interfaces, one for one as written, so that an index fits both.
fn interfaces(
    entries: &[InterfaceEntry],
    fastpath: bool,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Vec<Interface> {
    if entries.len() > INTERFACES_MAX {
        problems
            .add(path, format!("{} interfaces, {INTERFACES_MAX} are the most; list fewer", entries.len()));
        return Vec::new();
    }
    let mut interfaces: Vec<Interface> = Vec::with_capacity(entries.len());
    let mut seen = std::collections::HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let path = path.index(index);
        let (name, address, mode) = match entry {
            InterfaceEntry::Name(name) => (name, None, None),
            InterfaceEntry::Detail(detail) => {
                (&detail.name, detail.address.as_deref(), detail.mode.as_deref())
            }
        };
        if !text::is_interface_name(name) {
            let message = "is not an interface name: 1 to 15 characters without spaces, `/` and `:`";
            problems.add(&path, format!("{} {message}", quoted(name)));
        } else if let Some(first) = seen.insert(name, index) {
            let first = Path::ROOT.key("dhcp").key("interfaces").index(first).to_string();
            problems.add(&path, format!("interface `{name}` is listed already at {first}; remove one"));
        }
        let address_path = path.key("address");
        let address = address.and_then(|written| {
            let address = text::address(written, &address_path, problems)?;
            if !text::is_unicast(address) {
                problems.add(
                    &address_path,
                    format!("{address} cannot be a server's address; give a unicast address"),
                );
            }
            Some(address)
        });
        let mode = mode.map_or(AttachMode::Auto, |written| {
            text::choice(
                written,
                &[
                    ("auto", AttachMode::Auto),
                    ("driver", AttachMode::Driver),
                    ("generic", AttachMode::Generic),
                    ("off", AttachMode::Off),
                ],
                &path.key("mode"),
                problems,
            )
            .unwrap_or(AttachMode::Auto)
        });
        let mode = if fastpath { mode } else { AttachMode::Off };
        interfaces.push(Interface { name: name.clone(), address, mode });
    }
    interfaces
}

fn conflict_detection(
    written: &wire::ConflictDetection,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Option<ConflictDetection> {
    let wire::ConflictDetection { mode, wait_ms, conflict_secs, silent_secs, in_flight_max } = written;
    let modes = [("all", Some(true)), ("direct", Some(false)), ("off", None)];
    let mode = text::choice(mode, &modes, &path.key("mode"), problems).flatten();
    text::within(*wait_ms, 20, 5_000, "ms", &path.key("wait_ms"), problems);
    text::within(*conflict_secs, 1, 86_400, "s", &path.key("conflict_secs"), problems);
    text::within(*silent_secs, 1, 86_400, "s", &path.key("silent_secs"), problems);
    text::within(*in_flight_max, 2, 65_536, "addresses", &path.key("in_flight_max"), problems);
    Some(ConflictDetection {
        relayed: mode?,
        wait: Span::from_millis(u64::from(*wait_ms)),
        conflict: Span::from_secs(u64::from(*conflict_secs)),
        silent: Span::from_secs(u64::from(*silent_secs)),
        in_flight_max: usize::try_from(*in_flight_max).unwrap_or(usize::MAX),
    })
}

fn audit(written: &wire::Audit, store: &Store, path: &Path<'_>, problems: &mut Problems) -> Option<Audit> {
    let wire::Audit { enabled, path: directory, file_mib, files_max, days_max, renewals_secs, sync } =
        written;
    text::within(*file_mib, 1, 65_536, "MiB", &path.key("file_mib"), problems);
    text::within(*files_max, 2, 100_000, "files", &path.key("files_max"), problems);
    if let Some(days) = days_max {
        text::within(*days, 1, 36_500, "days", &path.key("days_max"), problems);
    }
    text::within(*renewals_secs, 0, 604_800, "s", &path.key("renewals_secs"), problems);
    let directory = match directory {
        Some(directory) => absolute(directory, &path.key("path"), problems),
        None => store.path.join("audit"),
    };
    enabled.then_some(Audit {
        path: directory,
        file_octets: u64::from(*file_mib) << 20,
        files_max: *files_max,
        days_max: *days_max,
        renewals_secs: *renewals_secs,
        sync: *sync,
    })
}

fn fastpath(written: &wire::FastPath, path: &Path<'_>, problems: &mut Problems) -> FastPath {
    let wire::FastPath { enabled: _, pin_path, authority_secs, horizon_percent, answers_max, kernel_log } =
        written;
    text::within(*authority_secs, 1, 604_800, "s", &path.key("authority_secs"), problems);
    text::within(*answers_max, 1, 1 << 20, "answers", &path.key("answers_max"), problems);
    let horizon = text::permille(*horizon_percent, 1500, 10_000, &path.key("horizon_percent"), problems);
    FastPath {
        pin_path: absolute(pin_path, &path.key("pin_path"), problems),
        authority_secs: *authority_secs,
        horizon_permille: horizon.unwrap_or(2000),
        answers_max: *answers_max,
        kernel_log: *kernel_log,
    }
}
