//! Whether an interface's frames come to several processors: its receive queues, the processors their interrupts go to, and
//! receive packet steering (the kernel's Documentation/networking/scaling.rst).
//!
//! An XDP program in the driver runs where the queue's interrupt does; steering comes after it, and spreads only what is
//! passed up and what a program in generic mode sees (Linux 5.3 on).

use std::{collections::BTreeSet, fs, path::Path};

use super::{Finding, State};

const AREA: &str = "interface";

/// What there is to say of the interface in `folder` (`/sys/class/net/NAME`), with the interrupts in `irqs` (`/proc/irq`) and
/// so many processors.
pub fn findings(name: &str, folder: &Path, irqs: &Path, processors: usize) -> Vec<Finding> {
    let queues = receive_queues(folder);
    let mut findings = vec![number(name, queues.len(), processors)];
    let device = interrupts(folder);
    if queues.len() > 1 && device.len() > 1 {
        findings.push(placement(&device, irqs));
    }
    if queues.len() < processors {
        findings.push(steering(folder, &queues, processors));
    }
    findings
}

fn number(name: &str, queues: usize, processors: usize) -> Finding {
    if queues >= processors.min(2) {
        return Finding::ok(AREA, "receive queues", format!("{queues}, of {processors} processors"));
    }
    Finding::fault(
        State::Warning,
        AREA,
        "receive queues",
        format!("{queues}: one of {processors} processors answers all renewals"),
        format!("ethtool -L {name} combined {processors} (`ethtool -l {name}` tells how many the card has)"),
    )
}

/// Where the interrupts of several queues go: not all to one processor.
fn placement(device: &BTreeSet<u32>, irqs: &Path) -> Finding {
    let served: BTreeSet<String> = device
        .iter()
        .filter_map(|irq| {
            let of = irqs.join(irq.to_string());
            let read = |file| fs::read_to_string(of.join(file)).ok();
            let list = read("effective_affinity_list").or_else(|| read("smp_affinity_list"))?;
            Some(list.trim().to_owned()).filter(|list| !list.is_empty())
        })
        .collect();
    match served.len() {
        0 => Finding::fault(
            State::Warning,
            AREA,
            "interrupts",
            "where they go is not readable",
            format!("grep . {}/*/effective_affinity_list", irqs.display()),
        ),
        1 if served.iter().all(|list| list.parse::<u32>().is_ok()) => Finding::fault(
            State::Warning,
            AREA,
            "interrupts",
            format!(
                "all {} go to processor {}",
                device.len(),
                served.iter().next().map_or("", String::as_str)
            ),
            format!(
                "run irqbalance, or give each queue's a processor of its own: echo CPU > {}/N/smp_affinity_list, N of {}",
                irqs.display(),
                device.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            ),
        ),
        _ => Finding::ok(
            AREA,
            "interrupts",
            format!("{} for processors {}", device.len(), served.into_iter().collect::<Vec<_>>().join(" ")),
        ),
    }
}

/// With fewer queues than processors, what is passed up may still be spread.
fn steering(folder: &Path, queues: &[String], processors: usize) -> Finding {
    let steered = queues.iter().any(|queue| {
        let mask = fs::read_to_string(folder.join("queues").join(queue).join("rps_cpus")).unwrap_or_default();
        mask.chars().any(|digit| digit.is_ascii_hexdigit() && digit != '0')
    });
    if steered {
        return Finding::ok(AREA, "packet steering", "on: what is passed up comes to other processors too");
    }
    // Off is the kernel's default, and right where the driver has XDP and few frames are passed up.
    let mask = masks(processors);
    let advice = format!(
        "for many new clients or generic mode: echo {mask} > {}/queues/rx-*/rps_cpus",
        folder.display()
    );
    Finding { fix: Some(advice), ..Finding::ok(AREA, "packet steering", "off") }
}

/// All processors, as `rps_cpus` is written: 32 to a group, the highest first.
fn masks(processors: usize) -> String {
    let groups = processors.div_ceil(32).max(1);
    let first = processors - (groups - 1) * 32;
    let first = (1_u64 << first) - 1;
    std::iter::once(format!("{first:x}"))
        .chain(std::iter::repeat_n("ffffffff".to_owned(), groups - 1))
        .collect::<Vec<_>>()
        .join(",")
}

fn receive_queues(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("queues")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("rx-"))
        .collect()
}

/// The card's message-signalled interrupts; a veth has none.
fn interrupts(folder: &Path) -> BTreeSet<u32> {
    let entries = fs::read_dir(folder.join("device/msi_irqs")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An interface with so many queues, whose interrupts go to these processors.
    fn machine(queues: usize, served: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for queue in 0..queues {
            let queue = folder.path().join(format!("net/queues/rx-{queue}"));
            fs::create_dir_all(&queue).unwrap();
            fs::write(queue.join("rps_cpus"), "00000000\n").unwrap();
        }
        for (irq, served) in served.iter().enumerate() {
            fs::create_dir_all(folder.path().join(format!("net/device/msi_irqs/{irq}"))).unwrap();
            let irq = folder.path().join(format!("irq/{irq}"));
            fs::create_dir_all(&irq).unwrap();
            fs::write(irq.join("effective_affinity_list"), format!("{served}\n")).unwrap();
        }
        folder
    }

    fn states(machine: &tempfile::TempDir, processors: usize) -> Vec<(&'static str, State)> {
        let (net, irqs) = (machine.path().join("net"), machine.path().join("irq"));
        findings("eth0", &net, &irqs, processors)
            .iter()
            .map(|finding| (finding.name, finding.state))
            .collect()
    }

    #[test]
    fn one_queue_for_many_processors_is_a_warning() {
        let found = states(&machine(1, &[]), 8);
        assert_eq!(found, [("receive queues", State::Warning), ("packet steering", State::Ok)]);
        assert_eq!(states(&machine(1, &[]), 1), [("receive queues", State::Ok)]);
    }

    #[test]
    fn queues_whose_interrupts_go_to_one_processor_are_a_warning() {
        assert_eq!(states(&machine(4, &["2", "2", "2", "2"]), 4)[1], ("interrupts", State::Warning));
        assert_eq!(states(&machine(4, &["0", "1", "2", "3"]), 4)[1], ("interrupts", State::Ok));
        assert_eq!(
            states(&machine(2, &["0-3", "0-3"]), 2)[1],
            ("interrupts", State::Ok),
            "left to the kernel"
        );
    }

    #[test]
    fn steering_that_is_on_is_seen() {
        let machine = machine(1, &[]);
        fs::write(machine.path().join("net/queues/rx-0/rps_cpus"), "00000000,000000f0\n").unwrap();
        let found = findings("eth0", &machine.path().join("net"), &machine.path().join("irq"), 8);
        assert!(found[1].found.starts_with("on"), "{:?}", found[1]);
    }

    #[test]
    fn masks_of_all_processors() {
        assert_eq!(
            [2, 8, 32, 40, 64].map(masks),
            ["3", "ff", "ffffffff", "ff,ffffffff", "ffffffff,ffffffff"]
        );
    }
}
