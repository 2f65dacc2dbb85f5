//! The engine under arbitrary sequences of messages, kernel renewals and time, against the promises of the design: no
//! address is two clients' at once, nothing is acknowledged or published beyond a committed horizon, no octets make it
//! panic, and every reply can be read.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

/// What may happen in one step.
#[derive(Clone, Debug)]
enum Step {
    Discover {
        client: u8,
        wish: Option<u8>,
        rapid: bool,
    },
    /// SELECTING what was last offered, or an arbitrary address.
    Select {
        client: u8,
        address: Option<u8>,
        secs: Option<u32>,
    },
    Reboot {
        client: u8,
        address: u8,
    },
    Renew {
        client: u8,
        broadcast: bool,
        secs: Option<u32>,
    },
    Claim {
        client: u8,
        address: u8,
        broadcast: bool,
    },
    Release {
        client: u8,
    },
    Decline {
        client: u8,
    },
    /// The kernel renews what it may; it tells us, or the event is lost.
    Kernel {
        client: u8,
        told: bool,
    },
    /// The withdrawal in progress comes through, with the kernel's last mark or without.
    Withdrawn {
        which: usize,
        known: bool,
    },
    Pass {
        secs: u64,
    },
    /// The process dies and starts again with what was committed.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..6_u8;
    let address = 98..106_u8;
    let secs = prop_oneof![Just(None), (1..20_000_u32).prop_map(Some)];
    prop_oneof![
        3 => (client.clone(), prop::option::of(address.clone()), any::<bool>())
            .prop_map(|(client, wish, rapid)| Step::Discover { client, wish, rapid }),
        4 => (client.clone(), prop::option::weighted(0.3, address.clone()), secs.clone())
            .prop_map(|(client, address, secs)| Step::Select { client, address, secs }),
        1 => (client.clone(), address.clone()).prop_map(|(client, address)| Step::Reboot { client, address }),
        3 => (client.clone(), any::<bool>(), secs)
            .prop_map(|(client, broadcast, secs)| Step::Renew { client, broadcast, secs }),
        1 => (client.clone(), address, any::<bool>())
            .prop_map(|(client, address, broadcast)| Step::Claim { client, address, broadcast }),
        1 => client.clone().prop_map(|client| Step::Release { client }),
        1 => client.clone().prop_map(|client| Step::Decline { client }),
        4 => (client, any::<bool>()).prop_map(|(client, told)| Step::Kernel { client, told }),
        4 => (any::<usize>(), prop::bool::weighted(0.7)).prop_map(|(which, known)| Step::Withdrawn { which, known }),
        4 => prop_oneof![1..60_u64, 300..4_000_u64, Just(9_000)].prop_map(|secs| Step::Pass { secs }),
        1 => Just(Step::Crash),
    ]
}

/// What the kernel holds of one address: whose it is, until when it may be promised, for how long each time, and when
/// it last did.
struct Entry {
    client: u8,
    horizon: Timestamp,
    length: Span,
    mark: Timestamp,
}

struct World {
    lab: Lab,
    /// The store.
    committed: HashMap<Ipv4Addr, LeaseRecord>,
    kernel: HashMap<Ipv4Addr, Entry>,
    withdrawing: Vec<Ipv4Addr>,
    /// What each client was promised and has not given back: until when.
    promises: HashMap<(Ipv4Addr, u8), Timestamp>,
    /// What each client believes to hold, or was offered.
    offered: HashMap<u8, Ipv4Addr>,
    held: HashMap<u8, Ipv4Addr>,
    crashed: bool,
}

impl World {
    fn new() -> Self {
        Self {
            lab: Lab::new(small()),
            committed: HashMap::new(),
            kernel: HashMap::new(),
            withdrawing: Vec::new(),
            promises: HashMap::new(),
            offered: HashMap::new(),
            held: HashMap::new(),
            crashed: false,
        }
    }

    fn promise(&mut self, client: u8, address: Ipv4Addr, until: Timestamp) {
        let now = self.lab.now;
        for ((other_address, other), ends) in &self.promises {
            assert!(
                *other_address != address || *other == client || *ends <= now,
                "{address} promised to {client} while it is {other}'s until {ends}"
            );
        }
        let record = self.committed.get(&address).expect("a promise of what is committed");
        assert!(record.state == LeaseState::Bound && record.client == key(client));
        assert!(until <= record.horizon, "a promise beyond the horizon");
        let known = self.promises.entry((address, client)).or_default();
        *known = until.max(*known);
        // Who takes an address gives up the one it had on that link.
        self.promises.retain(|(promised, other), _| *other != client || *promised == address);
        self.held.insert(client, address);
    }

    /// Carries effects out in the order of the law.
    fn carry_out(&mut self, effects: Effects, client: Option<u8>) {
        for record in effects.commit {
            assert!(record.state != LeaseState::Bound || record.expires <= record.horizon);
            self.committed.insert(record.address, record);
        }
        for address in effects.publish {
            let record = &self.committed[&address];
            assert_eq!(record.state, LeaseState::Bound, "only bound leases are published");
            let ClientKey::Hardware(hardware) = &record.client else { panic!("a client of ours") };
            let (client, horizon) = (hardware.octets()[5], record.horizon);
            // The entry in place keeps its mark; a lease time that changed makes it another entry.
            let length =
                self.lab.engine.leases().get(address).map(|l| l.expires.since(l.granted_at)).unwrap();
            let before = self.kernel.remove(&address).filter(|entry| entry.client == client);
            let mark = before.map_or(Timestamp::ZERO, |entry| entry.mark);
            self.kernel.insert(address, Entry { client, horizon, length, mark });
        }
        self.withdrawing.extend(effects.withdraw);
        if let (Some(reply), Some(client)) = (effects.reply, client) {
            assert!(reply.payload.len() <= 548);
            let reply = read_payload(&reply.payload);
            match reply.kind() {
                2 => drop(self.offered.insert(client, reply.yiaddr)),
                5 => {
                    let until = self.lab.now + Span::from_secs(reply.secs(51).into());
                    self.promise(client, reply.yiaddr, until);
                }
                6 => drop(self.held.remove(&client)),
                other => panic!("a reply of type {other}"),
            }
        }
    }

    fn send(&mut self, client: u8, message: &Msg, secs: Option<u32>) {
        let mut message = message.clone();
        if let Some(secs) = secs {
            message = message.with(51, &secs.to_be_bytes());
        }
        let outcome = self.lab.send(&message);
        self.carry_out(outcome.effects, Some(client));
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Discover { client, wish, rapid } => {
                let mut message = discover(client);
                if let Some(wish) = wish {
                    message = message.with(50, &ip(wish).octets());
                }
                if rapid {
                    message = message.with(80, &[]);
                }
                self.send(client, &message, None);
            }
            Step::Select { client, address, secs } => {
                let address = address.map(ip).or_else(|| self.offered.get(&client).copied());
                if let Some(address) = address {
                    self.send(client, &selecting(client, address), secs);
                }
            }
            Step::Reboot { client, address } => self.send(client, &init_reboot(client, ip(address)), None),
            Step::Renew { client, broadcast, secs } => {
                if let Some(&address) = self.held.get(&client) {
                    let form = if broadcast { rebinding } else { renewing };
                    self.send(client, &form(client, address), secs);
                }
            }
            Step::Claim { client, address, broadcast } => {
                let form = if broadcast { rebinding } else { renewing };
                self.send(client, &form(client, ip(address)), None);
            }
            Step::Release { client } => {
                if let Some(address) = self.held.remove(&client) {
                    self.promises.remove(&(address, client));
                    self.send(client, &message(7, client).ciaddr(address).sent_to(SERVER), None);
                }
            }
            Step::Decline { client } => {
                if let Some(address) = self.held.remove(&client) {
                    self.promises.remove(&(address, client));
                    let message = message(4, client).with(50, &address.octets()).with(54, &SERVER.octets());
                    self.send(client, &message, None);
                }
            }
            Step::Kernel { client, told } => self.kernel_renews(client, told),
            Step::Withdrawn { which, known } => self.withdrawn(which, known),
            Step::Pass { secs } => self.lab.pass(secs),
            Step::Crash => self.crash(),
        }
        let effects = self.lab.engine.tick(self.lab.now);
        self.carry_out(effects, None);
        self.one_address_each();
    }

    fn kernel_renews(&mut self, client: u8, told: bool) {
        let now = self.lab.now;
        let Some(&address) = self.held.get(&client) else { return };
        let Some(entry) = self.kernel.get_mut(&address).filter(|entry| entry.client == client) else {
            return;
        };
        let until = now + entry.length;
        if until > entry.horizon {
            return;
        }
        entry.mark = now;
        self.promise(client, address, until);
        if told {
            let effects = self.lab.engine.renewed_by_kernel(now, address, now);
            self.carry_out(effects, None);
        }
    }

    fn withdrawn(&mut self, which: usize, known: bool) {
        if self.withdrawing.is_empty() {
            return;
        }
        let address = self.withdrawing.swap_remove(which % self.withdrawing.len());
        // No entry, no knowledge: another withdrawal or a process before this one may have taken its mark.
        let mark = self.kernel.remove(&address).map(|entry| entry.mark).filter(|_| known);
        let effects = self.lab.engine.withdrawn(self.lab.now, address, mark);
        self.carry_out(effects, None);
    }

    /// The pinned program goes on; marks not yet told are lost with the process, withdrawals too.
    fn crash(&mut self) {
        let table = LeaseTable::from_records(self.committed.values().cloned());
        self.lab.engine = Engine::new(Arc::new(small()), vec![SERVER, SECOND_SERVER], table);
        self.withdrawing.clear();
        self.crashed = true;
        self.offered.clear();
    }

    /// No client holds two bound leases on the link but for those being withdrawn (after a crash a lease whose withdrawal
    /// was cut off is bound again until its end, beside its client's new one), and what the engine holds is what
    /// was committed or later.
    fn one_address_each(&self) {
        let mut seen = BTreeSet::new();
        for lease in self.lab.engine.leases().iter().filter(|lease| lease.state == LeaseState::Bound) {
            let leaving = self.lab.engine.leases().leaving(lease.address).is_some();
            assert!(leaving || seen.insert(&lease.client) || self.crashed);
            assert!(lease.expires <= lease.horizon);
            assert_eq!(self.committed[&lease.address].horizon, lease.horizon);
        }
    }
}

fn small() -> Config {
    config(vec![subnet("198.18.0.0/24", Some(0), &[(100, 104)])])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn promises_never_overlap(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
    }
}

fn arbitrary_options() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let code = prop_oneof![
        4 => prop::sample::select(vec![12_u8, 50, 51, 52, 53, 54, 55, 57, 61, 80, 82, 108, 118]),
        1 => any::<u8>(),
    ];
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..5),
        prop::collection::vec(any::<u8>(), 0..256),
        Just(SERVER.octets().to_vec()),
        Just(ip(100).octets().to_vec()),
        prop::collection::vec(1..9_u8, 1..2),
    ];
    prop::collection::vec((code, value), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn octets_never_panic(payload in prop::collection::vec(any::<u8>(), 0..700), head in any::<bool>()) {
        let mut lab = Lab::new(three_subnets());
        let mut bytes = payload;
        if head && bytes.len() >= 240 {
            let base = discover(1).bytes();
            bytes[..3].copy_from_slice(&base[..3]);
            bytes[3] %= 20;
            bytes[236..240].copy_from_slice(&base[236..240]);
        }
        let ingress = lab.ingress(&discover(1));
        let _ = lab.engine.handle(lab.now, &mut lab.rng, &ingress, &bytes);
    }

    #[test]
    fn replies_to_odd_options_keep_the_form(
        kind in 1..9_u8,
        options in arbitrary_options(),
        held in any::<bool>(),
        relayed in any::<bool>(),
        flags in any::<u16>(),
    ) {
        let mut lab = Lab::new(three_subnets());
        lab.join(1);
        let mut message = message(kind, 1);
        message.flags = flags;
        message.options.extend(options.into_iter().map(|(code, value)| (code, value.into_iter().take(255).collect())));
        if held {
            message = message.ciaddr(ip(100)).sent_to(SERVER);
        }
        if relayed {
            message = message.relayed(ip(1));
        }
        let bytes = message.bytes();
        let outcome = lab.send(&message);
        if outcome.effects.reply.is_some() {
            let request = Request::parse(&bytes).expect("what is answered can be read");
            let reply = read(&outcome);
            let sent = outcome.effects.reply.as_ref().unwrap();
            prop_assert!(sent.payload.len() <= encode::payload_max(&request));
            prop_assert_eq!(reply.get(61), request.option(61).map(<[u8]>::to_vec));
            if !sent.omitted.relay_information {
                prop_assert_eq!(reply.get(82), request.option(82).map(<[u8]>::to_vec));
            }
            let again = lab.ingress(&message);
            if matches!(outcome.reason, SlowReason::AckedRenewal | SlowReason::AckedRebinding) {
                let lease = lab.engine.leases().get(ip(100)).unwrap();
                let taught = lab.engine.renewal_reply(&again, &request, lease);
                prop_assert_eq!(taught.as_ref(), Some(&sent.payload));
            }
        }
    }
}
