//! `top`: what the node does, live in the terminal. [`model`] turns what the API tells into rates, [`draw`] into a
//! picture; here are only the terminal, the clock and the keys.

mod draw;
mod model;

use std::{
    io::{IsTerminal as _, Write as _},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
};

use self::model::{Sample, Screen};
use super::{ask::wait, manage::all_subnets, remote::Asking, sites::safe};
use crate::{
    control::client::{AskError, Daemon},
    server::feed::FeedEvent,
    site::driver::status::{SiteDetail, SiteList},
};

/// How long a key may wait.
const KEYS_EVERY: Duration = Duration::from_millis(100);
/// News that wait to be shown; whoever brings more waits too.
const NEWS_MAX: usize = 256;
/// The longest line of the event stream looked at, octets.
const LINE_MAX: usize = 64 << 10;
/// What happens, and what happened lately.
const EVENTS: &str = "/api/v1/events?recent=64";
/// Sites looked at.
const SITES_MAX: usize = 16;
/// The picture of `--once`, columns and lines.
const ONCE: (u16, u16) = (110, 42);

/// How to watch.
#[derive(Clone, Debug, Args)]
pub(super) struct Top {
    /// Seconds between two looks.
    #[arg(long, value_name = "SECS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
    /// Print one picture as text, of rates over one interval, and end.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    asking: Asking,
}

/// Something to show.
enum News {
    Sample(Box<Sample>),
    Event(FeedEvent),
    Trouble(String),
}

/// Watches until `q`.
pub(super) fn top(command: &Top) -> Result<()> {
    let daemon = command.asking.daemon()?;
    let every = Duration::from_secs(command.every);
    if command.once {
        return once(&daemon, every);
    }
    ensure!(std::io::stdout().is_terminal(), "top draws on a terminal; use --once for a file or a pipe");
    // Whoever cannot be asked at all is said so in plain words, not in a picture.
    let first = wait(sample(&daemon))?;
    let (news, incoming) = sync_channel(NEWS_MAX);
    let mut screen = Screen::default();
    screen.take(first);
    spawn("samples", daemon.clone(), news.clone(), move |daemon, news| samples(&daemon, every, &news))?;
    spawn("events", daemon, news, |daemon, news| events(&daemon, &news))?;
    let mut terminal = ratatui::try_init().context("cannot draw on this terminal")?;
    let ended = watch(&mut terminal, &mut screen, &incoming);
    ratatui::try_restore().context("cannot restore the terminal; try `reset`")?;
    ended
}

fn once(daemon: &Daemon, every: Duration) -> Result<()> {
    let mut screen = Screen::default();
    let (first, second) = wait(async {
        let first = sample(daemon).await?;
        tokio::time::sleep(every).await;
        Ok((first, sample(daemon).await?))
    })?;
    screen.take(first);
    screen.take(second);
    let text = picture(&screen, ONCE)?;
    std::io::stdout().lock().write_all(text.as_bytes()).context("cannot print")
}

/// A picture as text.
fn picture(screen: &Screen, (columns, lines): (u16, u16)) -> Result<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).context("no picture")?;
    terminal.draw(|frame| draw::draw(frame, screen)).context("no picture")?;
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in buffer.content().chunks(usize::from(columns)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Ok(text)
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    screen: &mut Screen,
    incoming: &Receiver<News>,
) -> Result<()> {
    loop {
        terminal.draw(|frame| draw::draw(frame, screen)).context("cannot draw")?;
        if event::poll(KEYS_EVERY).context("cannot read keys")?
            && let Event::Key(key) = event::read().context("cannot read keys")?
            && key.kind == KeyEventKind::Press
        {
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Char('c') if control => return Ok(()),
                _ => {}
            }
        }
        // As many as may wait: a stream that never pauses does not keep the keys waiting.
        for news in incoming.try_iter().take(NEWS_MAX) {
            match news {
                News::Sample(sample) => screen.take(*sample),
                News::Event(event) => screen.happened(event),
                News::Trouble(trouble) => screen.trouble = Some(trouble),
            }
        }
    }
}

async fn sample(daemon: &Daemon) -> Result<Sample> {
    let stats = daemon.get("/api/v1/stats").await?;
    let subnets = all_subnets(daemon).await?;
    let sites = sites(daemon).await?;
    Ok(Sample { at: Instant::now(), stats, subnets, sites })
}

/// The sites, as far as there are any and they may be seen.
async fn sites(daemon: &Daemon) -> Result<Vec<SiteDetail>> {
    let list: SiteList = match daemon.get("/api/v1/sites/status").await {
        Ok(list) => list,
        Err(AskError::Refused { status: 403 | 404, .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut sites = Vec::new();
    for site in list.sites.iter().take(SITES_MAX) {
        sites.push(daemon.get(&format!("/api/v1/sites/{}", safe(&site.name)?)).await?);
    }
    Ok(sites)
}

/// Threads end with the process, or when nobody takes their news.
fn spawn(
    name: &str,
    daemon: Daemon,
    news: SyncSender<News>,
    work: impl FnOnce(Daemon, SyncSender<News>) + Send + 'static,
) -> Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || work(daemon, news))
        .map(drop)
        .context("cannot start a thread")
}

fn samples(daemon: &Daemon, every: Duration, news: &SyncSender<News>) {
    loop {
        thread::sleep(every);
        let told = match wait(sample(daemon)) {
            Ok(sample) => News::Sample(Box::new(sample)),
            Err(error) => News::Trouble(format!("{error:#}")),
        };
        if news.send(told).is_err() {
            return;
        }
    }
}

fn events(daemon: &Daemon, news: &SyncSender<News>) {
    let mut last = None;
    loop {
        let mut line = Vec::new();
        let after = last;
        let ended = wait(async {
            let stream = daemon.events(EVENTS, after, |octets| {
                for &octet in octets {
                    match octet {
                        b'\n' => {
                            if let Some(event) = read_event(&line) {
                                last = Some(event.id());
                                if news.send(News::Event(event)).is_err() {
                                    return Err(std::io::Error::other("nobody watches"));
                                }
                            }
                            line.clear();
                        }
                        _ if line.len() < LINE_MAX => line.push(octet),
                        _ => {}
                    }
                }
                Ok(())
            });
            Ok(stream.await?)
        });
        // One that ends in order is to be begun anew after the last event seen: every few minutes each is.
        if let Err(error) = ended
            && news.send(News::Trouble(format!("{error:#}"))).is_err()
        {
            return;
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// The event in a line of the stream; `None` for its other lines.
fn read_event(line: &[u8]) -> Option<FeedEvent> {
    serde_json::from_slice(line.strip_prefix(b"data:")?).ok()
}

#[cfg(test)]
mod tests;
