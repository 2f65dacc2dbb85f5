//! A daemon's mind without sockets, store and kernel: engine and learner of a configuration, knowing nobody yet.

use std::{net::Ipv4Addr, sync::Arc};

use dhcp_common::{abi::Control, request::Interface};
use dhcp_user::{
    config::Config,
    engine::Engine,
    fastpath::answers::AnswerTable,
    lease::table::LeaseTable,
    server::{core::Core, learn::Learner, work::Work},
    timeline::Timeline,
};
use rand::RngCore;

use super::host::HostMaps;

/// A control block with a random key.
pub fn control(rng: &mut impl RngCore, generation: u32) -> Control {
    let mut control = Control { generation, ..Control::default() };
    control.key.iter_mut().flatten().for_each(|word| *word = rng.next_u64());
    control
}

/// A learner.
pub fn learner(control: Control, answers_max: u32, interfaces: Vec<Interface>) -> Learner {
    Learner {
        control,
        answers: AnswerTable::new(answers_max),
        interfaces,
        unpublishable: 0,
        relays: Default::default(),
    }
}

/// Both: `servers` are our addresses, `seed` makes the allocation.
pub fn core(config: Arc<Config>, servers: Vec<Ipv4Addr>, learner: Learner, seed: u64) -> Core {
    Core::new(Engine::new(config, servers.clone(), LeaseTable::default()), learner, servers, seed)
}

/// Tells the maps on the host what the daemon asks, as if it were durable.
pub fn publish(core: &Core, timeline: &Timeline, work: &Work, host: &mut HostMaps) {
    for &index in &work.answers {
        if let Some(answer) = core.learner.answers.get(index) {
            host.put_answer(index, answer);
        }
    }
    for &address in &work.publish {
        match core.entry(address, timeline) {
            Some(entry) => host.publish(&entry),
            None => host.withdraw(address),
        }
    }
    work.withdraw.iter().for_each(|&address| host.withdraw(address));
}
