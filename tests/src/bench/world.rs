//! The product's maps and programs as a daemon would have them, with a million leases or more published.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use dhcp_common::{
    abi::{Control, LeaseEntry},
    limit::Limits,
    request::Interface,
};
use dhcp_user::{
    config,
    fastpath::{
        answers::{AnswerTable, Interned},
        kernel::{KernelPath, Port, Settings},
        layout::Layout,
        pins::{self, PinDirectory},
        render::{Exchange, Rendering},
    },
};
use rand::{RngCore as _, SeedableRng as _, rngs::SmallRng};

use super::{
    abi::{self, Sequence},
    request::{LEASE_SECS, Request, SERVER_MAC},
};

/// Leases that are many.
pub const MANY: u32 = 1 << 20;
/// The most leases there is room for in 10.0.0.0/8 from [`FIRST`] on.
pub const MOST: u32 = 12_000_000;
/// Leases that are few.
pub const FEW: u32 = 1 << 10;
/// udhcpc's addresses. 198.18.0.0/15, set aside for benchmarks, has room for an eighth of a million only; these leave
/// neither the maps nor the namespaces made here.
pub const FIRST: Ipv4Addr = Ipv4Addr::new(10, 64, 1, 0);
/// dhclient's addresses.
pub const FIRST_NO61: Ipv4Addr = Ipv4Addr::new(10, 63, 0, 0);
/// The interface the product's program is loaded for.
pub const INTERFACE: Interface = Interface { number: 0, mac: SERVER_MAC };
/// Index of udhcpc's template in [`World::templates`].
pub const UDHCPC: u32 = 0;
/// Index of dhclient's template.
pub const DHCLIENT: u32 = 1;

const GENERATION: u32 = 1;
const ANSWERS_MAX: u32 = 16;

/// A pin directory of this process's own, gone with it.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
}

impl Pins {
    /// Names it; [`KernelPath`] makes it.
    pub fn new() -> Self {
        Self { path: PathBuf::from(format!("/sys/fs/bpf/bench-{}", std::process::id())) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Default for Pins {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = pins::unload(&self.path) {
            eprintln!("{} stays: {error}", self.path.display());
        }
    }
}

/// What is measured.
pub struct World {
    /// The product's maps and programs.
    pub path: KernelPath,
    /// The two requests, by their index.
    pub requests: [Request; 2],
    /// Leases published per second.
    pub published_per_s: f64,
}

impl World {
    /// Loads the product's object for the interface `name` with number `ifindex`, and publishes `leases` leases (at least
    /// [`MANY`], at most [`MOST`]).
    ///
    /// # Errors
    ///
    /// Without root or bpffs, or when the rendered answers are not what they should be.
    pub fn new(pins: &Pins, name: &str, ifindex: u32, leases: u32) -> Result<Self> {
        let layout = layout(name, leases)?;
        let mut control = Control { generation: GENERATION, ..Control::default() };
        // The same key every time: a benchmark has no secrets, and repeats.
        let mut rng = SmallRng::seed_from_u64(2131);
        control.key.iter_mut().flatten().for_each(|word| *word = rng.next_u64());
        let directory = PinDirectory::open(pins.path())?;
        let port = Port {
            name: name.to_owned(),
            ifindex,
            interface: INTERFACE,
            mode: config::model::AttachMode::Driver,
        };
        let settings = Settings {
            answers_max: ANSWERS_MAX,
            limits: Limits::OFF,
            kernel_log: config::model::KernelLog::Off,
        };
        let path = KernelPath::load(directory, vec![port], layout, &control, &settings)?;
        path.set_authority_until_boot_ns(u64::MAX);
        let requests = [Request::udhcpc()?, Request::dhclient()?];
        let mut this = Self { path, requests, published_per_s: 0.0 };
        let mut table = AnswerTable::new(ANSWERS_MAX);
        let begun = Instant::now();
        this.publish(&control, &mut table, UDHCPC, FIRST, leases)?;
        this.published_per_s = f64::from(leases) / begun.elapsed().as_secs_f64();
        this.publish(&control, &mut table, DHCLIENT, FIRST_NO61, FEW)?;
        ensure!(table.len() == 2, "the leases share {} answers, not 2", table.len());
        Ok(this)
    }

    fn publish(
        &mut self,
        control: &Control,
        table: &mut AnswerTable,
        template: u32,
        first: Ipv4Addr,
        count: u32,
    ) -> Result<()> {
        let request = self.requests.get(template as usize).context("no such template")?;
        for number in 0..count {
            let address = Ipv4Addr::from(u32::from(first) + number);
            let (frame, reply) = (request.of(number, address), request.reply(number, address));
            let exchange = Exchange {
                request: &frame,
                reply: &reply,
                interface: &INTERFACE,
                lease_secs: LEASE_SECS,
                generation: GENERATION,
                broadcast: true,
            };
            let rendering = Rendering::new(&exchange).with_context(|| format!("for {address}"))?;
            let interned = table.intern(&rendering.answer).context("too many answers")?;
            if let Interned::New(index) = interned {
                self.path.put_answer(index, &rendering.answer)?;
            }
            let print = rendering
                .fingerprint(&exchange, control, interned.index())
                .with_context(|| format!("for {address}"))?;
            let published = self.path.publish(&LeaseEntry {
                horizon_boot_ns: u64::MAX,
                fingerprints: [print.get(), 0],
                answers: [interned.index(), 0],
                address: address.octets(),
                generation: GENERATION,
                chaddr: abi::mac(number),
                echo_sums: [rendering.echo_sum, 0],
                ..LeaseEntry::default()
            });
            ensure!(published, "{address} has no place in the lease map");
        }
        Ok(())
    }
}

/// The first `count` of udhcpc's leases, one after the other.
pub const fn in_order(count: u32) -> Sequence {
    Sequence {
        position: 0,
        count,
        random: 0,
        first_address: u32::from_be_bytes(FIRST.octets()),
        template: UDHCPC,
    }
}

/// The first `count` of udhcpc's leases at random; `seed` (not 0) says how.
pub const fn at_random(count: u32, seed: u64) -> Sequence {
    Sequence { position: seed, random: 1, ..in_order(count) }
}

/// dhclient's leases, one after the other.
pub const fn in_order_no61() -> Sequence {
    Sequence { first_address: u32::from_be_bytes(FIRST_NO61.octets()), template: DHCLIENT, ..in_order(FEW) }
}

fn layout(interface: &str, leases: u32) -> Result<Layout> {
    let last = |first: Ipv4Addr, count: u32| Ipv4Addr::from(u32::from(first) + count - 1);
    let text = serde_json::json!({
        "dhcp": {
            "interfaces": [interface],
            "subnets": [{
                "subnet": "10.0.0.0/8",
                "interface": interface,
                "pools": [
                    {"range": format!("{FIRST}-{}", last(FIRST, leases))},
                    {"range": format!("{FIRST_NO61}-{}", last(FIRST_NO61, FEW))},
                ],
            }],
        }
    })
    .to_string();
    Ok(Layout::new(&config::parse(&text, "the benchmark's configuration")?))
}
