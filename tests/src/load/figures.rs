//! What came of a run: counts, and how long answers took.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::reply::Fault;

/// Latencies are kept up to this, microseconds' thousandths: a minute and more is lost anyway.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// Counts and latencies of one run.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Exchanges begun.
    pub begun: u64,
    /// Exchanges that ended with an ACK.
    pub done: u64,
    /// Exchanges given up.
    pub lost: u64,
    /// Frames sent, retransmissions included.
    pub sent: u64,
    /// Frames sent again.
    pub retransmitted: u64,
    /// Replies received, right or wrong.
    pub received: u64,
    /// ICMP messages received: the server asks whether addresses are in use.
    pub probes: u64,
    /// Exchanges that were due and not begun because too many were under way.
    pub skipped: u64,
    /// Frames that the generator itself lost on the way in.
    pub receive_drops: u64,
    /// What was wrong with replies.
    pub faults: BTreeMap<Fault, u64>,
    /// From the first frame of an exchange to its ACK, nanoseconds.
    pub latency: Histogram<u64>,
    /// From the frame that was answered to its ACK, nanoseconds.
    pub ack_latency: Histogram<u64>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            begun: 0,
            done: 0,
            lost: 0,
            sent: 0,
            retransmitted: 0,
            received: 0,
            probes: 0,
            skipped: 0,
            receive_drops: 0,
            faults: BTreeMap::new(),
            latency: histogram(),
            ack_latency: histogram(),
            elapsed: Duration::ZERO,
        }
    }
}

#[expect(clippy::expect_used, reason = "the bounds are constants")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(100, LATENCY_NS_MAX, 3).expect("constant bounds are sound")
}

impl Figures {
    /// Counts a fault.
    pub fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_insert(0) += 1;
    }

    /// Wrong replies, but for those that only came too late.
    pub fn wrong(&self) -> u64 {
        self.faults.iter().filter(|(fault, _)| **fault != Fault::Unexpected).map(|(_, count)| count).sum()
    }

    /// Exchanges that ended well, a second.
    pub fn per_s(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The part of the exchanges that did not end well.
    pub fn loss(&self) -> f64 {
        let due = self.begun + self.skipped;
        if due == 0 { 0.0 } else { 1.0 - self.done as f64 / due as f64 }
    }

    /// A latency, microseconds; `of` is the part of the exchanges that were as fast.
    pub fn latency_us(&self, of: f64) -> f64 {
        self.latency.value_at_quantile(of) as f64 / 1e3
    }

    /// Everything, for programs to read.
    pub fn json(&self) -> Value {
        let faults: serde_json::Map<_, _> =
            self.faults.iter().map(|(fault, count)| (fault_name(*fault), json!(count))).collect();
        json!({
            "per_s": self.per_s(), "loss": self.loss(), "begun": self.begun, "done": self.done,
            "lost": self.lost, "sent": self.sent, "retransmitted": self.retransmitted,
            "received": self.received, "probes": self.probes, "skipped": self.skipped, "receive_drops": self.receive_drops,
            "faults": faults, "elapsed_s": self.elapsed.as_secs_f64(),
            "latency_us": quantiles(&self.latency), "ack_latency_us": quantiles(&self.ack_latency),
        })
    }
}

fn fault_name(fault: Fault) -> String {
    serde_json::to_value(fault).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The quantiles one looks at, microseconds.
pub fn quantiles(of: &Histogram<u64>) -> Value {
    let at = |quantile| of.value_at_quantile(quantile) as f64 / 1e3;
    json!({
        "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999),
        "max": if of.is_empty() { 0.0 } else { of.max() as f64 / 1e3 },
    })
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>12.0} exchanges/s   {} of {} done in {:.2} s, {:.4} % lost",
            self.per_s(),
            self.done,
            self.begun,
            self.elapsed.as_secs_f64(),
            self.loss() * 100.0
        )?;
        writeln!(
            f,
            "  latency, us  p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1}",
            self.latency_us(0.5),
            self.latency_us(0.9),
            self.latency_us(0.99),
            self.latency_us(0.999),
            if self.latency.is_empty() { 0.0 } else { self.latency.max() as f64 / 1e3 },
        )?;
        write!(
            f,
            "  frames       {} sent ({} again), {} received, {} lost by the generator, {} exchanges skipped",
            self.sent, self.retransmitted, self.received, self.receive_drops, self.skipped
        )?;
        for (fault, count) in &self.faults {
            write!(f, "\n  wrong        {count} x {}", fault_name(*fault))?;
        }
        Ok(())
    }
}
