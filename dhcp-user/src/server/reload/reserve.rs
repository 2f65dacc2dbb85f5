//! Reservations by the API: judged together with the configuration in force, put in force by the service in one step, all
//! or nothing. One at a time, and never while another configuration is taken up.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use ipnet::Ipv4Net;
use tokio::sync::oneshot;

use super::{Reloader, agreed::Taken, decide::Standing, version};
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
    /// The prefixes whoever wants it has rights to: no lease outside may be concerned, and nothing is told of what is
    /// there; empty for everywhere.
    pub within: Vec<Ipv4Net>,
}

impl Wish {
    fn may_tell_of(&self, address: Ipv4Addr) -> bool {
        self.within.is_empty() || self.within.iter().any(|prefix| prefix.contains(&address))
    }
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
        "there are {MADE_MAX} reservations beside the configuration file already, or as long as that many may be: put some \
         into the file"
    )]
    TooMany,
    /// The nodes cannot decide it now.
    #[error("the nodes of the cluster cannot decide it now, and nothing has changed: {0}")]
    NotDecided(String),
    /// It is not known whether they have.
    #[error(
        "it is not known yet whether the nodes of the cluster have decided it ({0}): look at it again when a majority is \
         there (`site sync` names a leader)"
    )]
    Undecided(String),
    /// They have, and this node is late.
    #[error("it is decided and in force at the nodes that have heard of it, but not at this one yet: {0}")]
    NotHereYet(String),
    /// The service would not.
    #[error(transparent)]
    Refused(#[from] ReserveError),
    /// The service is gone.
    #[error("the service is stopping, and changes no reservation")]
    Stopping,
}

impl Edit {
    /// The address, and what is to be reserved there.
    pub(super) const fn said(&self) -> (Ipv4Addr, Option<&Made>) {
        match self {
            Self::Make(made) | Self::Change(made) => (made.address(), Some(made)),
            Self::Remove(address) => (*address, None),
        }
    }
}

/// What is to be put in force.
pub(super) struct Step {
    pub config: Config,
    /// What is to be kept of it.
    pub batch: Batch,
    pub even_if_held: bool,
    /// As of the wish.
    pub within: Vec<Ipv4Net>,
    pub only_judge: bool,
}

impl Reloader {
    /// Makes, changes or removes a reservation; the configuration in force with it.
    ///
    /// # Errors
    /// What is in the way; then nothing has changed.
    pub async fn reserve(self: &Arc<Self>, wish: Wish) -> Result<Arc<Config>, Refusal> {
        if !self.is_one_of_several() {
            return self.one_at_a_time(move |this| this.reserve_alone(&wish)).await;
        }
        let this = Arc::clone(self);
        // To its end beside whoever asked, who may go.
        let done = tokio::spawn(async move { this.reserve_together(wish).await });
        done.await.unwrap_or(Err(Refusal::Stopping))
    }

    fn is_one_of_several(&self) -> bool {
        self.in_force.config().multi_site.as_ref().is_some_and(|section| section.enabled)
    }

    /// Does `work` where it may wait, and nothing else is taken up meanwhile: to its end beside whoever asked, who may go; not
    /// at all if they go before it begins.
    pub(super) async fn one_at_a_time<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let one = Arc::clone(&self.one).lock_owned().await;
        let this = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let _one = one;
            work(&this)
        });
        done.await.unwrap_or(Err(Refusal::Stopping))
    }

    fn reserve_alone(&self, wish: &Wish) -> Result<Arc<Config>, Refusal> {
        let mut step = self.planned(wish)?;
        // Of a cluster this node was part of before, these are none any more.
        let was_agreed = *self.taken.borrow() != Taken::default();
        step.batch.meta.extend(was_agreed.then(|| Taken::default().meta()));
        let config = self.order(step)?;
        self.taken.send_replace(Taken::default());
        Ok(config)
    }

    pub(super) fn planned(&self, wish: &Wish) -> Result<Step, Refusal> {
        let (config, batch) = planned(&self.in_force.standing(), wish)?;
        let Wish { even_if_held, within, .. } = wish;
        let (even_if_held, within) = (*even_if_held, within.clone());
        Ok(Step { config, batch, even_if_held, within, only_judge: false })
    }

    /// Has the service put a configuration in force that differs by its reservations alone, or judge whether it could.
    pub(super) fn order(&self, step: Step) -> Result<Arc<Config>, Refusal> {
        let standing = self.in_force.standing();
        let Step { config, mut batch, even_if_held, within, only_judge } = step;
        batch.meta.push((MetaKey::ConfigDigest, digest_of(&config, &standing.servers)));
        let changes = changes(&standing.config, &config);
        let config = Arc::new(config);
        let reserve = Reserve { config: Arc::clone(&config), changes, batch, even_if_held, within };
        let (to, answer) = oneshot::channel();
        let order = Order { reserve, only_judge, to };
        self.events.send(Event::Reserve(Box::new(order))).map_err(|_| Refusal::Stopping)?;
        answer.blocking_recv().map_err(|_| Refusal::Stopping)??;
        if !only_judge {
            self.in_force.set(Standing { config: Arc::clone(&config), ..(*standing).clone() });
        }
        Ok(config)
    }
}

/// The configuration as it is to be, and what is to be kept of the change.
fn planned(standing: &Standing, wish: &Wish) -> Result<(Config, Batch), Refusal> {
    let (address, _) = wish.edit.said();
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
                true => left.why_for(|other| wish.may_tell_of(other)).to_owned(),
                false if !wish.may_tell_of(other) => {
                    "another reservation is for the same client already".to_owned()
                }
                false => format!(
                    "{other} is reserved for the same client already: change that, or remove it first"
                ),
            };
            let is_conflict = left.in_its_way.is_some();
            return Err(if is_conflict { Refusal::Conflict(why) } else { Refusal::DoesNotFit(why) });
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
