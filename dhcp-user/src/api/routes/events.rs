//! What becomes of leases and sites, as it happens: server-sent events, resumed by the number of the last one seen.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::sse::{self, KeepAlive, Sse},
};
use futures_util::stream::{Stream, unfold};
use serde::Deserialize;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use utoipa::IntoParams;

use crate::{
    api::{
        Api,
        access::{caller::Caller, gate::still_may},
        problem::{Parameters, Problem, within},
    },
    server::feed::{Feed, FeedEvent},
};

/// Events taken from the ring at once.
const PORTION: usize = 256;
/// How often a silent stream shows that it is alive.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// How long a stream lasts. Readers come back by themselves, with the number of the last event seen. One whose rights have
/// ended or changed meanwhile gets nothing more, and is told why when it comes back.
const STREAM_TIME: Duration = Duration::from_secs(300);

/// The most recent events a stream may begin with.
const RECENT_MAX: u64 = 1_000;

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Start {
    /// Begin with so many of the latest events, and so many of the latest of sites, up to 1000, where there is no
    /// `Last-Event-ID`.
    #[param(maximum = 1000)]
    recent: Option<u64>,
}

/// One reader of the feed.
struct Reader {
    api: Api,
    feed: Arc<Feed>,
    news: watch::Receiver<u64>,
    caller: Caller,
    after: u64,
    ready: VecDeque<sse::Event>,
    until: Instant,
}

/// What happens, as server-sent events: `lease` with a lease event, `site` with a site event, and `missed` with a number
/// where events are gone because the reader was too slow or away for too long (at least so many, if the daemon was started
/// meanwhile; always 1 for who is restricted to subnets). Begins with what comes next, or after the event named by the header `Last-Event-ID`. Ends after five minutes:
/// come back with that header, as browsers do by themselves. Who is restricted to subnets hears of leases in them only.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "events",
    params(Start, ("last-event-id" = Option<u64>, Header, description = "The number of the last event seen")),
    responses(
        (status = 200, description = "A stream of events", body = FeedEvent, content_type = "text/event-stream"),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn events(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Parameters(start): Parameters<Start>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    let news = api.feed.watch();
    let recent = within("recent", start.recent.unwrap_or(0), 0..=RECENT_MAX)?;
    let (after, first) = match headers.get("last-event-id") {
        None => {
            let after = api.feed.before(recent);
            // A storm of leases is no reason to begin without what happened to sites before it.
            (after, api.feed.sites_until(after, usize::try_from(recent).unwrap_or(0)))
        }
        Some(value) => {
            let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
            let wrong = || Problem::bad_request("Last-Event-ID is the number of an event");
            (number.ok_or_else(wrong)?, Vec::new())
        }
    };
    let (ready, until) = (VecDeque::new(), Instant::now() + STREAM_TIME);
    let feed = Arc::clone(&api.feed);
    let mut reader = Reader { api, feed, news, caller, after, ready, until };
    reader.show(&first);
    let stream = unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(ALIVE_EVERY)))
}

impl Reader {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if Instant::now() >= self.until || !still_may(&self.api, &self.caller) {
                return None;
            }
            self.news.borrow_and_update();
            let taken = self.feed.after(self.after, PORTION);
            if taken.missed > 0 {
                // How many of them were theirs cannot be told any more, and how many were not, they are not to be told.
                let missed = if self.caller.subnets.is_empty() { taken.missed } else { 1 };
                self.ready.push_back(sse::Event::default().event("missed").data(missed.to_string()));
            }
            if let Some(last) = taken.events.last() {
                self.after = last.id();
            } else {
                timeout_at(self.until, self.news.changed()).await.ok()?.ok()?;
                continue;
            }
            self.show(&taken.events);
        }
    }

    /// Has those sent that the caller may see.
    fn show(&mut self, events: &[FeedEvent]) {
        for event in events {
            let (name, may_see) = match event {
                FeedEvent::Lease(lease) => ("lease", self.caller.may_see(lease.address)),
                // As all else that is about the whole node.
                FeedEvent::Site(_) => ("site", self.caller.subnets.is_empty()),
            };
            let shown = || sse::Event::default().event(name).id(event.id().to_string()).json_data(event).ok();
            self.ready.extend(may_see.then(shown).flatten());
        }
    }
}
