//! What a seed stands for: how many clients there are and how they behave, how short of addresses the server is, and
//! everything that goes wrong and when. Drawn whole before the run, so that a shrinker can take parts away.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use dhcp_user::config::model::{
    AttachMode, Config, Control, FastPath, Interface, KernelLog, Limits, Link, OptionValue, Policy, Pool,
    Store, Subnet, VlanTags,
};
use ipnet::Ipv4Net;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

/// Nanoseconds in a second.
pub const SEC: u64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;
/// The server's address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The server's hardware address.
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The relay agent of the second subnet.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 1);
/// The hardware address of the router that the relay is on.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 7, 1];

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The daemon dies, at once or after so many more of its writes, and starts again later.
    Kill {
        /// Writes to the store and the maps, and replies, that it still gets done.
        after_writes: Option<u32>,
        /// How long it is down.
        down_ns: u64,
        /// With which configuration it comes back, if another.
        variant: Option<u8>,
        /// Whether somebody unloads program and maps while it is down.
        unload: bool,
    },
    /// The power goes: boot clock, maps and running programs too.
    PowerLoss {
        /// How long it is away.
        down_ns: u64,
        /// Whether the wall clock is right when it comes back (else it goes on from where it was wrong).
        clock_mended: bool,
    },
    /// The wall clock is stepped.
    WallStep {
        /// By so much.
        by_ns: i64,
    },
    /// The disk takes up to `up_to_ns` for each flush.
    SlowDisk {
        /// The longest flush.
        up_to_ns: u64,
        /// For how long.
        for_ns: u64,
    },
    /// Commits fail in this many cases of a hundred: the disk is full.
    FullDisk {
        /// Out of a hundred commits.
        percent: u8,
        /// For how long.
        for_ns: u64,
    },
    /// The next flush fails; nobody knows whether its batch is there.
    FlushFails {
        /// Whether it is.
        kept: bool,
    },
    /// The configuration file is changed, and a daemon that runs is told.
    Reload {
        /// To the configuration with this number.
        variant: u8,
    },
    /// The daemon's thread stands still.
    Hang {
        /// For how long.
        for_ns: u64,
    },
    /// The machine sleeps: program and daemon stand still and frames are lost, while the boot clock and everybody else go on.
    Suspend {
        /// For how long.
        for_ns: u64,
    },
    /// A part of the clients is cut off: every client whose number leaves `rest` when divided by `by`.
    Partition {
        /// Divisor.
        by: u16,
        /// Rest.
        rest: u16,
        /// For how long.
        for_ns: u64,
    },
    /// Programs that have decided to answer stand still before they do.
    Stall {
        /// In this many cases of a hundred.
        percent: u8,
        /// The longest.
        up_to_ns: u64,
        /// For how long programs do that.
        for_ns: u64,
    },
    /// Clients decline what they are given, in this many cases of a hundred.
    DeclineStorm {
        /// Out of a hundred grants.
        percent: u8,
        /// For how long.
        for_ns: u64,
    },
}

/// How clients and network behave while nothing is calm, each out of a thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Rates {
    /// Frames lost.
    pub loss: u16,
    /// Frames doubled.
    pub duplicate: u16,
    /// Frames delayed by up to 1.5 s instead of 1 ms, and so reordered.
    pub delay: u16,
    /// Bound clients that give their address back.
    pub release: u16,
    /// Bound clients that fall silent for a while.
    pub sleep: u16,
    /// Bound clients that start again and remember their address.
    pub reboot: u16,
    /// Bound clients that start again and remember nothing.
    pub forget: u16,
    /// Grants declined.
    pub decline: u16,
}

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Seeds everything that is drawn while it runs.
    pub seed: u64,
    /// Number of clients; every third is behind the relay.
    pub clients: u16,
    /// Addresses in the first and the second subnet's pool.
    pub pools: [u8; 2],
    /// The lease time in seconds, unless a client wishes another.
    pub lease_secs: u32,
    /// See [`FastPath::horizon_permille`].
    pub horizon_permille: u32,
    /// See [`FastPath::authority_secs`].
    pub authority_secs: u32,
    /// See [`FastPath::answers_max`].
    pub answers_max: u32,
    /// How clients and network behave.
    pub rates: Rates,
    /// What goes wrong, and when (nanoseconds since the start), in order.
    pub faults: Vec<(u64, Fault)>,
    /// When calm sets in.
    pub calm_from_ns: u64,
    /// When it ends.
    pub end_ns: u64,
    /// Stop after so many events.
    pub steps_max: u64,
}

/// How long the calm at the end lasts.
pub const CALM_NS: u64 = 240 * SEC;

impl Scenario {
    /// The scenario of a seed.
    pub fn new(seed: u64, steps_max: u64) -> Self {
        Self::of(seed, steps_max, None)
    }

    /// The scenario of a seed, but that there are so many clients. Beyond some hundreds they are too many for the pools, and
    /// for the table of answers perhaps; what they have is given from one to another all the time.
    pub fn of(seed: u64, steps_max: u64, clients: Option<u16>) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let drawn = rng.random_range(12..48_u16);
        let clients = clients.unwrap_or(drawn);
        let lease_secs = [30, 40, 60, 90][rng.random_range(0..4)];
        // From plenty to a third of what is needed.
        let share = rng.random_range(35..130_u32);
        let pool = |of: u16| u8::try_from((u32::from(of) * share / 100).clamp(2, 200)).unwrap_or(200);
        let some =
            |rng: &mut SmallRng, max: u16| if rng.random_bool(0.6) { rng.random_range(0..max) } else { 0 };
        let rates = Rates {
            loss: some(&mut rng, 250),
            duplicate: some(&mut rng, 150),
            delay: some(&mut rng, 250),
            release: some(&mut rng, 150),
            sleep: some(&mut rng, 250),
            reboot: some(&mut rng, 100),
            forget: some(&mut rng, 60),
            decline: some(&mut rng, 25),
        };
        let calm_from_ns = u64::from(lease_secs) * rng.random_range(6..14) * SEC;
        let faults = draw_faults(&mut rng, lease_secs, calm_from_ns);
        Self {
            seed,
            clients,
            pools: [pool(clients - clients / 3), pool(clients / 3)],
            lease_secs,
            horizon_permille: [1_500, 1_500, 2_000, 3_000, 4_000][rng.random_range(0..5)],
            authority_secs: [10, 60, 3_600][rng.random_range(0..3)],
            answers_max: if rng.random_bool(0.1) { rng.random_range(1..4) } else { 64 },
            rates,
            faults,
            calm_from_ns,
            end_ns: calm_from_ns + CALM_NS,
            steps_max,
        }
    }

    /// The configuration with number `variant`: other lease times, options, or a smaller pool.
    pub fn config(&self, variant: u8) -> Config {
        let lease_secs = match variant % 4 {
            2 => self.lease_secs / 2,
            3 => self.lease_secs * 2,
            _ => self.lease_secs,
        };
        let mut options = BTreeMap::new();
        let option = |bytes: &[u8]| OptionValue { bytes: bytes.to_vec(), always: false };
        options.insert(1, option(&[255, 255, 255, 0]));
        options.insert(3, option(&SERVER.octets()));
        options.insert(6, option(&[198, 18, 0, 2 + variant % 8]));
        options.insert(15, option(b"sim.example"));
        let policy = Arc::new(Policy {
            lease_default_secs: lease_secs,
            lease_min_secs: lease_secs.min(20),
            lease_max_secs: lease_secs * 3,
            t1_permille: 500,
            t2_permille: 875,
            rapid_commit: true,
            next_server: Ipv4Addr::UNSPECIFIED,
            server_name: Vec::new(),
            boot_file: Vec::new(),
            options,
        });
        let subnet = |third: u8, addresses: u8, direct: bool| {
            let network = Ipv4Addr::new(198, 18, third, 0);
            // Every fifth configuration has lost an address.
            let addresses = if variant % 5 == 4 { addresses.saturating_sub(1).max(1) } else { addresses };
            let (first, last) =
                (Ipv4Addr::new(198, 18, third, 10), Ipv4Addr::new(198, 18, third, 9 + addresses));
            Subnet {
                prefix: Ipv4Net::new_assert(network, 24),
                link: direct.then_some(Link { interface: 0, vlans: VlanTags::default() }),
                relays: Vec::new(),
                pools: vec![Pool { first, last, policy: Arc::clone(&policy) }],
                reservations: Vec::new(),
                policy: Arc::clone(&policy),
            }
        };
        Config {
            interfaces: vec![Interface {
                name: "sim0".into(),
                address: Some(SERVER),
                mode: AttachMode::Driver,
            }],
            subnets: vec![subnet(0, self.pools[0], true), subnet(7, self.pools[1], false)],
            authoritative: true,
            store: Store { path: "sim".into() },
            control: Control { socket: "sim".into() },
            api: Default::default(),
            fastpath: FastPath {
                pin_path: "sim".into(),
                authority_secs: self.authority_secs,
                horizon_permille: self.horizon_permille,
                answers_max: self.answers_max,
                kernel_log: KernelLog::Off,
            },
            conflict_detection: None,
            audit: None,
            limits: Limits::default(),
            multi_site: None,
            left_out: Vec::new(),
        }
    }
}

fn draw_faults(rng: &mut SmallRng, lease_secs: u32, until_ns: u64) -> Vec<(u64, Fault)> {
    let lease_ns = u64::from(lease_secs) * SEC;
    let mut faults = Vec::new();
    for _ in 0..rng.random_range(0..14) {
        let for_ns = rng.random_range(lease_ns / 8..lease_ns * 2);
        let down_ns = match rng.random_range(0..3) {
            0 => rng.random_range(MS..2 * SEC),
            1 => rng.random_range(SEC..lease_ns),
            _ => rng.random_range(lease_ns..lease_ns * 2),
        };
        let fault = match rng.random_range(0..22) {
            0..6 => Fault::Kill {
                after_writes: rng.random_bool(0.6).then(|| rng.random_range(0..12)),
                down_ns,
                variant: rng.random_bool(0.25).then(|| rng.random_range(0..16)),
                unload: rng.random_bool(0.1),
            },
            6..8 => Fault::PowerLoss { down_ns, clock_mended: rng.random_bool(0.5) },
            8 | 9 => Fault::WallStep { by_ns: rng.random_range(-20_000..20_000) * SEC.cast_signed() },
            10 | 11 => Fault::SlowDisk { up_to_ns: rng.random_range(50 * MS..4 * SEC), for_ns },
            12 => Fault::FullDisk { percent: rng.random_range(5..60), for_ns },
            13 => Fault::FlushFails { kept: rng.random_bool(0.5) },
            14 => Fault::Hang { for_ns: rng.random_range(SEC..20 * SEC) },
            15 | 16 => {
                let by = rng.random_range(1..4);
                Fault::Partition { by, rest: rng.random_range(0..by), for_ns: for_ns / 2 }
            }
            17..21 => Fault::Stall {
                percent: rng.random_range(5..60),
                up_to_ns: if rng.random_bool(0.5) { 300 * MS } else { 15 * SEC },
                for_ns,
            },
            _ => Fault::DeclineStorm { percent: rng.random_range(20..90), for_ns: for_ns / 2 },
        };
        faults.push((rng.random_range(lease_ns / 4..until_ns), fault));
    }
    // Drawn apart, so that what else goes wrong in a seed stays what it was.
    let mut own = SmallRng::seed_from_u64(rng.clone().random::<u64>() ^ 0x2e10ad);
    for _ in 0..own.random_range(0..4) {
        let variant = own.random_range(0..16);
        faults.push((own.random_range(lease_ns / 4..until_ns), Fault::Reload { variant }));
    }
    if own.random_bool(0.25) {
        let at_ns = own.random_range(lease_ns / 4..until_ns);
        faults.push((at_ns, Fault::Suspend { for_ns: own.random_range(SEC..lease_ns * 4) }));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}
