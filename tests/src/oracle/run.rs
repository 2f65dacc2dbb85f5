//! Many frames in a row: renewals as clients send them, changed and damaged ones and other traffic, each judged; now and
//! then one is let through, so that the daemon's state moves on and the kernel's with it.

use std::{collections::BTreeMap, env, net::Ipv4Addr};

use anyhow::{Context as _, Result, bail, ensure};
use dhcp_common::reason::Reason;
use dhcp_user::{
    lease::record::{KnownForm, LeaseState},
    time::Span,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{
    client::{Client, Joined, Place, Way},
    judge::{Verdict, hex, shrink},
    mutate::{self, Names},
    world::World,
};
use crate::parse::Message;

/// Overrides the seed, to repeat a run or to look elsewhere.
const SEED_VARIABLE: &str = "ORACLE_SEED";
/// Multiplies the number of frames, for a long look.
const TIMES_VARIABLE: &str = "ORACLE_TIMES";
/// One frame in so many is let through to the daemon.
const ADOPT_ONE_IN: u32 = 250;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// The configuration.
    pub json: &'a str,
    /// Where clients are.
    pub places: Vec<Place>,
    /// How many there are.
    pub clients: u16,
    /// How many frames to judge.
    pub frames: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Frames judged.
    pub frames: u64,
    /// By the kernel's reason.
    pub reasons: BTreeMap<Reason, u64>,
    /// Unchanged renewals the kernel answered, by way.
    pub exact: [u64; 5],
    /// Frames let through to the daemon.
    pub adopted: u64,
}

impl Tally {
    /// How many frames ended for a reason.
    pub fn count(&self, reason: Reason) -> u64 {
        self.reasons.get(&reason).copied().unwrap_or(0)
    }

    /// The share of frames that the kernel answered, percent.
    pub fn answered_percent(&self) -> u64 {
        self.count(Reason::Answered) * 100 / self.frames.max(1)
    }
}

struct Run {
    world: World,
    clients: Vec<Member>,
    names: Names,
    rng: StdRng,
    seed: u64,
    tally: Tally,
}

struct Member {
    client: Client,
    /// What the kernel knew of it when its own renewals were last learned.
    learned: [Option<KnownForm>; 2],
    /// How often it was tried to have them learned.
    tries: u32,
}

/// The seed of a run: fixed, so that a run tells of the change under test and not of luck, unless [`SEED_VARIABLE`] says
/// another.
pub fn seed() -> u64 {
    env::var(SEED_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(0x0dac_1e00)
}

fn times() -> u64 {
    env::var(TIMES_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Runs a plan.
///
/// # Errors
///
/// The first divergence, shrunk, with what it takes to repeat it; or what the kernel refused.
pub fn run(plan: &Plan<'_>) -> Result<Tally> {
    let seed = seed();
    let mut run = Run::new(plan, seed)?;
    run.judge_all(plan.frames * times()).with_context(|| format!("with {SEED_VARIABLE}={seed}"))?;
    println!("seed {seed}: {:#?}", run.tally);
    Ok(run.tally)
}

impl Run {
    fn new(plan: &Plan<'_>, seed: u64) -> Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(plan.json, seed)?;
        let mut clients = Vec::new();
        for number in 0..plan.clients {
            let place = plan.places.choose(&mut rng).context("a plan without a place")?;
            let server = match &place.relay {
                Some(relay) => relay.server,
                None => *world.servers.get(place.interface).context("a place without an interface")?,
            };
            let mut client = Client::random(number, place, server, &mut rng);
            let joined = client.join(&mut world)?;
            if joined != Joined::Not {
                let mut member = Member { client, learned: [None; 2], tries: 0 };
                member.joined(joined, &world);
                clients.push(member);
            }
        }
        if clients.len() * 2 < usize::from(plan.clients) {
            bail!("only {} of {} clients have an address", clients.len(), plan.clients);
        }
        let names = Names {
            addresses: addresses(&world, &clients, plan),
            macs: clients.iter().map(|member| member.client.mac).collect(),
        };
        Ok(Self { world, clients, names, rng, seed, tally: Tally::default() })
    }

    fn judge_all(&mut self, frames: u64) -> Result<()> {
        for _ in 0..frames {
            let member = self.rng.random_range(0..self.clients.len());
            let way = self.way(member);
            let client = &self.member(member).client;
            let (mut draft, mut interface) = (client.renewal(way), client.place.interface);
            let exact = draft.build();
            let kind = self.rng.random_range(0..100);
            let untouched = kind < 45;
            mutate::harmless(&mut draft, &mut self.rng);
            if (45..70).contains(&kind) {
                for _ in 0..self.rng.random_range(1..=2) {
                    mutate::meaning(&mut draft, &self.names, &mut self.rng);
                }
            }
            let mut frame = draft.build();
            if (60..95).contains(&kind) {
                for _ in 0..self.rng.random_range(1..=2) {
                    mutate::damage(&mut frame, &mut self.rng);
                }
            }
            if kind >= 95 {
                frame = mutate::unrelated(&self.names, &mut self.rng);
            }
            if !untouched && self.rng.random_bool(0.05) {
                interface = self.rng.random_range(0..self.world.servers.len());
            }
            let verdict = self.judge(interface, &exact, &frame)?;
            if untouched {
                self.expect(member, way, &frame, &verdict)?;
            } else if self.rng.random_ratio(1, ADOPT_ONE_IN) {
                self.adopt(interface, &frame, &verdict)?;
            }
        }
        Ok(())
    }

    fn judge(&mut self, interface: usize, exact: &[u8], frame: &[u8]) -> Result<Verdict> {
        let verdict = match self.world.judge(interface, frame)? {
            Ok(verdict) => verdict,
            Err(divergence) => {
                let world = &mut self.world;
                let small = shrink(exact, frame, |frame| matches!(world.judge(interface, frame), Ok(Err(_))));
                let small = world.judge(interface, &small)?.err().unwrap_or(divergence);
                bail!(
                    "frame {} of seed {}: {small}\nunchanged  {}",
                    self.tally.frames,
                    self.seed,
                    hex(exact)
                );
            }
        };
        self.tally.frames += 1;
        *self.tally.reasons.entry(verdict.reason).or_default() += 1;
        Ok(verdict)
    }

    /// A client's own renewal is answered if the kernel has been taught it; else the daemon gets it, and teaches it.
    fn expect(&mut self, index: usize, way: Way, frame: &[u8], verdict: &Verdict) -> Result<()> {
        if verdict.reason == Reason::Answered {
            self.tally.exact[way as usize] += 1;
            if self.rng.random_ratio(1, ADOPT_ONE_IN) {
                self.keep_promise(&verdict.frame)?;
            }
            return Ok(());
        }
        let member = self.member(index);
        let (client, form) = (&member.client, usize::from(way.is_relayed()));
        let to_us = matches!(way, Way::Unicast | Way::Relayed);
        if to_us && member.learned[form].is_some() && member.forms(&self.world)[form] == member.learned[form]
        {
            bail!(
                "{} of seed {}: {} is not answered: {}\nframe {}\nclient {client:?}",
                self.tally.frames,
                self.seed,
                client.address,
                verdict.reason.as_str(),
                hex(frame)
            );
        }
        if to_us && member.tries < 3 {
            let interface = client.place.interface;
            self.world.deliver(interface, frame)?;
            let member = &mut self.clients[index];
            member.tries += 1;
            let forms = member.forms(&self.world);
            member.learned[0] = forms[0];
            if way.is_relayed() {
                member.learned[1] = forms[1];
            }
        }
        Ok(())
    }

    /// The daemon, told by the kernel's mark of a renewal, takes the lease to last as long at least as the answer said.
    fn keep_promise(&mut self, answer: &[u8]) -> Result<()> {
        let ack = Message::parse(answer)?;
        let secs = ack.option_u32(51).context("an answer without a lease time")?;
        let mark = self.world.kernel.renewed_boot_ns(ack.yiaddr).context("a renewal without a mark")?;
        self.world.sweep()?;
        let promised = self.world.clock.timeline().timestamp(mark) + Span::from_secs(secs.into());
        let lease = self.world.core.engine.leases().get(ack.yiaddr).context("a renewal without a lease")?;
        ensure!(
            lease.expires >= promised && lease.horizon >= promised,
            "frame {} of seed {}: promised {secs} s, until {promised:?}; the daemon has {lease:?}",
            self.tally.frames,
            self.seed
        );
        Ok(())
    }

    /// Lets a frame through. Clients that lost their address by it come back.
    fn adopt(&mut self, interface: usize, frame: &[u8], verdict: &Verdict) -> Result<()> {
        self.tally.adopted += 1;
        if verdict.reason == Reason::Answered {
            // Its sender has its answer from the kernel already; the daemon hears of it.
            return self.keep_promise(&verdict.frame);
        }
        self.world.deliver(interface, frame)?;
        for index in 0..self.clients.len() {
            let member = self.member(index);
            let leases = self.world.core.engine.leases();
            let has_lost_it = leases.get(member.client.address).is_none_or(|lease| {
                lease.state != LeaseState::Bound
                    || lease.hardware.as_ethernet() != Some(member.client.mac)
                    || leases.leaving(lease.address).is_some()
            });
            if has_lost_it || member.forms(&self.world) != member.learned && self.rng.random_bool(0.5) {
                let member = &mut self.clients[index];
                // May come to nothing where its place was taken: then it goes on with what it believes to have.
                let joined = member.client.join(&mut self.world).unwrap_or(Joined::Not);
                member.joined(joined, &self.world);
            }
        }
        Ok(())
    }

    fn way(&mut self, index: usize) -> Way {
        let relayed = self.member(index).client.place.relay.is_some();
        let ways: &[Way] = if relayed {
            &[Way::Unicast, Way::Unicast, Way::Relayed, Way::Relayed, Way::RelayedBroadcast]
        } else {
            &[Way::Unicast, Way::Unicast, Way::Broadcast, Way::BroadcastUnspecified]
        };
        *ways.choose(&mut self.rng).unwrap_or(&Way::Unicast)
    }

    fn member(&self, index: usize) -> &Member {
        &self.clients[index]
    }
}

impl Member {
    /// What the kernel knows of its renewals.
    fn forms(&self, world: &World) -> [Option<KnownForm>; 2] {
        world.core.engine.leases().get(self.client.address).map_or([None; 2], |lease| lease.forms)
    }

    /// Remembers what was predicted of its renewals: nothing if it was not, or if they keep options 50 and 54.
    fn joined(&mut self, joined: Joined, world: &World) {
        let predicted = joined == Joined::InFull && !self.client.old_school;
        self.learned = if predicted { self.forms(world) } else { [None; 2] };
        self.tries = 0;
    }
}

/// Addresses that may mean something somewhere.
fn addresses(world: &World, clients: &[Member], plan: &Plan<'_>) -> Vec<Ipv4Addr> {
    let relays = plan.places.iter().filter_map(|place| place.relay.as_ref()).map(|relay| relay.giaddr);
    let mut all: Vec<_> = clients.iter().take(24).map(|member| member.client.address).collect();
    for _ in 0..4 {
        all.extend(&world.servers);
    }
    all.extend(relays);
    all.extend(world.core.engine.config().subnets.iter().flat_map(|subnet| {
        [
            subnet.prefix.broadcast(),
            subnet.prefix.network(),
            subnet.prefix.hosts().nth(200).unwrap_or(Ipv4Addr::BROADCAST),
        ]
    }));
    all.extend([
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::BROADCAST,
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::new(224, 0, 0, 1),
    ]);
    all
}
