//! The kernel's side of a start: real maps and programs, taken over from an earlier daemon if there was one.

use std::collections::BTreeMap;

use dhcp_common::abi::Control;

use super::StartError;
use crate::{
    config::model::{AttachMode, Config, FastPath},
    fastpath::{
        attach::Attached,
        error::FastPathError,
        grace::Grace,
        kernel::{KernelPath, Mark, Port, Settings},
        layout::Layout,
        pins::PinDirectory,
        predecessor::Predecessor,
    },
    lease::store::TimedStore,
    net::xdp_mode::XdpMode,
    server::{clock, keeper::Keeper, takeover::Succession},
};

/// Takes over from an earlier daemon, if there was one.
pub(super) fn take_over(
    config: &Config,
    pins: PinDirectory,
    ports: Vec<Port>,
    keeper: &mut Keeper<TimedStore, KernelPath>,
) -> Result<(BTreeMap<String, String>, Grace), StartError> {
    let predecessor = Predecessor::open(&pins)?;
    let mut succession = KernelSuccession {
        config,
        predecessor,
        fresh: Some((pins, ports)),
        grace: None,
        modes: BTreeMap::new(),
    };
    keeper.take_over(&mut succession, super::authority(config))?;
    let KernelSuccession { modes, grace, .. } = succession;
    Ok((modes, grace.ok_or(FastPathError::Missing("GRACE"))?))
}

/// The kernel's side of a start: real maps and programs.
struct KernelSuccession<'a> {
    config: &'a Config,
    predecessor: Option<Predecessor>,
    /// What the new maps are made from, once.
    fresh: Option<(PinDirectory, Vec<Port>)>,
    grace: Option<Grace>,
    modes: BTreeMap<String, String>,
}

impl Succession for KernelSuccession<'_> {
    type Map = KernelPath;

    fn boot_ns(&self) -> u64 {
        clock::boot_ns()
    }

    fn predecessor_marks(&self) -> Option<Vec<Mark>> {
        Some(self.predecessor.as_ref()?.marks().collect())
    }

    fn load(&mut self, control: &Control) -> Result<KernelPath, FastPathError> {
        let (pins, ports) = self.fresh.take().ok_or(FastPathError::Missing("interface to run on"))?;
        // The store says by now that marks up to this moment may be missing.
        self.predecessor.iter_mut().try_for_each(Predecessor::remove_unused)?;
        let mut path = load(self.config, pins, ports, control)?;
        self.grace = Some(path.take_grace().ok_or(FastPathError::Missing("GRACE"))?);
        Ok(path)
    }

    fn attach(&mut self, path: &mut KernelPath) -> Result<(), FastPathError> {
        // What the old program renewed is the new one's to show.
        self.predecessor.iter().flat_map(Predecessor::marks).for_each(|mark| path.carry_mark(&mark));
        self.modes = attach(path)?;
        Ok(())
    }

    fn wait_for_programs(&mut self) -> Result<(), FastPathError> {
        self.grace.as_mut().ok_or(FastPathError::Missing("GRACE"))?.wait()
    }

    fn finish(&mut self) -> Result<(), FastPathError> {
        self.predecessor.iter().try_for_each(Predecessor::remove)
    }
}

/// Maps and programs for `config`, which nothing runs yet.
pub(in crate::server) fn load(
    config: &Config,
    pins: PinDirectory,
    ports: Vec<Port>,
    control: &Control,
) -> Result<KernelPath, FastPathError> {
    let FastPath { answers_max, kernel_log, .. } = config.fastpath;
    let settings = Settings { answers_max, limits: config.limits.for_kernel(), kernel_log };
    KernelPath::load(pins, ports, Layout::new(config), control, &settings)
}

/// Attaches what was loaded; how, by interface.
pub(in crate::server) fn attach(path: &mut KernelPath) -> Result<BTreeMap<String, String>, FastPathError> {
    let mut modes = BTreeMap::new();
    for (port, attached) in path.attach()? {
        let Port { name: interface, ifindex, .. } = port;
        let took_over = attached == Attached::TookOver;
        let mode = mode_of(&interface, ifindex, attached);
        tracing::info!(interface, mode, took_over, "the XDP program is attached");
        if took_over && port.mode == AttachMode::Auto && mode == XdpMode::Generic.as_str() {
            tracing::warn!(
                interface,
                "the program runs in generic mode, as an earlier daemon attached it: if the driver has XDP support by now, \
                 configure mode \"driver\" and restart, and it is attached there"
            );
        }
        modes.insert(interface, mode.to_owned());
    }
    Ok(modes)
}

/// The mode a program runs in.
pub(in crate::server) fn mode_of(interface: &str, ifindex: u32, attached: Attached) -> &'static str {
    match attached {
        Attached::Driver => XdpMode::Driver.as_str(),
        Attached::Generic => XdpMode::Generic.as_str(),
        Attached::TookOver => inherited_mode(interface, ifindex),
    }
}

/// The mode of a link that an earlier daemon made.
fn inherited_mode(interface: &str, ifindex: u32) -> &'static str {
    match XdpMode::of(ifindex) {
        Ok(Some(mode)) => mode.as_str(),
        Ok(None) => "unknown",
        Err(error) => {
            tracing::warn!(interface, %error, "the kernel does not tell the mode of the XDP program taken over");
            "unknown"
        }
    }
}
