//! What the kernel is to be taught of a client's renewals: for each form the renewal may come in, how to know it again
//! and what to answer.

use std::{collections::HashMap, net::Ipv4Addr};

use dhcp_common::{
    abi::{Control, Form},
    request::Interface,
    wire::{BROADCAST, PORT_CLIENT, PORT_SERVER},
};

use super::work::Work;
use crate::{
    config::model::Link,
    engine::{Engine, Ingress, Request},
    fastpath::{
        answers::{AnswerTable, Interned},
        predict::{self, Prediction},
        render::{Exchange, Rendering, Unpublishable},
        stored::encode_answer,
    },
    lease::record::{KnownForm, LeaseRecord},
    net::frame::{Envelope, Tags},
    site::replication::{Asked, Template, Way},
};

/// The learner's state: key, generation and answers.
#[derive(Clone, Debug)]
pub struct Learner {
    /// Key and generation; the deadline in it is not used.
    pub control: Control,
    /// The answers.
    pub answers: AnswerTable,
    /// The interfaces, in the order of the configuration.
    pub interfaces: Vec<Interface>,
    /// How many renewals could not be taught to the kernel.
    pub unpublishable: u64,
    /// By which interface and with which tags relay agents' messages came in.
    pub relays: HashMap<Ipv4Addr, Link>,
}

/// Relay agents whose ways are remembered, at most.
const RELAYS_MAX: usize = 4_096;

/// A REQUEST that was granted.
#[derive(Clone, Copy, Debug)]
pub struct Granted<'a> {
    /// Where it came in.
    pub ingress: &'a Ingress,
    /// The message.
    pub payload: &'a [u8],
    /// The lease it was granted.
    pub lease: &'a LeaseRecord,
    /// The address we answered from.
    pub server: Ipv4Addr,
}

impl Learner {
    /// The forms in which the kernel can know the client's renewals, in the place of those of `granted.lease`. New
    /// answers are added to `work`.
    pub fn learn(
        &mut self,
        engine: &Engine,
        granted: &Granted<'_>,
        work: &mut Work,
    ) -> [Option<KnownForm>; 2] {
        let mut forms = granted.lease.forms;
        for prediction in predict::renewals(granted.payload, granted.lease.address) {
            let taught = self.teach(engine, granted, &prediction, work);
            if engine.authority().is_some() {
                let way = Way {
                    form: prediction.form,
                    interface: granted.ingress.interface,
                    vlans: granted.ingress.vlans,
                };
                let template = taught.as_ref().ok();
                let template = template.and_then(|_| Template::of(&prediction.payload, way, granted.lease));
                work.asked.push((granted.lease.address, prediction.form, template));
            }
            let slot = match prediction.form {
                Form::Direct => &mut forms[0],
                Form::Relayed => &mut forms[1],
            };
            *slot = match taught {
                Ok(form) => Some(form),
                Err(Untaught::NotRenewable) => None,
                Err(Untaught::Unpublishable(reason)) => {
                    self.unpublishable += 1;
                    tracing::debug!(address = %granted.lease.address, %reason, "renewals stay with the daemon");
                    None
                }
            };
        }
        forms
    }

    /// As [`learn`](Self::learn), of a client that another node granted its lease: how it will ask is what that node told.
    /// What cannot be taught leaves the form as it is.
    pub fn learn_told(
        &mut self,
        engine: &Engine,
        lease: &LeaseRecord,
        asked: &Asked,
        work: &mut Work,
    ) -> [Option<KnownForm>; 2] {
        let mut forms = lease.forms;
        let relay = asked.iter().flatten().find_map(|template| template.relay());
        for (slot, template) in forms.iter_mut().zip(asked) {
            let Some(template) = template else { continue };
            let (Some(way), Some(payload)) = (template.way(), template.request(lease)) else { continue };
            let Some(server) = self.expected(engine, lease, &way, relay) else { continue };
            let granted =
                Granted { ingress: &server.ingress, payload: &payload, lease, server: server.address };
            let prediction = Prediction { form: way.form, payload: payload.clone() };
            match self.teach(engine, &granted, &prediction, work) {
                Ok(form) => *slot = Some(form),
                Err(Untaught::NotRenewable) => {}
                Err(Untaught::Unpublishable(reason)) => {
                    self.unpublishable += 1;
                    tracing::debug!(address = %lease.address, %reason, "renewals stay with the daemon");
                }
            }
        }
        forms
    }

    /// Notes by which way a relay agent's messages come in here.
    pub fn note_relay(&mut self, giaddr: Ipv4Addr, link: Link) {
        if self.relays.len() < RELAYS_MAX || self.relays.contains_key(&giaddr) {
            self.relays.insert(giaddr, link);
        }
    }

    /// Where a request that came in elsewhere will come in here: on the link of its subnet, if it is one of ours; else as
    /// other messages of its relay agent did; else by the interface of the same place in the configuration, or the only
    /// one. A guess that is wrong costs nothing.
    fn expected(
        &self,
        engine: &Engine,
        lease: &LeaseRecord,
        way: &Way,
        relay: Option<Ipv4Addr>,
    ) -> Option<Expected> {
        let link = engine.link_of(lease.address).filter(|_| way.form == Form::Direct && relay.is_none());
        let seen = || self.relays.get(&relay?).copied();
        let interface = Some(way.interface).filter(|index| *index < self.interfaces.len()).unwrap_or(0);
        let Link { interface, vlans } = link.or_else(seen).unwrap_or(Link { interface, vlans: way.vlans });
        let address = engine.server_on(interface)?;
        let source_mac = lease.hardware.as_ethernet()?;
        // Both addresses are put in by form; the port is the client's or the relay agent's.
        let (source_ip, source_port) = (lease.address, PORT_CLIENT);
        let ingress =
            Ingress { interface, vlans, source_mac, source_ip, destination_ip: address, source_port };
        Some(Expected { ingress, address })
    }

    fn teach(
        &mut self,
        engine: &Engine,
        granted: &Granted<'_>,
        prediction: &Prediction,
        work: &mut Work,
    ) -> Result<KnownForm, Untaught> {
        let lease = granted.lease;
        let interface = *self.interfaces.get(granted.ingress.interface).ok_or(Untaught::NotRenewable)?;
        let request = Request::parse(&prediction.payload).map_err(|_| Untaught::NotRenewable)?;
        let ingress = ingress_of(granted, prediction.form, &request);
        if request.relay().source_port || !engine.renewals_are_certain(&request, lease) {
            return Err(Untaught::NotRenewable);
        }
        let reply = engine.renewal_reply(&ingress, &request, lease).ok_or(Untaught::NotRenewable)?;
        let lease_secs = engine.renewal_secs(&request, lease).ok_or(Untaught::NotRenewable)?;
        // A mark in the kernel is taken for a grant of the length of the last one.
        if u64::from(lease_secs) != lease.expires.since(lease.granted_at).as_secs() {
            return Err(Untaught::NotRenewable);
        }
        let to_all = Ingress { destination_ip: BROADCAST.into(), ..ingress };
        let broadcast = engine.renews_alike(&ingress, &to_all, &request, lease)
            && engine.renewal_source(&to_all, &request) == Some(granted.server);

        let (request_frame, reply_frame) =
            frames(granted, prediction, &ingress, &interface, &reply).ok_or(Untaught::NotRenewable)?;
        let exchange = Exchange {
            request: &request_frame,
            reply: &reply_frame,
            interface: &interface,
            lease_secs,
            generation: self.control.generation,
            broadcast,
        };
        let rendering = Rendering::new(&exchange)?;
        let interned = self.answers.intern(&rendering.answer).ok_or(Unpublishable::TableFull)?;
        let fingerprint = rendering.fingerprint(&exchange, &self.control, interned.index())?;
        if let Interned::New(index) = interned {
            work.add_answer(index, encode_answer(&rendering.answer));
        }
        Ok(KnownForm { fingerprint, answer: interned.index(), echo_sum: rendering.echo_sum })
    }
}

/// Where a request is expected, and by which of our addresses.
struct Expected {
    ingress: Ingress,
    address: Ipv4Addr,
}

/// Why a form is not taught.
enum Untaught {
    /// The daemon would not grant it, or not always the same.
    NotRenewable,
    /// The kernel cannot answer it.
    Unpublishable(Unpublishable),
}

impl From<Unpublishable> for Untaught {
    fn from(reason: Unpublishable) -> Self {
        Self::Unpublishable(reason)
    }
}

/// Where the renewal will come in: by unicast to us, on the link its lease was granted on.
fn ingress_of(granted: &Granted<'_>, form: Form, request: &Request<'_>) -> Ingress {
    let (source_ip, source_port) = match form {
        Form::Direct => (granted.lease.address, PORT_CLIENT),
        Form::Relayed => (request.giaddr, PORT_SERVER),
    };
    Ingress { source_ip, source_port, destination_ip: granted.server, ..*granted.ingress }
}

/// The renewal and the reply as frames.
fn frames(
    granted: &Granted<'_>,
    prediction: &Prediction,
    ingress: &Ingress,
    interface: &Interface,
    reply: &[u8],
) -> Option<(Vec<u8>, Vec<u8>)> {
    let request = Envelope {
        source_mac: granted.ingress.source_mac,
        destination_mac: interface.mac,
        tags: Tags::new(granted.ingress.vlans),
        source: ingress.source_ip,
        destination: ingress.destination_ip,
        source_port: ingress.source_port,
        destination_port: PORT_SERVER,
    };
    let answer = Envelope {
        source_mac: interface.mac,
        destination_mac: granted.ingress.source_mac,
        source: ingress.destination_ip,
        destination: ingress.source_ip,
        source_port: PORT_SERVER,
        destination_port: ingress.source_port,
        ..request
    };
    Some((request.wrap(&prediction.payload).ok()?, answer.wrap(reply).ok()?))
}
