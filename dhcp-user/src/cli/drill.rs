//! `site drill`: a site is taken out of service and brought back, and what that meant is reported. Whatever happens in
//! between, an error or an operator's Ctrl-C, the site is told to come back before this ends.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use hyper::Method;
use serde::Serialize;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use super::{
    ask::{print_json, wait},
    progress::Progress,
    remote::Asking,
    sites::safe,
};
use crate::{
    api::routes::sites::Told,
    control::client::Daemon,
    server::view::StatsView,
    site::driver::status::{SiteDetail, SiteList, SyncDetail},
};

/// How often a drill looks how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a site is told to come back while one of its nodes cannot be told.
const RESUME_WITHIN: Duration = Duration::from_secs(20);

/// Blocks by the node that holds them.
type Holders = BTreeMap<String, u32>;

/// What a drill found.
#[derive(Debug, Serialize)]
struct Report {
    site: String,
    blocks_before: u32,
    handed_on_secs: f64,
    /// Which nodes had how many more blocks when the site had none.
    handed_on_to: Holders,
    blocks_after: u32,
    taken_back_secs: f64,
    clients: Clients,
}

/// What clients saw from before the site was drained until it was back, as far as the node that was asked can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Served {
    renewals_answered: u64,
    new_leases: u64,
    /// Messages left to other nodes, or without an address to give: clients asked another node, or again.
    not_answered: u64,
    refused: u64,
}

/// Whose clients these are: those that the node that was asked serves itself. What other nodes answer they tell nobody.
#[derive(Debug, Serialize)]
struct Clients {
    of_node: String,
    of_site: String,
    #[serde(flatten)]
    served: Served,
}

impl Served {
    fn of(stats: &StatsView) -> Self {
        let count = |wanted: &dyn Fn(&str) -> bool| -> u64 {
            let of = stats.daemon.messages.iter().filter(|(name, _)| wanted(name));
            of.map(|(_, count)| *count).sum()
        };
        let renewed = ["acked_renewal", "acked_rebinding", "acked_reboot", "acked_recreated"];
        let left = ["ignored_not_our_block", "ignored_no_free_address", "ignored_no_record"];
        Self {
            renewals_answered: stats.kernel.as_ref().map_or(0, |kernel| kernel.answered)
                + count(&|name| renewed.contains(&name)),
            new_leases: count(&|name| matches!(name, "acked_new" | "acked_rapid")),
            not_answered: count(&|name| left.contains(&name)),
            refused: count(&|name| name.starts_with("nak_")),
        }
    }

    /// What came since; all of it if the daemon was started anew meanwhile.
    const fn since(self, before: Self) -> Self {
        const fn more(now: u64, before: u64) -> u64 {
            if now < before { now } else { now - before }
        }
        Self {
            renewals_answered: more(self.renewals_answered, before.renewals_answered),
            new_leases: more(self.new_leases, before.new_leases),
            not_answered: more(self.not_answered, before.not_answered),
            refused: more(self.refused, before.refused),
        }
    }
}

/// A drill at work.
struct Drill {
    daemon: Daemon,
    site: String,
    patience: Duration,
}

/// An operator who does not want to wait any longer.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn new() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("no signal handler")?,
            terminate: signal(SignalKind::terminate()).context("no signal handler")?,
        })
    }

    async fn next(&mut self) -> Error {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        anyhow!("interrupted")
    }
}

/// Drains a site, waits until its nodes hold nothing, resumes it, and waits until they hold something.
pub(super) fn run(name: &str, patience: Duration, asking: &Asking) -> Result<()> {
    let drill = Drill { daemon: asking.daemon()?, site: safe(name)?.to_owned(), patience };
    let report = wait(drill.run())?;
    if asking.json {
        return print_json(&report);
    }
    let Report { site, blocks_before, handed_on_secs, blocks_after, taken_back_secs, clients, .. } = &report;
    let to: Vec<String> =
        report.handed_on_to.iter().map(|(node, blocks)| format!("{blocks} to {node}")).collect();
    let to = to.join(", ");
    println!("{site}: {blocks_before} blocks handed on in {handed_on_secs:.1} s: {to}");
    println!("{site}: {blocks_after} blocks are back after {taken_back_secs:.1} s");
    let Served { renewals_answered, new_leases, not_answered, refused } = clients.served;
    println!(
        "clients of {} ({}) alone meanwhile: {renewals_answered} renewals answered, {new_leases} new leases, {not_answered} \
         messages left to other nodes, {refused} refused",
        clients.of_node, clients.of_site
    );
    println!("what other nodes' clients saw is not in that: each node counts its own (`stats` there)");
    Ok(())
}

impl Drill {
    async fn run(&self) -> Result<Report> {
        let site = &self.site;
        let blocks_before = self.held().await?;
        ensure!(blocks_before != 0, "{site} holds no addresses: there is nothing to drill");
        let before = self.holders().await?;
        let served_before = self.served().await?;
        // From here on an interruption ends nothing by itself: the site must come back first.
        let mut interrupts = Interrupts::new()?;
        let drained = match self.order("drain").await {
            Ok(()) => tokio::select! {
                drained = self.drained(&before) => drained,
                interrupted = interrupts.next() => Err(interrupted),
            },
            Err(error) => Err(error),
        };
        let resumed = tokio::select! {
            resumed = self.resume() => resumed,
            interrupted = interrupts.next() => Err(interrupted),
        };
        let (handed_on_secs, handed_on_to) = both(site, drained, resumed)?;
        let back = self.watch("taking back", |blocks| blocks != 0);
        let (blocks_after, taken_back_secs) = tokio::select! {
            back = back => back?,
            interrupted = interrupts.next() => return Err(interrupted.context(format!("{site} takes blocks back"))),
        };
        let mut clients = self.served().await?;
        clients.served = clients.served.since(served_before.served);
        let site = site.clone();
        Ok(Report {
            site,
            blocks_before,
            handed_on_secs,
            handed_on_to,
            blocks_after,
            taken_back_secs,
            clients,
        })
    }

    /// Waits until the site has handed on all it held: how long that took, and who has more blocks now.
    async fn drained(&self, before: &Holders) -> Result<(f64, Holders)> {
        let (_, secs) = self.watch("handing on", |blocks| blocks == 0).await?;
        let mut gained = self.holders().await?;
        gained.retain(|node, blocks| {
            *blocks = blocks.saturating_sub(before.get(node).copied().unwrap_or(0));
            *blocks != 0
        });
        Ok((secs, gained))
    }

    /// Tells the site to come back, until all of its nodes have been told. Those that can be told are by the first attempt.
    async fn resume(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            match self.order("resume").await {
                Err(_) if began.elapsed() < RESUME_WITHIN => sleep(LOOK_EVERY).await,
                told => return told,
            }
        }
    }

    async fn order(&self, wish: &str) -> Result<()> {
        let path = format!("/api/v1/sites/{}/{wish}", self.site);
        let _: Told = self.daemon.send(Method::POST, &path, None).await?;
        Ok(())
    }

    async fn watch(&self, what: &str, done: impl Fn(u32) -> bool) -> Result<(u32, f64)> {
        let (began, progress) = (Instant::now(), Progress::of_waiting());
        loop {
            let blocks = self.held().await?;
            if done(blocks) {
                return Ok((blocks, began.elapsed().as_secs_f64()));
            }
            if began.elapsed() > self.patience {
                bail!(
                    "{what} takes longer than {} s: {blocks} blocks are held. Blocks that were taken over are handed on only \
                     when failover.mclt_secs have passed (`site sync` on the node: blocks_closed)",
                    self.patience.as_secs()
                );
            }
            progress.say(format!("{what}: {} holds {blocks} blocks", self.site));
            sleep(LOOK_EVERY).await;
        }
    }

    async fn detail(&self, site: &str) -> Result<SiteDetail> {
        Ok(self.daemon.get(&format!("/api/v1/sites/{}", safe(site)?)).await?)
    }

    /// How many blocks the site holds.
    async fn held(&self) -> Result<u32> {
        Ok(self.detail(&self.site).await?.members.iter().filter_map(|node| node.blocks_held).sum())
    }

    /// What the nodes of all other sites hold.
    async fn holders(&self) -> Result<Holders> {
        let list: SiteList = self.daemon.get("/api/v1/sites/status").await?;
        let mut holders = Holders::new();
        for site in list.sites.iter().filter(|site| site.name != self.site) {
            let members = self.detail(&site.name).await?.members;
            holders.extend(members.into_iter().filter_map(|node| Some((node.name, node.blocks_held?))));
        }
        Ok(holders)
    }

    /// What the node that is asked has answered since its start.
    async fn served(&self) -> Result<Clients> {
        let sync: SyncDetail = self.daemon.get("/api/v1/sync").await?;
        let stats: StatsView = self.daemon.get("/api/v1/stats").await?;
        Ok(Clients { of_node: sync.node, of_site: sync.site, served: Served::of(&stats) })
    }
}

/// What came of draining, if the site is back too; else all that went wrong.
fn both<T>(site: &str, drained: Result<T>, resumed: Result<()>) -> Result<T> {
    let by_hand =
        format!("{site} may be out of service still: say `site resume --site {site}` until it is told");
    match (drained, resumed) {
        (Ok(found), Ok(())) => Ok(found),
        (Err(error), Ok(())) => Err(error.context(format!("{site} was told to come back"))),
        (Ok(_), Err(error)) => Err(error.context(by_hand)),
        (Err(first), Err(error)) => bail!("{by_hand}: {error:#}; before that: {first:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_went_wrong_is_said() {
        let text =
            |drained: Result<u8>, resumed| format!("{:#}", both("west", drained, resumed).unwrap_err());
        assert_eq!(both("west", Ok(1), Ok(())).unwrap(), 1);
        assert_eq!(text(Err(anyhow!("interrupted")), Ok(())), "west was told to come back: interrupted");
        let untold = text(Ok(1), Err(anyhow!("node b cannot be told")));
        assert!(
            untold.contains("site resume --site west") && untold.ends_with("node b cannot be told"),
            "{untold}"
        );
        let all = text(Err(anyhow!("too slow")), Err(anyhow!("no answer")));
        assert!(
            all.contains("site resume") && all.contains("too slow") && all.contains("no answer"),
            "{all}"
        );
    }

    #[test]
    fn what_clients_saw_is_what_came_since() {
        let before = Served { renewals_answered: 10, new_leases: 5, not_answered: 2, refused: 1 };
        let now = Served { renewals_answered: 30, new_leases: 5, not_answered: 9, refused: 1 };
        let since = Served { renewals_answered: 20, new_leases: 0, not_answered: 7, refused: 0 };
        assert_eq!(now.since(before), since);
        let anew = Served { renewals_answered: 3, ..Served::default() };
        assert_eq!(anew.since(before).renewals_answered, 3, "it was started anew");
    }
}
