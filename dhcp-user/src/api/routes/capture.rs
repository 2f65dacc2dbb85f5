//! Frames that the kernel answered, as a stream in pcapng: what no packet socket on the machine sees.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};
use utoipa::IntoParams;

use crate::{
    api::{
        Api,
        access::{
            caller::Caller,
            gate::{Note, still_may},
        },
        ask::ServiceHandle,
        capture::Writer,
        problem::{Parameters, Problem, within},
    },
    config,
    fastpath::tap::{Filter, Views},
    server::{
        clock,
        service::Query,
        tap::{TapError, TapOrder},
    },
};

/// How often the rings are looked at: they hold what the highest rate brings in much more.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Parts of the file that may wait for a reader; then frames wait in the rings, and then they are left out.
const PARTS_QUEUED: usize = 16;
/// Renewals a second: the most, and what is shown unless another rate is asked for.
const PER_SEC_MAX: u32 = 10_000;
const PER_SEC_DEFAULT: u32 = 1_000;
/// The longest, and how long it lasts unless asked for otherwise.
const SECONDS_MAX: u64 = 3_600;
const SECONDS_DEFAULT: u64 = 600;
/// The largest file, MiB, and how large it may be unless asked for otherwise.
const MIB_MAX: u64 = 1_024;
const MIB_DEFAULT: u64 = 64;

/// What is to be captured, and when it ends; whatever comes first ends it.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Renewals of this address only.
    #[param(value_type = Option<String>, format = "ipv4")]
    address: Option<Ipv4Addr>,
    /// Renewals of this Ethernet address only.
    hw_address: Option<String>,
    /// The most renewals a second, 1 to 10000; default 1000. More are left out and counted.
    #[param(minimum = 1, maximum = 10000)]
    per_sec: Option<u32>,
    /// Ends after so many frames: a renewal is two.
    #[param(minimum = 1)]
    count: Option<u64>,
    /// Ends after so many seconds, 1 to 3600; default 600.
    #[param(minimum = 1, maximum = 3600)]
    seconds: Option<u64>,
    /// Ends before the file has more than so many MiB, 1 to 1024; default 64.
    #[param(minimum = 1, maximum = 1024)]
    mib: Option<u64>,
}

/// When it ends.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    frames: u64,
    octets: u64,
    at: Instant,
}

impl Wanted {
    fn checked(&self) -> Result<(Filter, Bounds), Problem> {
        let per_sec = within("per_sec", self.per_sec.unwrap_or(PER_SEC_DEFAULT), 1..=PER_SEC_MAX)?;
        let seconds = within("seconds", self.seconds.unwrap_or(SECONDS_DEFAULT), 1..=SECONDS_MAX)?;
        let mib = within("mib", self.mib.unwrap_or(MIB_DEFAULT), 1..=MIB_MAX)?;
        let frames = within("count", self.count.unwrap_or(u64::MAX), 1..=u64::MAX)?;
        let mac = self.hw_address.as_deref().map(|written| {
            config::ethernet(written).ok_or_else(|| Problem::bad_request("hw_address is no Ethernet address"))
        });
        let filter = Filter { address: self.address, mac: mac.transpose()?, per_sec };
        let at = Instant::now() + Duration::from_secs(seconds);
        Ok((filter, Bounds { frames, octets: mib << 20, at }))
    }
}

/// Shows the renewals that the kernel answers, requests and answers, as a pcapng file that grows until it is ended: by the
/// reader, by its bounds, by the end of the caller's rights, or by another configuration. One at a time on a node. Of each interface the last statistics block
/// says how many renewals were left out.
#[utoipa::path(
    post,
    path = "/api/v1/capture",
    tag = "insight",
    params(Wanted),
    responses(
        (status = 200, description = "A stream", content((String = "application/x-pcapng"))),
        (status = 409, body = Problem),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn capture(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, Problem> {
    let (filter, bounds) = wanted.checked()?;
    let one = Arc::clone(&api.capturing).try_lock_owned().map_err(|_| refusal(&TapError::Busy))?;
    let recipe = api.service.ask(|to| Query::Tap(TapOrder::Recipe(to))).await?;
    let recipe = recipe.map_err(|error| refusal(&error))?;
    // Verifying programs takes its time.
    let loaded = tokio::task::spawn_blocking(move || recipe.load(&filter)).await;
    let loaded = loaded.map_err(|_| Problem::unavailable("the capture's programs could not be loaded"))?;
    let (tap, views) = loaded.map_err(|error| refusal(&error.into()))?;
    let wall_ahead_ns = clock::wall_ns().saturating_sub(clock::boot_ns());
    let writer = Writer::new(views.interfaces(), wall_ahead_ns);
    let writer = writer.map_err(|error| Problem::unavailable(error.to_string()))?;
    let ended = api.service.ask(|to| Query::Tap(TapOrder::Begin(tap, to))).await?;
    let ended = ended.map_err(|error| refusal(&error))?;
    let (parts, read) = mpsc::channel(PARTS_QUEUED);
    let (service, left_out) = (api.service.clone(), LeftOut::of_all(&api.capture_left_out));
    let may_go_on = move || still_may(&api, &caller);
    tokio::spawn(async move {
        Pump { views, writer, parts, bounds, left_out }.run(ended, may_go_on).await;
        end(&service).await;
        drop(one);
    });
    let body = Body::from_stream(unfold(read, |mut read| async move {
        Some((Ok::<Bytes, Problem>(read.recv().await?), read))
    }));
    let note = Extension(Note(format!("capture of {filter:?}")));
    Ok((note, [(header::CONTENT_TYPE, "application/x-pcapng")], body).into_response())
}

/// Takes the capture's programs away; told again until it is heard, for a busy service must not leave them.
async fn end(service: &ServiceHandle) {
    const TRIES: u32 = 60;
    for _ in 0..TRIES {
        if service.ask_for_itself(|to| Query::Tap(TapOrder::End(to))).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tracing::error!("the service does not end a capture: it is too busy, or gone");
}

/// Counts what is left out of a capture among what was left out of all.
struct LeftOut {
    counted: u64,
    of_all: Arc<AtomicU64>,
}

impl LeftOut {
    fn of_all(of_all: &Arc<AtomicU64>) -> Self {
        Self { counted: 0, of_all: Arc::clone(of_all) }
    }

    /// So many were left out so far, by interface. One that could not be looked at is 0 here: it makes nothing count twice.
    fn count(&mut self, so_far: &[u64]) {
        let more = so_far.iter().sum::<u64>().saturating_sub(self.counted);
        self.counted += more;
        self.of_all.fetch_add(more, Ordering::Relaxed);
    }
}

/// Carries frames from the rings to the reader.
struct Pump {
    views: Views,
    writer: Writer,
    parts: mpsc::Sender<Bytes>,
    bounds: Bounds,
    left_out: LeftOut,
}

impl Pump {
    async fn run(mut self, ended: oneshot::Receiver<()>, may_go_on: impl Fn() -> bool) {
        self.carry(ended, may_go_on).await;
        // Most is left out where nobody reads: that is since the last look.
        self.left_out.count(&self.views.left_out());
    }

    async fn carry(&mut self, mut ended: oneshot::Receiver<()>, may_go_on: impl Fn() -> bool) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut over = false;
        while !over {
            tokio::select! {
                _ = looks.tick() => {}
                // Another configuration, or the daemon's end: what is in the rings still goes.
                _ = &mut ended => over = true,
                () = self.parts.closed() => return,
            }
            over |= self.look() || Instant::now() >= self.bounds.at || !may_go_on();
            let part = self.writer.take();
            // A reader who does not read holds it no longer than it was to last.
            if !part.is_empty()
                && !matches!(timeout_at(self.bounds.at, self.parts.send(part.into())).await, Ok(Ok(())))
            {
                return;
            }
        }
    }

    /// Takes up what there is; whether that is enough.
    fn look(&mut self) -> bool {
        let Self { views, writer, bounds, left_out, .. } = self;
        let mut full = false;
        views.drain(|interface, shown, octets| {
            if writer.frame(interface, shown, octets).is_ok() {
                bounds.frames = bounds.frames.saturating_sub(1);
            }
            full = bounds.frames == 0 || writer.octets() + FRAME_OCTETS_MAX > bounds.octets;
            !full
        });
        let so_far = views.left_out();
        left_out.count(&so_far);
        let told = writer.left_out(clock::boot_ns(), &so_far);
        full || told.is_err()
    }
}

/// Octets that one more frame, and what is said of those left out, may take in the file.
const FRAME_OCTETS_MAX: u64 = 64 << 10;

fn refusal(error: &TapError) -> Problem {
    let status = match error {
        TapError::Busy | TapError::NoFastPath | TapError::Overtaken => StatusCode::CONFLICT,
        TapError::Kernel(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_counts_once() {
        let of_all = Arc::<AtomicU64>::default();
        let (mut one, mut next) = (LeftOut::of_all(&of_all), LeftOut::of_all(&of_all));
        for so_far in [[3, 4], [3, 0], [3, 5]] {
            one.count(&so_far);
        }
        next.count(&[2]);
        assert_eq!(of_all.load(Ordering::Relaxed), 10);
    }
}
