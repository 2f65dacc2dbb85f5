//! Whether every interface is still the one the sockets were opened on, and still runs our program: a thread looks about once
//! a second. Not the service's own: what it asks of the kernel waits for whoever configures interfaces.
//!
//! An interface that was removed cannot be served any more, even if there is one of its name again: sockets belong to the
//! one that is gone, and to open others takes privileges that were dropped. A program that somebody detached is attached again by
//! the service ([`Service::mend_fast_path`]).

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use nix::net::if_::if_nametoindex;

use super::{service::Service, start, tap::Running};
use crate::{
    fastpath::kernel::KernelPath,
    net::{interface::InterfaceFacts, xdp_mode::XdpProgram},
};

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long to wait before a program is attached again, if it was a moment ago; twice as long each time.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
/// The longest of these waits: drivers may stop an interface for a moment to attach a program.
const AGAIN_MAX: Duration = Duration::from_secs(256);
/// After so long without having to, it begins at the shortest again.
const CALM: Duration = Duration::from_secs(600);

/// What is wrong with an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is gone.
    Gone,
    /// There is one of its name again, with this index.
    Another(u32),
    /// It runs no program.
    NoProgram,
    /// It runs another program than ours.
    OtherProgram(u32),
}

impl Fault {
    /// Whether the interface can only be served again by another start.
    pub const fn is_lost(&self) -> bool {
        matches!(self, Self::Gone | Self::Another(_))
    }
}

/// A fault and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The interface.
    pub interface: String,
    /// Its index, when the service started.
    pub ifindex: u32,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, ifindex, fault } = self;
        match fault {
            Fault::Gone => write!(
                f,
                "the interface {interface} (index {ifindex}) is gone, nothing is received there: bring it back, and \
                 restart the daemon"
            ),
            Fault::Another(now) => write!(
                f,
                "the interface {interface} was removed and made anew (index {ifindex}, now {now}): nothing is received \
                 there until the daemon is restarted"
            ),
            Fault::NoProgram => write!(
                f,
                "the kernel program was taken off {interface}: the daemon answers its renewals, and attaches the program \
                 again in a moment; if this stays, the log says what is in the way"
            ),
            Fault::OtherProgram(id) => write!(
                f,
                "another XDP program (id {id}) runs on {interface} in the place of ours: `bpftool net` shows it; take it \
                 off, and the daemon attaches its own again"
            ),
        }
    }
}

/// An interface as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    interface: String,
    ifindex: u32,
    /// The program that should run there, if one should.
    program: Option<u32>,
}

#[derive(Debug, Default)]
struct State {
    wanted: Vec<Wanted>,
    /// Grows when what is wanted changes: what was found before says nothing any more.
    version: u64,
    /// How often was looked.
    looks: u64,
    found: Vec<Found>,
}

/// What is watched, and what was found.
#[derive(Debug, Default)]
pub struct Watch(Mutex<State>);

impl Watch {
    /// Watches these interfaces for as long as what is returned lives.
    ///
    /// # Errors
    /// If there can be no thread for it.
    pub fn start(facts: &[InterfaceFacts]) -> io::Result<Arc<Self>> {
        let wanted =
            |of: &InterfaceFacts| Wanted { interface: of.name.clone(), ifindex: of.ifindex, program: None };
        let state = State { wanted: facts.iter().map(wanted).collect(), ..State::default() };
        let watch = Arc::new(Self(Mutex::new(state)));
        let weak = Arc::downgrade(&watch);
        thread::Builder::new().name("watch".to_owned()).spawn(move || follow(&weak))?;
        Ok(watch)
    }

    /// From here on these programs, by interface, should run, and no others of ours.
    pub fn expect(&self, programs: &BTreeMap<String, u32>) {
        let mut state = self.lock();
        for wanted in &mut state.wanted {
            wanted.program = programs.get(&wanted.interface).copied();
        }
        state.version += 1;
        state.found.clear();
    }

    /// How often was looked, and what is wrong.
    pub fn found(&self) -> (u64, Vec<Found>) {
        let state = self.lock();
        (state.looks, state.found.clone())
    }

    fn look(&self) {
        let (version, wanted) = {
            let state = self.lock();
            (state.version, state.wanted.clone())
        };
        let found = wanted.into_iter().filter_map(|wanted| {
            let fault = judge(&wanted, XdpProgram::on(wanted.ifindex), || {
                if_nametoindex(wanted.interface.as_str()).ok()
            })?;
            Some(Found { interface: wanted.interface, ifindex: wanted.ifindex, fault })
        });
        let found = found.collect();
        let mut state = self.lock();
        if state.version == version {
            state.looks += 1;
            state.found = found;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn follow(watch: &Weak<Watch>) {
    while let Some(watch) = watch.upgrade() {
        watch.look();
        drop(watch);
        thread::sleep(LOOK_EVERY);
    }
}

/// What is wrong, if anything is; `named` tells the index of the interface that has the name now.
fn judge(
    wanted: &Wanted,
    runs: io::Result<Option<XdpProgram>>,
    named: impl FnOnce() -> Option<u32>,
) -> Option<Fault> {
    match (runs, wanted.program) {
        (Err(error), _) if error.raw_os_error() == Some(libc::ENODEV) => {
            Some(named().map_or(Fault::Gone, Fault::Another))
        }
        // Not to be told this time.
        (Err(_), _) | (Ok(_), None) => None,
        (Ok(None), Some(_)) => Some(Fault::NoProgram),
        // Of several, as on a card and in its driver, the kernel does not tell one.
        (Ok(Some(runs)), Some(ours)) => runs.id.filter(|id| *id != ours).map(Fault::OtherProgram),
    }
}

/// What the service has told and done about it.
#[derive(Debug, Default)]
pub struct Mending {
    /// The last look that was taken note of.
    looks: u64,
    /// What was said already.
    told: Vec<Found>,
    /// When a program was last attached again, or tried to be, and how long the next time waits.
    last: Option<(Instant, Duration)>,
    /// Programs attached again.
    pub attached_again: u64,
}

impl Mending {
    /// Whether it is time to attach programs again; it counts as done then.
    fn may_try(&mut self, now: Instant) -> bool {
        let wait = match self.last {
            Some((at, wait)) if now.saturating_duration_since(at) < wait => return false,
            Some((at, wait)) if now.saturating_duration_since(at) < CALM => (wait * 2).min(AGAIN_MAX),
            _ => AGAIN_FIRST,
        };
        self.last = Some((now, wait));
        true
    }
}

impl Service {
    /// Tells the watch which programs run now.
    pub(super) fn expect_programs(&self) {
        let own = self.keeper.kernel.iter().flat_map(KernelPath::programs);
        // Those of a capture run in the place of the others.
        let shown = self.running_tap.iter().flat_map(Running::programs);
        let programs = own.chain(shown).map(|(interface, id)| (interface.to_owned(), id)).collect();
        self.watch.expect(&programs);
    }

    /// Says what the watch found, and attaches programs again that somebody took away. The maps are the same: what was
    /// promised and marked stays.
    pub(super) fn mend_fast_path(&mut self) {
        let (looks, found) = self.watch.found();
        if looks == self.mending.looks {
            return;
        }
        self.mending.looks = looks;
        for news in found.iter().filter(|one| !self.mending.told.contains(one)) {
            tracing::error!("{news}");
        }
        for over in self.mending.told.iter().filter(|one| !found.contains(one)) {
            tracing::info!(
                interface = over.interface,
                "what was wrong with the interface or its program is over"
            );
        }
        let taken = found.iter().any(|one| !one.fault.is_lost());
        self.mending.told.clone_from(&found);
        if !taken || !self.mending.may_try(Instant::now()) {
            return;
        }
        // Its programs are not there to come back.
        self.end_tap();
        let Some(kernel) = self.keeper.kernel.as_mut() else { return };
        let before = self.mending.attached_again;
        for Found { interface, ifindex, .. } in found.iter().filter(|one| !one.fault.is_lost()) {
            match kernel.attach_again(interface) {
                Ok(Some(attached)) => {
                    self.mending.attached_again += 1;
                    let mode = start::succession::mode_of(interface, *ifindex, attached);
                    tracing::warn!(interface, mode, "the kernel program is attached again");
                    self.modes.insert(interface.clone(), mode.to_owned());
                }
                Ok(None) => {}
                Err(error) => {
                    let again_secs = self.mending.last.map_or(0, |(_, wait)| wait.as_secs());
                    tracing::error!(interface, %error, again_secs, "the kernel program cannot be attached again");
                }
            }
        }
        // Else what was found is still so.
        if self.mending.attached_again != before {
            self.expect_programs();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::xdp_mode::XdpMode;

    fn wanted(program: Option<u32>) -> Wanted {
        Wanted { interface: "s0".to_owned(), ifindex: 5, program }
    }

    fn runs(id: u32) -> Option<XdpProgram> {
        Some(XdpProgram { mode: XdpMode::Driver, id: Some(id) })
    }

    #[test]
    fn an_interface_must_be_the_same_and_run_ours() {
        let judged = |program, runs, named: Option<u32>| judge(&wanted(program), runs, || named);
        let gone = || Err(io::Error::from_raw_os_error(libc::ENODEV));
        assert_eq!(judged(Some(7), Ok(runs(7)), Some(5)), None);
        assert_eq!(judged(Some(7), Ok(runs(8)), Some(5)), Some(Fault::OtherProgram(8)));
        let several = XdpProgram { mode: XdpMode::Several, id: None };
        assert_eq!(judged(Some(7), Ok(Some(several)), Some(5)), None);
        assert_eq!(judged(Some(7), Ok(None), Some(5)), Some(Fault::NoProgram));
        assert_eq!(judged(None, Ok(None), Some(5)), None);
        assert_eq!(judged(None, Ok(runs(8)), Some(5)), None);
        for program in [None, Some(7)] {
            assert_eq!(judged(program, gone(), None), Some(Fault::Gone));
            assert_eq!(judged(program, gone(), Some(9)), Some(Fault::Another(9)));
            let timeout = Err(io::Error::from_raw_os_error(libc::EAGAIN));
            assert_eq!(judged(program, timeout, Some(5)), None);
        }
    }

    #[test]
    fn what_was_found_before_a_change_is_forgotten() {
        let lost = State {
            wanted: vec![Wanted { interface: "none".to_owned(), ifindex: u32::MAX >> 1, program: None }],
            ..State::default()
        };
        let watch = Watch(Mutex::new(lost));
        watch.look();
        let (looks, found) = watch.found();
        assert_eq!((looks, found.len()), (1, 1));
        assert!(found[0].to_string().contains("interface none") && found[0].fault == Fault::Gone);
        watch.expect(&BTreeMap::new());
        assert_eq!(watch.found(), (1, Vec::new()));
    }

    #[test]
    fn whoever_takes_the_program_away_again_and_again_is_fought_ever_more_rarely() {
        let (mut mending, begun) = (Mending::default(), Instant::now());
        let tries = |mending: &mut Mending, from: u64, until: u64| {
            (from..until).filter(|secs| mending.may_try(begun + Duration::from_secs(*secs))).count()
        };
        assert_eq!(tries(&mut mending, 0, 2), 2);
        assert_eq!(tries(&mut mending, 2, 1_000), 9, "3, 7, 15, 31, 63, 127, 255, 511, 767 ...");
        assert_eq!(tries(&mut mending, 3_000, 3_002), 2, "after a calm");
    }
}
