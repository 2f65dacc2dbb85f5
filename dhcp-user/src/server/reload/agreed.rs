//! Reservations where this node is one of several: the cluster's log decides, and every node takes the set up that is agreed.
//!
//! Whoever is asked judges the change by what is in force here, and has it decided under the condition that nothing has
//! changed since: what was overtaken is judged anew. What is decided is taken up as it is, by this node as by the others:
//! what does not fit this node's file is left out and said, and a full disk is waited for. The store says up to where it has
//! the set, so that a start begins with the last one known, and goes on from there and never back.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout, timeout_at};

use super::{
    Reloader,
    reserve::{Refusal, Step, Wish},
    tell_left_out,
};
use crate::{
    config::{
        self, Config,
        made::{MADE_OCTETS_MAX, Made},
    },
    lease::store::{Batch, MetaKey, StoredReservation},
    server::reserve::ReserveError,
    site::{
        consensus::{
            cluster::Outcome,
            propose::Undecided,
            reservations::{AgreedReservations, Edits},
        },
        driver::Sites,
    },
};

/// How long a change may take to be decided: long enough for another leader to be found.
const DECIDED_WITHIN: Duration = Duration::from_secs(8);
/// How long what is decided may take to be in force here.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(6);
/// How long until what could not be decided is tried again.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How long until what could not be taken up is tried again, first and at most.
const TAKE_UP_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// Which set of which cluster this node has in force, and in its store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    cluster: Option<[u8; 16]>,
    serial: u64,
}

impl Taken {
    /// As the store has it under [`MetaKey::SiteReservations`]; what this node reserved by itself is no cluster's.
    pub fn stored(octets: Option<&[u8]>) -> Self {
        let known = octets.and_then(|octets| {
            let (cluster, serial) = octets.split_first_chunk()?;
            Some((*cluster, u64::from_le_bytes(serial.try_into().ok()?)))
        });
        known.map_or_else(Self::default, |(cluster, serial)| Self { cluster: Some(cluster), serial })
    }

    /// What says so in a batch.
    pub(super) fn meta(self) -> (MetaKey, Vec<u8>) {
        let octets = self.cluster.map(|cluster| [&cluster[..], &self.serial.to_le_bytes()].concat());
        (MetaKey::SiteReservations, octets.unwrap_or_default())
    }

    const fn of(agreed: &AgreedReservations) -> Self {
        Self { cluster: agreed.cluster, serial: agreed.set.serial() }
    }

    fn covers(self, other: Self) -> bool {
        self.cluster == other.cluster && self.serial >= other.serial
    }
}

impl Reloader {
    /// Takes up what the nodes agree on from here on, until the service ends; what is reserved here is theirs to decide.
    pub fn follow(self: &Arc<Self>, sites: Arc<Sites>) {
        if self.sites.set(Arc::clone(&sites)).is_ok() {
            tokio::spawn(following(Arc::clone(self), sites));
        }
    }

    /// Has a change decided, and waits until it is in force here.
    pub(super) async fn reserve_together(self: &Arc<Self>, wish: Wish) -> Result<Arc<Config>, Refusal> {
        let sites =
            self.sites.get().ok_or_else(|| Refusal::NotDecided("this node is starting".to_owned()))?;
        let deadline = Instant::now() + DECIDED_WITHIN;
        let mut why = "other changes come first: try again".to_owned();
        // One after the other: they would only overtake each other.
        let Ok(_one) = timeout_at(deadline.into(), self.edits.lock()).await else {
            return Err(Refusal::NotDecided(why));
        };
        // On which set something was tried of which it is not known what became.
        let (wish, mut unsure) = (Arc::new(wish), None::<(u64, String)>);
        while Instant::now() < deadline {
            let judged = Arc::clone(&wish);
            let (judged, seen) = self.one_at_a_time(move |this| Ok(this.judged(&judged))).await?;
            if let Err(refusal) = judged {
                // What was not known to be decided may be what is in its way.
                return if unsure.is_some() && self.is_as_wished(&wish) {
                    Ok(self.in_force.config())
                } else {
                    Err(refusal)
                };
            }
            // On another set by now, without what was tried: it was overtaken.
            unsure = unsure.filter(|(tried, _)| *tried == seen.serial);
            let agreed = Taken::of(&sites.agreed_reservations().borrow());
            if seen.cluster.is_none() || seen.cluster != agreed.cluster {
                "this node has not taken up the cluster's reservations yet".clone_into(&mut why);
                sleep(ASK_AGAIN).await;
                continue;
            }
            let (address, made) = wish.edit.said();
            let texts = vec![(address, made.map(|made| made.text().into()))];
            match sites.decide_reservations(Edits { seen: seen.serial, texts }).await {
                Ok(Outcome::Reserved(serial)) => return self.taken_up(sites, Taken { serial, ..seen }).await,
                Ok(Outcome::TooMuch) => return Err(Refusal::TooMany),
                Ok(Outcome::Void(_) | Outcome::Done | Outcome::Internal) => {
                    if !self.wait_for(|taken| taken != seen, deadline).await {
                        why = sites.reservations_trouble().unwrap_or(why);
                    }
                }
                Err(Undecided::Nothing(reason)) => {
                    why = reason;
                    sleep(ASK_AGAIN).await;
                }
                Err(Undecided::Unknown(reason)) => {
                    unsure = Some((seen.serial, reason));
                    let _ = self.wait_for(|taken| taken != seen, Instant::now() + ASK_AGAIN).await;
                }
            }
        }
        Err(unsure.map_or_else(|| Refusal::NotDecided(why), |(_, reason)| Refusal::Undecided(reason)))
    }

    /// Whether a change can be made to what is in force now, and to which set that is.
    fn judged(&self, wish: &Wish) -> (Result<(), Refusal>, Taken) {
        let judged = self.planned(wish).and_then(|step| self.order(Step { only_judge: true, ..step }));
        (judged.map(drop), *self.taken.borrow())
    }

    fn is_as_wished(&self, wish: &Wish) -> bool {
        let (address, wanted) = wish.edit.said();
        let made = self.in_force.config().made();
        made.iter().find(|made| made.address() == address) == wanted
    }

    async fn wait_for(&self, holds: impl Fn(Taken) -> bool, until: Instant) -> bool {
        let mut taken = self.taken.subscribe();
        timeout_at(until.into(), taken.wait_for(|taken| holds(*taken))).await.is_ok_and(|found| found.is_ok())
    }

    async fn taken_up(&self, sites: &Sites, decided: Taken) -> Result<Arc<Config>, Refusal> {
        let until = Instant::now() + TAKEN_UP_WITHIN;
        if self.wait_for(|taken| taken.covers(decided), until).await {
            return Ok(self.in_force.config());
        }
        let trouble = sites.reservations_trouble();
        Err(Refusal::NotHereYet(trouble.unwrap_or_else(|| "it takes longer than usual".to_owned())))
    }

    /// Takes up what is agreed, if it is news; what this node had reserved before it was one of several comes first, for
    /// it is not to be lost.
    async fn catch_up(
        self: &Arc<Self>,
        sites: &Arc<Sites>,
        agreed: AgreedReservations,
    ) -> Result<(), Refusal> {
        let (known, news) = (*self.taken.borrow(), Taken::of(&agreed));
        if news.cluster.is_none() || known.covers(news) || known.cluster == news.cluster {
            return match news.cluster.is_none() || known.covers(news) {
                true => Ok(()),
                false => self.one_at_a_time(move |this| this.take_up(&agreed)).await,
            };
        }
        let texts = agreed.set.texts();
        let own: Vec<Made> = self.in_force.config().made();
        let missing = own.iter().filter(|made| !texts.contains_key(&made.address()));
        let missing = missing.map(|made| (made.address(), Some(made.text().into())));
        let edits = Edits::as_many_as_fit(news.serial, missing);
        if edits.texts.is_empty() {
            tell_replaced(&own, agreed.set.texts());
            return self.one_at_a_time(move |this| this.take_up(&agreed)).await;
        }
        let count = edits.texts.len();
        match sites.decide_reservations(edits).await {
            // It is agreed, and what is left comes with the next look.
            Ok(Outcome::Reserved(_)) => {
                tracing::info!(
                    count,
                    "reservations made before this node was one of several are the cluster's now"
                );
                Ok(())
            }
            Ok(Outcome::TooMuch) => {
                tracing::error!(
                    "the cluster keeps no more reservations: of those this node made before it was one of several, what \
                     the cluster has not is gone"
                );
                self.one_at_a_time(move |this| this.take_up(&agreed)).await
            }
            Ok(_) => Err(Refusal::NotDecided("other changes come first".to_owned())),
            Err(undecided) => Err(Refusal::NotDecided(undecided.to_string())),
        }
    }

    fn take_up(&self, agreed: &AgreedReservations) -> Result<(), Refusal> {
        let (standing, taken) = (self.in_force.standing(), Taken::of(agreed));
        let (made, batch) = differing(&standing.config.made(), agreed.set.texts());
        let config = config::parse_with(&standing.text, "the configuration", &made);
        let config = config.map_err(|error| Refusal::DoesNotFit(error.to_string()))?;
        let batch = Batch { meta: vec![taken.meta()], ..batch };
        // It is decided already.
        let step = Step { config, batch, even_if_held: true, within: Vec::new(), only_judge: false };
        let config = self.order(step)?;
        let known = &standing.config.left_out;
        tell_left_out(config.left_out.iter().filter(|left| !known.contains(left)));
        self.taken.send_replace(taken);
        Ok(())
    }
}

/// Says which of the reservations of before are others now.
fn tell_replaced(own: &[Made], texts: &BTreeMap<Ipv4Addr, Arc<str>>) {
    for made in own {
        if texts.get(&made.address()).is_some_and(|text| **text != *made.text()) {
            tracing::warn!(
                address = %made.address(),
                text = made.text(),
                "reserved by this node before it was one of several, and otherwise by the cluster, which counts"
            );
        }
    }
}

/// The reservations that are agreed, and what is to be kept and dropped of those that are known.
fn differing(known: &[Made], texts: &BTreeMap<Ipv4Addr, Arc<str>>) -> (Vec<Made>, Batch) {
    let known: BTreeMap<_, _> = known.iter().map(|made| (made.address(), made)).collect();
    let (mut made, mut batch) = (Vec::with_capacity(texts.len()), Batch::default());
    for (address, text) in texts {
        if let Some(same) = known.get(address).filter(|known| *known.text() == **text) {
            made.push((*same).clone());
            continue;
        }
        match Made::parse(text) {
            Ok(new) if new.address() == *address && new.text().len() <= MADE_OCTETS_MAX => {
                let bytes = new.text().as_bytes().to_vec();
                batch.reservations.push(StoredReservation { address: *address, bytes });
                made.push(new);
            }
            Ok(_) => tracing::error!(%address, "the reservation that is agreed on is of another address"),
            Err(error) => {
                tracing::error!(%address, %error, "the reservation that is agreed on cannot be read");
            }
        }
    }
    // Sorted, as the texts were.
    let gone = |address: &Ipv4Addr| made.binary_search_by_key(address, Made::address).is_err();
    batch.dropped_reservations = known.into_keys().filter(gone).collect();
    (made, batch)
}

async fn following(this: Arc<Reloader>, sites: Arc<Sites>) {
    let mut agreed = sites.agreed_reservations();
    let mut pause = TAKE_UP_AGAIN.0;
    loop {
        let now = agreed.borrow_and_update().clone();
        match this.catch_up(&sites, now).await {
            Ok(()) => {
                if sites.set_reservations_trouble(None) {
                    tracing::info!("the reservations that are agreed on are in force again");
                }
                pause = TAKE_UP_AGAIN.0;
                if agreed.changed().await.is_err() {
                    return;
                }
            }
            Err(Refusal::Stopping | Refusal::Refused(ReserveError::Failed(_))) => return,
            Err(error) => {
                if sites.set_reservations_trouble(Some(error.to_string())) {
                    tracing::error!(%error, "reservations that are agreed on are not in force here yet");
                }
                // Sooner if there is another set.
                let _ = timeout(pause, agreed.changed()).await;
                pause = (pause * 2).min(TAKE_UP_AGAIN.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(address: &str, client: u8) -> Made {
        Made::parse(&format!(r#"{{"address": "{address}", "hw_address": "02:00:00:00:00:{client:02x}"}}"#))
            .unwrap()
    }

    #[test]
    fn what_differs_is_kept_and_what_is_agreed_on_no_more_is_dropped() {
        let [same, before, gone] = [made("198.18.1.1", 1), made("198.18.1.2", 2), made("198.18.1.3", 3)];
        let replaced = made("198.18.1.7", 7);
        let [after, new] = [made("198.18.1.2", 9), made("198.18.1.4", 4)];
        let agreed = [&same, &after, &new].map(|made| (made.address(), Arc::from(made.text())));
        let unreadable =
            [([198, 18, 1, 7].into(), Arc::from("{}")), ([198, 18, 1, 8].into(), Arc::from(new.text()))];
        let texts = agreed.into_iter().chain(unreadable).collect();
        let (all, batch) = differing(&[same.clone(), before, gone.clone(), replaced.clone()], &texts);
        assert_eq!(all, [same, after.clone(), new.clone()]);
        let kept: Vec<_> = batch.reservations.iter().map(|kept| kept.address).collect();
        assert_eq!(kept, [after.address(), new.address()]);
        assert_eq!(batch.dropped_reservations, [gone.address(), replaced.address()]);
    }

    #[test]
    fn the_store_says_whose_set_it_is_and_it_goes_never_back() {
        let known = Taken { cluster: Some([7; 16]), serial: 5 };
        assert_eq!(Taken::stored(Some(&known.meta().1)), known);
        for nobodys in [None, Some(&Taken::default().meta().1[..]), Some(&[7; 20])] {
            assert_eq!(Taken::stored(nobodys), Taken::default());
        }
        assert!(known.covers(known) && known.covers(Taken { serial: 4, ..known }));
        assert!(!known.covers(Taken { serial: 6, ..known }));
        assert!(!known.covers(Taken { cluster: Some([8; 16]), serial: 1 }));
    }
}
