//! Whole configurations as bodies, up to 16 MiB each, and a turn at judging them. A body is read before there is a turn, so
//! that whoever sends slowly keeps nobody waiting; and all that are being read or judged have bounded room together, which
//! each takes as its octets come. Judging one holds its text and what it is read into, so one request at a time does it.

use std::{sync::Arc, time::Duration};

use axum::{
    RequestExt as _,
    extract::{FromRequest, Request},
    http::StatusCode,
};
use http_body_util::{BodyExt as _, LengthLimitError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{Api, problem::Problem};

/// Room for all bodies together, KiB: three of the longest.
const ROOM_KIB: usize = 48 << 10;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// When to come back, seconds.
const RETRY_SECS: u64 = 2;

/// Hands out room and turns.
#[derive(Clone, Debug)]
pub struct Turns {
    one: Arc<Semaphore>,
    room: Arc<Semaphore>,
    patience: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self::new(ROOM_KIB, PATIENCE)
    }
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Turns {
    /// With room for so many KiB, and so long a wait for a turn.
    pub fn new(room_kib: usize, patience: Duration) -> Self {
        Self { one: Arc::new(Semaphore::new(1)), room: Arc::new(Semaphore::new(room_kib)), patience }
    }

    /// A turn, when everybody before had theirs.
    ///
    /// # Errors
    /// 503 if that takes too long.
    pub async fn take(&self) -> Result<Turn, Problem> {
        match timeout(self.patience, Arc::clone(&self.one).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(Turn(turn)),
            _ => Err(again("another configuration is being judged: one at a time; try again")),
        }
    }
}

fn again(detail: &str) -> Problem {
    Problem { retry_after_secs: Some(RETRY_SECS), ..Problem::unavailable(detail) }
}

/// The text of a whole configuration. Keeps its room until it is dropped.
#[derive(Debug)]
pub struct WholeText {
    text: String,
    /// Grows with the text.
    room: Option<OwnedSemaphorePermit>,
}

impl WholeText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text, and its room.
    pub fn into_parts(self) -> (String, Option<OwnedSemaphorePermit>) {
        (self.text, self.room)
    }
}

impl FromRequest<Api> for WholeText {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let mut body = request.into_limited_body();
        let (mut octets, mut room) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(unreadable)?.into_data() else { continue };
            grow(&mut room, octets.len() + data.len(), &api.turns.room)?;
            octets.extend_from_slice(&data);
        }
        let text = String::from_utf8(octets)
            .map_err(|error| Problem::bad_request(format!("the body is not UTF-8: {error}")))?;
        Ok(Self { text, room })
    }
}

/// Takes room for as many octets as there are now.
fn grow(
    held: &mut Option<OwnedSemaphorePermit>,
    octets: usize,
    room: &Arc<Semaphore>,
) -> Result<(), Problem> {
    let wanted = octets.div_ceil(1_024);
    let more = wanted.saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
    let more = u32::try_from(more).unwrap_or(u32::MAX);
    let refused = |_| again("too many configurations are being sent or judged: try again");
    let more = Arc::clone(room).try_acquire_many_owned(more).map_err(refused)?;
    match held {
        Some(held) => held.merge(more),
        None => *held = Some(more),
    }
    Ok(())
}

fn unreadable(error: axum::Error) -> Problem {
    let error = error.into_inner();
    let too_long = error.is::<LengthLimitError>()
        || error.source().is_some_and(<dyn std::error::Error>::is::<LengthLimitError>);
    let status = if too_long { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
    Problem::new(status, format!("the body cannot be read: {error}"))
}
