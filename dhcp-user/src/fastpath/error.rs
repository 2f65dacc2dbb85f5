//! What can go wrong between the daemon and the kernel, and the way out of it.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

use crate::privilege::trust::Untrusted;

/// Everything that can fail in this room.
#[derive(Debug, thiserror::Error)]
pub enum FastPathError {
    /// Somebody else could have put maps there.
    #[error("the directory of pins {0}")]
    Untrusted(#[source] Untrusted),
    /// The pin path lies on another file system.
    #[error(
        "{} is not on a BPF file system: mount one (`mount -t bpf bpf /sys/fs/bpf`) or set dhcp.fastpath.pin_path",
        path.display()
    )]
    NotBpffs {
        /// The configured path.
        path: PathBuf,
    },
    /// Another daemon holds the pins.
    #[error("another daemon is using the pins in {}: stop it, or give this one its own dhcp.fastpath.pin_path", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A pin could not be made, moved, opened or removed.
    #[error("{call} of {} failed: {error}{}", path.display(), permission(error))]
    Pin {
        /// The call.
        call: &'static str,
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Pinned maps are laid out as another version of the program had them.
    #[error(
        "the maps pinned in {} are of layout version {found}, this program reads version {expected}: \
         run `simple-dhcpd-datacenter unload` with the daemon that made them, or with this one to give up what the \
         kernel renewed since it stopped",
        path.display()
    )]
    OtherAbi {
        /// The directory.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// A pinned map could not be read.
    #[error("the pinned map {} cannot be used: {error}", path.display())]
    PinnedMap {
        /// The pin.
        path: PathBuf,
        /// Why.
        #[source]
        error: MapError,
    },
    /// The object could not be loaded.
    #[error("the XDP object cannot be loaded: {error}{}{}", privileges(error), too_old())]
    Load {
        /// Why.
        #[source]
        error: EbpfError,
    },
    /// The kernel refused the program.
    #[error("the kernel refuses the XDP program for {interface}: {error}{}", too_old())]
    Program {
        /// For which interface.
        interface: String,
        /// Why.
        #[source]
        error: ProgramError,
    },
    /// The program could not be attached.
    #[error("the XDP program cannot be attached to {interface} in {mode} mode: {reason}")]
    Attach {
        /// To which interface.
        interface: String,
        /// In which mode.
        mode: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// A map could not be written or read.
    #[error("the map {map} cannot be {action}: {error}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        error: MapError,
    },
    /// A map could not be mapped into memory.
    #[error("the map {map} cannot be mapped into memory: {error}")]
    Mmap {
        /// Its name.
        map: &'static str,
        /// Why.
        error: io::Error,
    },
    /// The object lacks something: it is not ours.
    #[error("the XDP object has no {0}: it was built from another source; run `cargo xtask build`")]
    Missing(&'static str),
}

/// The way out of a refused permission.
const AS_ROOT: &str = " (run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW)";

/// The first release with everything the program calls (`bpf_xdp_load_bytes`, `bpf_xdp_store_bytes`).
const NEEDS: (u32, u32) = (5, 18);

/// Says so if the kernel is older than what the program needs.
fn too_old() -> String {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < NEEDS => {
            format!("; Linux {}.{} or later is needed, and this is {release}", NEEDS.0, NEEDS.1)
        }
        _ => String::new(),
    }
}

fn permission(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied { AS_ROOT } else { "" }
}

fn privileges(error: &EbpfError) -> &'static str {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        {
            return AS_ROOT;
        }
        source = error.source();
    }
    ""
}
