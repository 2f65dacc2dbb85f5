//! A turn at judging configurations. Judging one holds its text, up to 16 MiB, and what it is read into; so one request at
//! a time does it, and others are told to come back before anything of their body is taken.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Api, problem::Problem};

/// When to come back, seconds.
const RETRY_SECS: u64 = 2;

/// Hands out turns.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turns {
    /// A turn, if nobody has one.
    pub fn take(&self) -> Option<Turn> {
        Arc::clone(&self.0).try_acquire_owned().ok().map(Turn)
    }
}

/// A turn, until it is dropped. As an extractor it stands before the body, which is not read without one.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl FromRequestParts<Api> for Turn {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, api: &Api) -> Result<Self, Problem> {
        api.turns.take().ok_or_else(|| Problem {
            retry_after_secs: Some(RETRY_SECS),
            ..Problem::unavailable("another configuration is being judged: one at a time; try again")
        })
    }
}
