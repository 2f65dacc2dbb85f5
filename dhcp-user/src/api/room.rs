//! Room for what requests hold in memory, so that however many come at once, all of them together hold no more than that.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::problem::Problem;

/// Octets a unit of room is for.
const UNIT: usize = 1_024;

/// So much room.
#[derive(Clone, Debug)]
pub struct Room {
    units: Arc<Semaphore>,
    octets: usize,
    patience: Duration,
}

/// A part of it, until it is dropped.
#[derive(Debug, Default)]
pub struct Held(Option<OwnedSemaphorePermit>);

/// There is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

fn units(octets: usize) -> u32 {
    u32::try_from(octets.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Room {
    /// For so many octets, in units of 1 KiB; whoever [takes](Self::take) a part waits so long for it.
    pub fn new(octets: usize, patience: Duration) -> Self {
        Self { units: Arc::new(Semaphore::new(octets / UNIT)), octets, patience }
    }

    /// Takes a part, all of it at most, as soon as there is one, after all who came before.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn take(&self, octets: usize) -> Result<Held, Full> {
        let taken = Arc::clone(&self.units).acquire_many_owned(units(octets.min(self.octets)));
        match timeout(self.patience, taken).await {
            Ok(Ok(permit)) => Ok(Held(Some(permit))),
            _ => Err(Full),
        }
    }

    /// Makes a part larger if it is for fewer octets, at once.
    ///
    /// # Errors
    /// If there is no room for that; the part stays as it is.
    pub fn grow(&self, held: &mut Held, octets: usize) -> Result<(), Full> {
        let more = units(octets).saturating_sub(held.units());
        let more = Arc::clone(&self.units).try_acquire_many_owned(more).map_err(|_| Full)?;
        match &mut held.0 {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

impl Held {
    fn units(&self) -> u32 {
        self.0.as_ref().map_or(0, |permit| u32::try_from(permit.num_permits()).unwrap_or(u32::MAX))
    }

    /// Gives back what is not needed for so many octets.
    pub fn shrink(&mut self, octets: usize) {
        let spare = self.units().saturating_sub(units(octets));
        drop(self.0.as_mut().and_then(|permit| permit.split(usize::try_from(spare).ok()?)));
    }
}

/// Octets that hold their room until the last of them has gone.
struct Filled {
    octets: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

/// An answer in JSON that keeps its room until the reader has taken it.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn json(answer: &impl Serialize, held: Held) -> Result<Response, Problem> {
    let octets = serde_json::to_vec(answer).map_err(|error| Problem::unavailable(error.to_string()))?;
    let body = Body::from(octets_with(octets, held));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Octets that keep their room until the reader has taken them; what more there was is given back.
pub fn octets_with(octets: Vec<u8>, mut held: Held) -> Bytes {
    held.shrink(octets.len());
    Bytes::from_owner(Filled { octets, _held: held })
}

/// The octets of a text that others hold too.
pub fn octets_of(text: Arc<str>) -> Bytes {
    struct Shared(Arc<str>);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Bytes::from_owner(Shared(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_held_is_bounded_and_given_back_with_the_last_octet() {
        let room = Room::new(10 * UNIT, Duration::ZERO);
        let mut held = Held::default();
        assert_eq!(room.grow(&mut held, 6 * UNIT + 1), Ok(()));
        assert_eq!(room.grow(&mut held, 10 * UNIT + 1), Err(Full));
        assert_eq!(held.units(), 7);
        assert!(room.take(4 * UNIT).await.is_err());
        held.shrink(2 * UNIT);
        assert_eq!(held.units(), 2);
        let large = room.take(8 * UNIT).await.unwrap();
        assert!(room.take(1).await.is_err());
        // What the answer does not need is given back when it is written, the rest when it has gone.
        let answer = json(&"x".repeat(2 * UNIT), large).unwrap();
        assert_eq!(room.units.available_permits(), 8 - 3);
        let first = Bytes::from_owner(Filled { octets: vec![1, 2], _held: held }).slice(..1);
        assert_eq!(room.units.available_permits(), 5);
        drop(first);
        assert_eq!(room.units.available_permits(), 7);
        drop(answer);
        assert_eq!(room.units.available_permits(), 10);
        assert!(room.take(usize::MAX).await.is_ok(), "whoever wants more than there is has all of it");
    }
}
