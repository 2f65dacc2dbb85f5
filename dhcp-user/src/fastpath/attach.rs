//! Attaching the program to an interface, or handing an earlier daemon's link over to it without a gap, if that is of the mode
//! that is configured: a link keeps the mode it was made with.

use std::io;

use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};

use super::{error::FastPathError, pins::PinDirectory};
use crate::{config::model::AttachMode, net::xdp_mode::XdpMode as Running};

/// How the program came to run on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// In the driver, before the kernel allocates anything for a frame.
    Driver,
    /// In the network stack: works everywhere, at a fraction of the speed.
    Generic,
    /// In the place of an earlier daemon's program, in the mode that had, with no frame in between.
    TookOver,
}

/// Runs `program` on the interface with index `ifindex`.
///
/// # Errors
/// If the kernel or the driver refuses.
pub fn attach(
    program: &mut Xdp,
    interface: &str,
    ifindex: u32,
    mode: AttachMode,
    pins: &PinDirectory,
) -> Result<Attached, FastPathError> {
    // Without a link of ours, whatever runs there is somebody else's.
    if pins.link(interface).exists()
        && let Some(before) = running(interface, ifindex)
        && is_another(mode, before)
    {
        return replace(program, interface, ifindex, before, mode, pins);
    }
    if take_over(program, interface, pins)? {
        return Ok(Attached::TookOver);
    }
    attach_anew(program, interface, ifindex, mode, pins)
}

/// The mode of the program that runs on an interface, if one does.
fn running(interface: &str, ifindex: u32) -> Option<Running> {
    Running::of(ifindex)
        .inspect_err(|error| tracing::debug!(interface, %error, "the kernel does not tell what runs there"))
        .ok()
        .flatten()
}

/// Whether a link of mode `is` is not what `wanted` asks for. `auto` takes what there is.
const fn is_another(wanted: AttachMode, is: Running) -> bool {
    matches!((wanted, is), (AttachMode::Driver, Running::Generic) | (AttachMode::Generic, Running::Driver))
}

/// Makes an earlier daemon's link anew, in another mode. In between, for a moment, no program runs: renewals come up to the
/// daemon. If the kernel or the driver refuses the new mode, the program runs in the one before: renewals go on.
fn replace(
    program: &mut Xdp,
    interface: &str,
    ifindex: u32,
    before: Running,
    mode: AttachMode,
    pins: &PinDirectory,
) -> Result<Attached, FastPathError> {
    let path = pins.link(interface);
    tracing::info!(
        interface,
        from = before.as_str(),
        "the configuration wants another XDP mode: the link is made anew"
    );
    // The kernel puts off what follows from a removed pin, but detaches at once when the last descriptor is closed.
    let link = PinnedLink::from_pin(&path).ok();
    pins.remove(&path)?;
    drop(link);
    attach_anew(program, interface, ifindex, mode, pins).inspect_err(|_| {
        let former = if before == Running::Generic { AttachMode::Generic } else { AttachMode::Driver };
        match attach_anew(program, interface, ifindex, former, pins) {
            Ok(_) => tracing::warn!(interface, mode = before.as_str(), "the program runs in the mode it had"),
            Err(error) => tracing::error!(interface, %error, "our program runs on the interface no more"),
        }
    })
}

fn attach_anew(
    program: &mut Xdp,
    interface: &str,
    ifindex: u32,
    mode: AttachMode,
    pins: &PinDirectory,
) -> Result<Attached, FastPathError> {
    let (attached, first) = match mode {
        AttachMode::Auto | AttachMode::Driver | AttachMode::Off => (Attached::Driver, XdpMode::Driver),
        AttachMode::Generic => (Attached::Generic, XdpMode::Skb),
    };
    match program.attach_to_if_index(ifindex, first) {
        Ok(link) => pin(program, link, interface, pins).map(|()| attached),
        Err(error) if mode == AttachMode::Auto && lacks_driver_mode(&error) => {
            tracing::warn!(
                interface,
                "the driver has no XDP support: generic mode is used, which copies every frame and reaches perhaps a \
                 fifth of driver mode's rate"
            );
            let link = program
                .attach_to_if_index(ifindex, XdpMode::Skb)
                .map_err(|error| explain(interface, "generic", &error))?;
            pin(program, link, interface, pins).map(|()| Attached::Generic)
        }
        Err(error) => {
            Err(explain(interface, if first == XdpMode::Skb { "generic" } else { "driver" }, &error))
        }
    }
}

/// Swaps the program behind a pinned link. `false` if there is no link, or only one whose interface is gone.
fn take_over(program: &mut Xdp, interface: &str, pins: &PinDirectory) -> Result<bool, FastPathError> {
    let path = pins.link(interface);
    if !path.exists() {
        return Ok(false);
    }
    let swapped = PinnedLink::from_pin(&path)
        .map_err(|error| error.to_string())
        .and_then(|pinned| XdpLink::try_from(FdLink::from(pinned)).map_err(|error| error.to_string()))
        .and_then(|link| program.attach_to_link(link).map_err(|error| error.to_string()))
        .and_then(|link| program.take_link(link).map_err(|error| error.to_string()));
    match swapped {
        // The pin keeps the link; our descriptor of it is not needed.
        Ok(_) => Ok(true),
        Err(error) => {
            tracing::warn!(
                interface,
                error,
                "an earlier daemon's link cannot be taken over and is made anew"
            );
            pins.remove(&path)?;
            Ok(false)
        }
    }
}

fn pin(
    program: &mut Xdp,
    link: aya::programs::xdp::XdpLinkId,
    interface: &str,
    pins: &PinDirectory,
) -> Result<(), FastPathError> {
    let path = pins.link(interface);
    let failed = |error: String| FastPathError::Pin {
        call: "pin",
        path: path.clone(),
        error: io::Error::other(error),
    };
    let link = program.take_link(link).map_err(|error| failed(error.to_string()))?;
    let link = FdLink::try_from(link)
        .map_err(|_| failed("the kernel has no bpf_link for XDP (Linux 5.9 is needed)".to_owned()))?;
    link.pin(&path).map(drop).map_err(|error| failed(error.to_string()))
}

fn os_error(error: &ProgramError) -> Option<i32> {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.raw_os_error();
        }
        source = error.source();
    }
    None
}

fn lacks_driver_mode(error: &ProgramError) -> bool {
    matches!(os_error(error), Some(libc::EOPNOTSUPP | libc::EINVAL))
}

fn explain(interface: &str, mode: &'static str, error: &ProgramError) -> FastPathError {
    let hint = match os_error(error) {
        Some(libc::EBUSY | libc::EEXIST) => {
            "another XDP program is attached there: `bpftool net` shows it; detach it, or stop the daemon that owns it"
        }
        Some(libc::EOPNOTSUPP) => {
            "the driver has no XDP support: use mode \"generic\" or \"auto\", or another interface"
        }
        Some(libc::EPERM) => "run as root, or with CAP_BPF and CAP_NET_ADMIN",
        Some(libc::EINVAL) => {
            "the driver refuses: LRO may be on, the MTU too large, or the queues too few (see `cargo xtask doctor`)"
        }
        _ => "see `cargo xtask doctor`",
    };
    FastPathError::Attach { interface: interface.to_owned(), mode, reason: format!("{error}: {hint}") }
}
