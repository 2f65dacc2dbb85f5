//! Frames that the kernel answered, for somebody who looks: no packet socket ever sees them.
//!
//! For as long as a capture lasts, other programs run over the same maps: the same code, compiled a second time with what
//! shows answered frames. So nothing of it is in the programs that run at all other times. Programs are swapped behind their links as at
//! a change of configuration, with no frame in between; a daemon that dies meanwhile leaves programs that answer as the
//! others do, and are replaced at the next start.

use std::{fmt, net::Ipv4Addr};

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray, RingBuf},
    programs::Xdp,
};
use dhcp_common::{
    abi::name,
    capture::{Room, Shown, Wanted},
    limit::Rate,
};

use super::{
    attach,
    error::FastPathError,
    kernel::{KernelPath, Port, Settings, Sizes, load_object, program, programs, take, wrong},
    pin_set::PinSet,
};

/// Octets of each interface's ring.
pub(super) const RING_OCTETS: u32 = 1 << 20;

/// Which answered frames are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this leased address only.
    pub address: Option<Ipv4Addr>,
    /// Of this client only.
    pub mac: Option<[u8; 6]>,
    /// How many renewals a second at most; 0 for all.
    pub per_sec: u32,
}

impl Filter {
    fn for_kernel(&self) -> Wanted {
        let [a, b, c, d, e, f] = self.mac.unwrap_or_default();
        Wanted {
            // A second's worth may come at once.
            rate: Rate::new(self.per_sec, self.per_sec),
            chaddr: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
            address: self.address.map_or([0; 4], |address| address.octets()),
            ..Wanted::ALL
        }
    }
}

/// What programs of a capture are loaded by: what those in use were.
#[derive(Clone, Debug)]
pub struct Recipe {
    set: PinSet,
    ports: Vec<Port>,
    sizes: Sizes,
    settings: Settings,
}

/// Programs that show what they answer.
pub struct Tap {
    set: PinSet,
    objects: Vec<(Port, Ebpf)>,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("set", &self.set).finish_non_exhaustive()
    }
}

/// What they show.
pub struct Views(Vec<View>);

struct View {
    interface: String,
    ring: RingBuf<MapData>,
    rooms: PerCpuArray<MapData, Room>,
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.interfaces()).finish()
    }
}

impl Recipe {
    /// Loads programs that show what is wanted. They run when the service [attaches](KernelPath::attach_tap) them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn load(self, filter: &Filter) -> Result<(Tap, Views), FastPathError> {
        let Self { set, ports, sizes, settings } = self;
        let wanted = filter.for_kernel();
        let (mut objects, mut views) = (Vec::new(), Vec::new());
        for port in ports {
            let mut object = load_object(&set, &port, sizes, &settings, Some(&wanted))?;
            let ring = RingBuf::try_from(take(&mut object, name::CAPTURED)?);
            let rooms = PerCpuArray::try_from(take(&mut object, name::CAPTURE_ROOM)?);
            views.push(View {
                interface: port.name.clone(),
                ring: ring.map_err(wrong(name::CAPTURED, "used"))?,
                rooms: rooms.map_err(wrong(name::CAPTURE_ROOM, "used"))?,
            });
            objects.push((port, object));
        }
        Ok((Tap { set, objects }, Views(views)))
    }
}

impl Tap {
    /// The identifiers of its programs, by interface.
    pub fn programs(&self) -> impl Iterator<Item = (&str, u32)> {
        programs(&self.objects, name::SHOWING)
    }
}

impl Views {
    /// The interfaces, in the order of the configuration.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|view| view.interface.as_str())
    }

    /// Hands over what has been shown since the last time: the interface's number here, what is said of the frame, and its
    /// octets; until there is no more, or `take` says that it has had enough.
    pub fn drain(&mut self, mut take: impl FnMut(usize, Shown, &[u8]) -> bool) {
        for (number, view) in self.0.iter_mut().enumerate() {
            while let Some(record) = view.ring.next() {
                if let Some((shown, octets)) = Shown::read(&record)
                    && !take(number, shown, octets)
                {
                    return;
                }
            }
        }
    }

    /// How many renewals were wanted and not shown so far, by interface: too many in a second, or nobody read them.
    pub fn left_out(&self) -> Vec<u64> {
        let of = |view: &View| {
            let rooms = view.rooms.get(&0, 0).ok();
            rooms.map_or(0, |rooms| rooms.iter().map(|room| room.left_out).sum())
        };
        self.0.iter().map(of).collect()
    }
}

impl KernelPath {
    /// What programs of a capture are loaded by.
    pub fn recipe(&self) -> Recipe {
        let slots = u32::try_from(self.layout().table().len()).unwrap_or(u32::MAX);
        Recipe {
            set: self.set.clone(),
            ports: self.objects.iter().map(|(port, _)| port.clone()).collect(),
            sizes: Sizes { leases: self.layout().leases().max(1), slots },
            settings: self.settings,
        }
    }

    /// Runs a capture's programs in the place of those in use. `false` if they were made for other maps: then nothing
    /// happens.
    ///
    /// # Errors
    /// If the kernel refuses; those in use run then.
    pub fn attach_tap(&mut self, tap: &mut Tap) -> Result<bool, FastPathError> {
        if tap.set != self.set {
            return Ok(false);
        }
        let attached = tap.objects.iter_mut().try_for_each(|(port, object)| {
            let program: &mut Xdp = program(object, name::SHOWING, &port.name)?;
            // By its pin a start after this one knows that the set is in use.
            self.set.pin_tap(&port.name, program)?;
            attach::attach(program, &port.name, port.ifindex, port.mode, &self.pins).map(drop)
        });
        match attached {
            Ok(()) => Ok(true),
            Err(error) => {
                self.detach_tap()?;
                Err(error)
            }
        }
    }

    /// Runs the programs in use again in the place of a capture's.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn detach_tap(&mut self) -> Result<(), FastPathError> {
        self.attach()?;
        let ports = self.objects.iter().map(|(port, _)| &port.name);
        ports.into_iter().try_for_each(|interface| self.set.unpin_tap(interface))
    }
}
