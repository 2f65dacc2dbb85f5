//! The figures of all servers, medians of the runs, as a table and as JSON.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Value, json};

use super::{added::Added, measure::Measured, server::Peer};
use crate::bench::{machine::Machine, median};

/// What one run gave.
#[derive(Debug, Default)]
pub struct RunFigures {
    /// Renewals, by server.
    pub renewals: BTreeMap<Peer, Measured>,
    /// Ours through the socket, for the generator's sake: nothing a socket does finds the kernel's limit.
    pub renewals_by_socket: Option<Measured>,
    /// What ours adds to a renewal's way.
    pub added: Option<Added>,
    /// New leases, by server.
    pub dora: BTreeMap<Peer, Measured>,
    /// Exchanges a second with a mirror, through the socket.
    pub generator_per_s: f64,
    /// The same by live frames.
    pub reflector_per_s: f64,
    /// perfdhcp's own figures, by server: new leases a second that it saw answered of those it asked for.
    pub perfdhcp: BTreeMap<Peer, Perfdhcp>,
    /// Servers that could not be measured to the end.
    pub failed: Vec<Peer>,
}

/// What perfdhcp says of a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Perfdhcp {
    /// Leases a second asked for.
    pub asked_per_s: f64,
    /// Four-way exchanges a second it saw.
    pub per_s: f64,
    /// DISCOVERs and REQUESTs without an answer, of all.
    pub loss: f64,
}

/// All of it.
#[derive(Debug)]
pub struct Report {
    /// One after the other.
    pub runs: Vec<RunFigures>,
    /// Clients that renewed.
    pub renewing: u32,
    /// The machine.
    pub machine: Machine,
}

impl Report {
    /// In how many runs which server could not be measured to the end.
    pub fn failed(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for peer in self.runs.iter().flat_map(|run| &run.failed) {
            *counts.entry(peer.name()).or_default() += 1;
        }
        counts
    }

    fn middle(&self, of: impl Fn(&RunFigures) -> Option<f64>) -> Option<f64> {
        let figures: Vec<f64> = self.runs.iter().filter_map(of).collect();
        (!figures.is_empty()).then(|| median(figures))
    }

    fn of(&self, dora: bool, peer: Peer, figure: impl Fn(&Measured) -> f64) -> Option<f64> {
        self.middle(|run| (if dora { &run.dora } else { &run.renewals }).get(&peer).map(&figure))
    }

    /// The median of the runs' ratios of ours to another's.
    fn ratio(&self, dora: bool, peer: Peer, figure: impl Fn(&Measured) -> f64) -> Option<f64> {
        self.middle(|run| {
            let of = if dora { &run.dora } else { &run.renewals };
            Some(figure(of.get(&Peer::Ours)?) / figure(of.get(&peer)?))
        })
    }

    /// For programs to read.
    pub fn json(&self) -> Value {
        let kind = |dora: bool| {
            let mut servers = Map::new();
            for peer in Peer::ALL {
                let at = |figure: &dyn Fn(&Measured) -> f64| self.of(dora, peer, figure);
                let Some(per_s) = at(&|m| m.best.per_s()) else { continue };
                servers.insert(
                    peer.name().to_owned(),
                    json!({
                        "per_s": per_s,
                        "p50_us": at(&|m| m.half.latency_us(0.5)),
                        "p99_us": at(&|m| m.half.latency_us(0.99)),
                        "p999_us": at(&|m| m.half.latency_us(0.999)),
                        "cpu_s_per_million": at(&Measured::machine_s_per_million),
                        "process_cpu_s_per_million": at(&Measured::server_s_per_million),
                        "loss": at(&|m| m.best.loss()),
                        "durability": peer.durability(),
                        "ours_times": self.ratio(dora, peer, |m| m.best.per_s()),
                    }),
                );
            }
            if let Some(Value::Object(ours)) = servers.get_mut(Peer::Ours.name()).filter(|_| !dora) {
                let added = |of: &dyn Fn(&Added) -> f64| self.middle(|run| run.added.as_ref().map(of));
                ours.insert("alone_p99_us".into(), json!(added(&|a| a.ours.latency_us(0.99))));
                ours.insert("alone_reflector_p99_us".into(), json!(added(&|a| a.mirror.latency_us(0.99))));
                ours.insert("added_p50_us".into(), json!(added(&|a| a.us(0.5))));
                ours.insert("added_p99_us".into(), json!(added(&|a| a.us(0.99))));
            }
            Value::Object(servers)
        };
        let perfdhcp: Map<_, _> = Peer::ALL
            .into_iter()
            .filter_map(|peer| {
                let at = |figure: &dyn Fn(&Perfdhcp) -> f64| {
                    self.middle(|run| run.perfdhcp.get(&peer).map(figure))
                };
                Some((
                    peer.name().to_owned(),
                    json!({
                        "asked_per_s": at(&|p| p.asked_per_s)?, "per_s": at(&|p| p.per_s)?,
                        "loss": at(&|p| p.loss)?,
                    }),
                ))
            })
            .collect();
        json!({
            "renewals": kind(false),
            "dora": kind(true),
            "perfdhcp": perfdhcp,
            "renewals_by_socket_per_s":
                self.middle(|run| run.renewals_by_socket.as_ref().map(|m| m.best.per_s())),
            "generator_per_s": self.middle(|run| Some(run.generator_per_s)),
            "reflector_per_s": self.middle(|run| Some(run.reflector_per_s)),
            "renewing_clients": self.renewing,
            "runs": self.runs.len(),
            "failed": self.failed(),
            "machine": self.machine,
        })
    }

    /// For people to read.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} ({} processors), Linux {}, load {:.1}; medians of {} runs; {} clients renew\n",
            self.machine.cpu,
            self.machine.cores,
            self.machine.kernel,
            self.machine.load,
            self.runs.len(),
            self.renewing
        );
        for (dora, title) in [(false, "renewals"), (true, "new leases")] {
            let _ = writeln!(
                text,
                "\n{title:<11} {:>12} {:>9} {:>9} {:>10} {:>14} {:>14} {:>9}",
                "per second", "p50 us", "p99 us", "p99.9 us", "machine s/1M", "process s/1M", "ours is"
            );
            for peer in Peer::ALL {
                let at = |figure: &dyn Fn(&Measured) -> f64| self.of(dora, peer, figure).unwrap_or(0.0);
                if self.of(dora, peer, |m| m.best.per_s()).is_none() {
                    continue;
                }
                let _ = writeln!(
                    text,
                    "{:<11} {:>12.0} {:>9.1} {:>9.1} {:>10.1} {:>14.2} {:>14.2} {:>8.1}x  {}",
                    peer.name(),
                    at(&|m| m.best.per_s()),
                    at(&|m| m.half.latency_us(0.5)),
                    at(&|m| m.half.latency_us(0.99)),
                    at(&|m| m.half.latency_us(0.999)),
                    at(&Measured::machine_s_per_million),
                    at(&Measured::server_s_per_million),
                    self.ratio(dora, peer, |m| m.best.per_s()).unwrap_or(0.0),
                    if dora { peer.durability() } else { "" },
                );
            }
        }
        if self.runs.iter().any(|run| !run.perfdhcp.is_empty()) {
            let _ = writeln!(text, "\nperfdhcp, new leases      asked/s   answered/s    lost");
            for peer in Peer::ALL {
                let at = |figure: &dyn Fn(&Perfdhcp) -> f64| {
                    self.middle(|run| run.perfdhcp.get(&peer).map(figure))
                };
                if let (Some(asked), Some(per_s), Some(loss)) =
                    (at(&|p| p.asked_per_s), at(&|p| p.per_s), at(&|p| p.loss))
                {
                    let _ = writeln!(
                        text,
                        "{:<20} {asked:>12.0} {per_s:>12.0} {:>6.2} %",
                        peer.name(),
                        loss * 100.0
                    );
                }
            }
        }
        let added = |part: f64| self.middle(|run| run.added.as_ref().map(|added| added.us(part)));
        if let (Some(p50), Some(p99)) = (added(0.5), added(0.99)) {
            let _ = writeln!(
                text,
                "\nadded by ours to a mirror's latency, each frame alone: p50 {p50:.2} us, p99 {p99:.2} us"
            );
        }
        let middle = |of: &dyn Fn(&RunFigures) -> f64| self.middle(|run| Some(of(run))).unwrap_or(0.0);
        let _ = writeln!(
            text,
            "\ngenerator's ceiling: {:.0}/s through a socket, {:.0}/s by live frames, both against an XDP mirror",
            middle(&|run| run.generator_per_s),
            middle(&|run| run.reflector_per_s)
        );
        if let Some(per_s) = self.middle(|run| run.renewals_by_socket.as_ref().map(|m| m.best.per_s())) {
            let _ = writeln!(
                text,
                "ours by socket: {per_s:.0} renewals/s, which is the generator's limit, not the server's"
            );
        }
        text.push_str(
            "latencies and costs are at half the highest rate; machine: all processors' time but the generator's\n",
        );
        text
    }
}
