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

use super::{
    Api,
    problem::Problem,
    room::{Held, Room},
};

/// Room for all bodies together, octets: three of the longest.
const ROOM: usize = 48 << 20;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// When to come back, seconds.
const RETRY_SECS: u64 = 2;

/// Hands out room and turns.
#[derive(Clone, Debug)]
pub struct Turns {
    one: Arc<Semaphore>,
    room: Room,
    patience: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self::new(ROOM, PATIENCE)
    }
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Turns {
    /// With room for so many octets, and so long a wait for a turn.
    pub fn new(room: usize, patience: Duration) -> Self {
        Self { one: Arc::new(Semaphore::new(1)), room: Room::new(room, patience), patience }
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
    #[expect(dead_code, reason = "held")]
    held: Held,
}

impl WholeText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl AsRef<str> for WholeText {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl FromRequest<Api> for WholeText {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let mut body = request.into_limited_body();
        let (mut octets, mut held) = (Vec::new(), Held::default());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(unreadable)?.into_data() else { continue };
            let refused = |_| again("too many configurations are being sent or judged: try again");
            api.turns.room.grow(&mut held, octets.len() + data.len()).map_err(refused)?;
            octets.extend_from_slice(&data);
        }
        let text = String::from_utf8(octets)
            .map_err(|error| Problem::bad_request(format!("the body is not UTF-8: {error}")))?;
        Ok(Self { text, held })
    }
}

fn unreadable(error: axum::Error) -> Problem {
    let error = error.into_inner();
    let too_long = error.is::<LengthLimitError>()
        || error.source().is_some_and(<dyn std::error::Error>::is::<LengthLimitError>);
    let status = if too_long { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
    Problem::new(status, format!("the body cannot be read: {error}"))
}
