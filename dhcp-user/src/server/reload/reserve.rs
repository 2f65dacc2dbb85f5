//! Reservations by the API: judged together with the configuration in force, put in force by the service in one step, all
//! or nothing. One at a time, and never while another configuration is taken up.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use tokio::sync::oneshot;

use super::{Reloader, decide::Standing, version};
use crate::{
    config::{
        self, Config,
        made::{MADE_MAX, Made},
        model::Reservation,
    },
    engine::ReservationChange,
    lease::store::{Batch, MetaKey, StoredReservation},
    server::{
        reserve::{Order, Reserve, ReserveError},
        service::Event,
        takeover::digest_of,
    },
};

/// What is wanted.
#[derive(Clone, Debug)]
pub enum Edit {
    /// A reservation of an address that has none.
    Make(Made),
    /// Another one in the place of the address's.
    Change(Made),
    /// None any more.
    Remove(Ipv4Addr),
}

/// What is wanted, and on which conditions.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What is wanted.
    pub edit: Edit,
    /// Only if the reservation has one of these [`version`]s; any without.
    pub expected: Option<Vec<String>>,
    /// Even if another client holds the address.
    pub even_if_held: bool,
}

/// Why the reservations stay as they were.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is none of this address that the API made.
    #[error("there is no reservation of {0}")]
    Unknown(Ipv4Addr),
    /// There is one already.
    #[error("there is a reservation of {0} already: change that one, or remove it first")]
    Exists(Ipv4Addr),
    /// It is in the file.
    #[error("{0} is reserved in the configuration file: change it there, and reload")]
    InFile(Ipv4Addr),
    /// It is not what the caller looked at.
    #[error("the reservation of {0} has changed since it was looked at: look again")]
    Changed(Ipv4Addr),
    /// It does not fit the configuration.
    #[error("{0}")]
    DoesNotFit(String),
    /// It is in another's way.
    #[error("{0}")]
    Conflict(String),
    /// There are too many.
    #[error(
        "there are {MADE_MAX} reservations beside the configuration file already: put some into the file"
    )]
    TooMany,
    /// With sites, other nodes would not know of it.
    #[error(
        "this node is one of several, and the others would not know of the reservation: put it into the configuration \
         file of every node"
    )]
    OneOfSeveral,
    /// The service would not.
    #[error(transparent)]
    Refused(#[from] ReserveError),
    /// The service is gone.
    #[error("the service is stopping, and changes no reservation")]
    Stopping,
}

impl Reloader {
    /// Makes, changes or removes a reservation; the configuration in force with it.
    ///
    /// # Errors
    /// What is in the way; then nothing has changed.
    pub async fn reserve(self: &Arc<Self>, wish: Wish) -> Result<Arc<Config>, Refusal> {
        let this = Arc::clone(self);
        // To its end beside whoever asked, who may go.
        let done = tokio::spawn(async move {
            let _one = this.one.lock().await;
            let worker = Arc::clone(&this);
            tokio::task::spawn_blocking(move || worker.reserve_now(&wish)).await
        });
        done.await.ok().and_then(Result::ok).ok_or(Refusal::Stopping)?
    }

    fn reserve_now(&self, wish: &Wish) -> Result<Arc<Config>, Refusal> {
        let standing = self.in_force.standing();
        let (config, batch) = planned(&standing, wish)?;
        let batch =
            Batch { meta: vec![(MetaKey::ConfigDigest, digest_of(&config, &standing.servers))], ..batch };
        let config = Arc::new(config);
        let reserve = Reserve {
            config: Arc::clone(&config),
            changes: changes(&standing.config, &config),
            batch,
            even_if_held: wish.even_if_held,
        };
        let (to, answer) = oneshot::channel();
        self.events.send(Event::Reserve(Box::new(Order { reserve, to }))).map_err(|_| Refusal::Stopping)?;
        answer.blocking_recv().map_err(|_| Refusal::Stopping)??;
        self.in_force.set(Standing { config: Arc::clone(&config), ..(*standing).clone() });
        Ok(config)
    }
}

/// The configuration as it is to be, and what is to be kept of the change.
fn planned(standing: &Standing, wish: &Wish) -> Result<(Config, Batch), Refusal> {
    if standing.config.multi_site.as_ref().is_some_and(|section| section.enabled) {
        return Err(Refusal::OneOfSeveral);
    }
    let address = match &wish.edit {
        Edit::Make(made) | Edit::Change(made) => made.address(),
        Edit::Remove(address) => *address,
    };
    let mut all: BTreeMap<_, _> =
        standing.config.made().into_iter().map(|made| (made.address(), made)).collect();
    let in_file = standing.config.reservation(address).is_some_and(|known| known.made.is_none());
    let known = all.get(&address);
    match (&wish.edit, known) {
        (Edit::Make(_), Some(_)) => return Err(Refusal::Exists(address)),
        (Edit::Make(_), None) if in_file => return Err(Refusal::InFile(address)),
        (Edit::Make(_), None) if all.len() >= MADE_MAX => return Err(Refusal::TooMany),
        (Edit::Make(_), None) => {}
        (Edit::Change(_) | Edit::Remove(_), None) if in_file => return Err(Refusal::InFile(address)),
        (Edit::Change(_) | Edit::Remove(_), None) => return Err(Refusal::Unknown(address)),
        (Edit::Change(_) | Edit::Remove(_), Some(_)) => {}
    }
    let is = known.map(|made| version(made.text()));
    if wish.expected.as_ref().is_some_and(|expected| is.is_none_or(|is| !expected.contains(&is))) {
        return Err(Refusal::Changed(address));
    }
    let mut batch = Batch::default();
    match &wish.edit {
        Edit::Make(made) | Edit::Change(made) => {
            batch.reservations.push(StoredReservation { address, bytes: made.text().as_bytes().to_vec() });
            all.insert(address, made.clone());
        }
        Edit::Remove(_) => {
            batch.dropped_reservations.push(address);
            all.remove(&address);
        }
    }
    let mut ours = standing.facts.iter().flat_map(|facts| &facts.addresses).chain(&standing.servers);
    if ours.any(|ours| *ours == address) {
        let why = format!("{address} is this server's own address; reserve another");
        return Err(Refusal::DoesNotFit(why));
    }
    let all: Vec<_> = all.into_values().collect();
    let judged = config::parse_with(&standing.text, "the configuration", &all);
    let config = judged.map_err(|error| Refusal::DoesNotFit(error.to_string()))?;
    for left in &config.left_out {
        let was_out = standing.config.left_out.iter().any(|before| before.made == left.made);
        if left.made.address() == address || !was_out {
            let other = left.made.address();
            let why = match other == address {
                true => left.why.clone(),
                false => format!(
                    "{other} is reserved for the same client already: change that, or remove it first"
                ),
            };
            return Err(if left.conflict { Refusal::Conflict(why) } else { Refusal::DoesNotFit(why) });
        }
    }
    Ok((config, batch))
}

/// The addresses whose reservations differ in any way.
fn changes(before: &Config, after: &Config) -> Vec<ReservationChange> {
    let of = |config: &'_ Config| -> BTreeMap<Ipv4Addr, _> {
        let all = config.subnets.iter().flat_map(|subnet| &subnet.reservations);
        all.map(|reservation| (reservation.address, reservation.clone())).collect()
    };
    let (before, mut after) = (of(before), of(after));
    let identity = |found: Option<Reservation>| found.map(|reservation| reservation.identity);
    let mut changes = Vec::new();
    for (address, was) in before {
        let is = after.remove(&address);
        if is.as_ref() != Some(&was) {
            changes.push(ReservationChange { address, before: Some(was.identity), after: identity(is) });
        }
    }
    let new = after.into_iter();
    changes.extend(new.map(|(address, is)| ReservationChange {
        address,
        before: None,
        after: Some(is.identity),
    }));
    changes
}
