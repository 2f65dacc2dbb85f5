//! The figures, for people and for programs.

use serde_json::{Value, json};

use super::{
    cost::{Costs, OfLeases, Renewal},
    machine::Machine,
    traffic::FRAMES,
    world::{FEW, MANY},
};

/// Traffic over veth, medians.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Processors that make, answer and check frames, each a share of them.
    pub processors: usize,
    /// The bare reflector, frames a second.
    pub reflector_per_s: f64,
    /// The generator with its frames dropped at the far end's entry is not measured: this is the reflector's loss.
    pub reflector_lost: f64,
    /// Renewals of few leases.
    pub few_per_s: f64,
    /// Their loss.
    pub few_lost: f64,
    /// Renewals of many leases at random.
    pub many_per_s: f64,
    /// Their loss.
    pub many_lost: f64,
    /// Ratio to the reflector within one run, few leases.
    pub few_to_reflector: f64,
    /// Ratio to the reflector within one run, many leases.
    pub many_to_reflector: f64,
}

/// Everything measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// Costs per frame, medians.
    pub costs: Costs,
    /// The least of each cost.
    pub least: Costs,
    /// Renewals at random of more and more leases.
    pub by_leases: Vec<OfLeases>,
    /// Verified instructions.
    pub verified_insns: u32,
    /// Machine code, octets.
    pub jited_octets: u32,
    /// Traffic, if it was asked for: on one processor, on two, and so on.
    pub traffic: Vec<Traffic>,
    /// Leases published a second.
    pub published_per_s: f64,
    /// Where.
    pub machine: Machine,
    /// The processor that did the work.
    pub processor: usize,
    /// Runs of each measurement.
    pub runs: u32,
}

fn steps(renewal: &Renewal) -> Value {
    json!({
        "parse": renewal.parse_ns, "decide": renewal.decide_ns, "write": renewal.write_ns,
        "look_up": renewal.look_up_ns, "compare": renewal.compare_ns, "resize": renewal.resize_ns,
    })
}

impl Report {
    /// One JSON object. Times are nanoseconds per frame, rates per second.
    pub fn json(&self) -> Value {
        let costs = &self.costs;
        let mut value = json!({
            "empty_ns": costs.empty_ns,
            "clock_ns": costs.clock_ns,
            "non_dhcp_ns": costs.tcp_ns.max(costs.udp_ns),
            "non_dhcp_tcp_ns": costs.tcp_ns,
            "non_dhcp_udp_ns": costs.udp_ns,
            "renew_1k_ns": costs.few.total_ns,
            "renew_1k_no61_ns": costs.few_no61.total_ns,
            "renew_1m_ns": costs.many.total_ns,
            "restore_ns": costs.few.restore_ns,
            "steps_ns": {
                "renew_1k": steps(&costs.few),
                "renew_1k_no61": steps(&costs.few_no61),
                "renew_1m": steps(&costs.many),
            },
            "least_ns": {
                "renew_1k": self.least.few.total_ns,
                "renew_1k_no61": self.least.few_no61.total_ns,
                "renew_1m": self.least.many.total_ns,
            },
            "by_leases": self.by_leases.iter().map(|of| json!({
                "leases": of.leases, "total_ns": of.median.total_ns, "least_ns": of.least.total_ns,
                "steps_ns": steps(&of.median),
            })).collect::<Vec<_>>(),
            "ratio_1m_to_1k": costs.many.total_ns / costs.few.total_ns,
            "verified_insns": self.verified_insns,
            "jited_octets": self.jited_octets,
            "published_per_s": self.published_per_s,
            "leases": {"few": FEW, "many": MANY},
            "machine": self.machine,
            "processor": self.processor,
            "runs": self.runs,
        });
        if let (Some(traffic), Some(object)) = (self.traffic.first(), value.as_object_mut()) {
            object.extend([
                ("reflector_per_s".to_owned(), json!(traffic.reflector_per_s)),
                ("renewals_per_s".to_owned(), json!(traffic.many_per_s)),
                ("renewals_1k_per_s".to_owned(), json!(traffic.few_per_s)),
                ("ratio_renewals_to_reflector".to_owned(), json!(traffic.many_to_reflector)),
                ("ratio_renewals_1k_to_reflector".to_owned(), json!(traffic.few_to_reflector)),
                (
                    "lost".to_owned(),
                    json!({
                        "reflector": traffic.reflector_lost,
                        "renewals": traffic.many_lost,
                        "renewals_1k": traffic.few_lost,
                    }),
                ),
                (
                    "by_processors".to_owned(),
                    self.traffic
                        .iter()
                        .map(|on| {
                            json!({
                                "processors": on.processors, "reflector_per_s": on.reflector_per_s,
                                "renewals_per_s": on.many_per_s, "renewals_1k_per_s": on.few_per_s,
                                "lost": on.reflector_lost.max(on.few_lost).max(on.many_lost),
                            })
                        })
                        .collect(),
                ),
            ]);
        }
        value
    }

    /// A table.
    pub fn table(&self) -> String {
        let (costs, machine) = (&self.costs, &self.machine);
        let mut lines = vec![
            format!(
                "{}, {} cores, Linux {}, load {:.1}",
                machine.cpu, machine.cores, machine.kernel, machine.load
            ),
            format!(
                "medians of {} runs; all on processor {}; {} verified instructions, {} octets of machine code",
                self.runs, self.processor, self.verified_insns, self.jited_octets
            ),
            String::new(),
            "ns per frame                           total   parse look-up compare resize   write   least"
                .to_owned(),
            line("an empty program", costs.empty_ns),
            line("reading the boot clock", costs.clock_ns),
            line("not DHCP: TCP", costs.tcp_ns),
            line("not DHCP: UDP to another port", costs.udp_ns),
            renewal_line("renewal, 1 k leases in order", &costs.few, &self.least.few),
            renewal_line("same, without option 61", &costs.few_no61, &self.least.few_no61),
            renewal_line("renewal, 1 M leases at random", &costs.many, &self.least.many),
            line("(restoring the frame, subtracted)", costs.few.restore_ns),
        ];
        lines.extend(self.by_leases.iter().map(|of| {
            renewal_line(&format!("renewal, {} leases at random", of.leases), &of.median, &of.least)
        }));
        for traffic in &self.traffic {
            lines.extend([
                String::new(),
                format!(
                    "over veth, {FRAMES} frames a run on each of {} processor(s), which make, answer and check them",
                    traffic.processors
                ),
                "                                 per second  of reflector      lost".to_owned(),
                rate_line("reflector", traffic.reflector_per_s, 1.0, traffic.reflector_lost),
                rate_line(
                    "renewals, 1 k leases in order",
                    traffic.few_per_s,
                    traffic.few_to_reflector,
                    traffic.few_lost,
                ),
                rate_line(
                    "renewals, 1 M leases at random",
                    traffic.many_per_s,
                    traffic.many_to_reflector,
                    traffic.many_lost,
                ),
            ]);
        }
        lines.join("\n")
    }
}

fn line(name: &str, nanos: f64) -> String {
    format!("{name:<36}{nanos:>8.0}")
}

fn renewal_line(name: &str, renewal: &Renewal, least: &Renewal) -> String {
    let Renewal { parse_ns, look_up_ns, compare_ns, resize_ns, write_ns, total_ns, .. } = renewal;
    let rest_ns = write_ns - resize_ns;
    format!(
        "{name:<36}{total_ns:>8.0}{parse_ns:>8.0}{look_up_ns:>8.0}{compare_ns:>8.0}{resize_ns:>7.0}{rest_ns:>8.0}{:>8.0}",
        least.total_ns
    )
}

fn rate_line(name: &str, per_s: f64, ratio: f64, lost: f64) -> String {
    format!("{name:<33}{per_s:>10.0}{ratio:>14.2}{:>8.3} %", lost * 100.0)
}
