//! Commands that ask the running daemon, as tables for people and JSON for programs.

use std::{io::Write, net::Ipv4Addr};

use anyhow::{Context, Result};

use super::remote::Asking;
use crate::server::view::{LeaseView, StatsView};

/// `leases show`.
pub fn show_lease(address: Ipv4Addr, asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let lease: LeaseView = wait(async { Ok(daemon.get(&format!("/api/v1/leases/{address}")).await?) })?;
    if asking.json {
        return print_json(&lease);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "address      {}", lease.address)?;
    let leaving = if lease.leaving { ", on its way out" } else { "" };
    writeln!(out, "state        {}{leaving}", lease.state)?;
    writeln!(out, "hardware     {}", lease.hw_address)?;
    writeln!(out, "client id    {}", lease.client_id.as_deref().unwrap_or("-"))?;
    writeln!(out, "hostname     {}", lease.hostname.as_deref().unwrap_or("-"))?;
    writeln!(out, "renewed      {} by the {}", lease.renewed_at, lease.renewed_by)?;
    writeln!(out, "expires      {} (in {} s)", lease.expires_at, lease.expires_in_secs)?;
    writeln!(out, "horizon      {}", lease.horizon)?;
    match &lease.kernel {
        None => writeln!(out, "kernel       does not know it")?,
        Some(kernel) => {
            let forms =
                if kernel.forms.is_empty() { "no form".to_owned() } else { kernel.forms.join(" and ") };
            writeln!(out, "kernel       {} renewals; answers {forms}", kernel.renewals)?;
            let [a, b, c, d] = kernel.index.to_le_bytes();
            writeln!(out, "             bpftool map lookup pinned <pin_path>/leases key {a} {b} {c} {d}")?;
        }
    }
    Ok(())
}

/// `stats`.
pub fn stats(asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let stats: StatsView = wait(async { Ok(daemon.get("/api/v1/stats").await?) })?;
    if asking.json {
        return print_json(&stats);
    }
    let mut out = std::io::stdout().lock();
    match &stats.kernel {
        None => writeln!(out, "KERNEL    no fast path")?,
        Some(kernel) => {
            let modes: Vec<_> =
                kernel.interfaces.iter().map(|(name, mode)| format!("{name} ({mode})")).collect();
            writeln!(out, "KERNEL    on {}", modes.join(", "))?;
            row(&mut out, "renewals answered", kernel.answered)?;
            for (reason, count) in &kernel.reasons {
                // A frame is passed for a reason, or dropped for a limit.
                let became = if reason.starts_with("limited_") { "dropped" } else { "passed" };
                row(&mut out, &format!("{became}: {reason}"), *count)?;
            }
            writeln!(out, "  {:<32} {} of {}", "answers held", kernel.answers, kernel.answers_max)?;
        }
    }
    let daemon = &stats.daemon;
    writeln!(out, "DAEMON")?;
    for (reason, count) in &daemon.messages {
        row(&mut out, reason, *count)?;
    }
    for (name, count) in &daemon.frames {
        row(&mut out, &format!("frames {name}"), *count)?;
    }
    for (name, count) in [
        ("batches made durable", daemon.commits),
        ("dropped, queue full", daemon.queue_drops),
        ("dropped, queue half full", daemon.queue_gave_way),
        ("offers withdrawn for others", daemon.offers_gave_way),
        ("quarantines cut short", daemon.quarantines_cut_short),
        ("replies not sent, errors", daemon.send_errors),
        ("replies not sent, store full", daemon.store_refusals),
        ("renewals the kernel cannot learn", daemon.unpublishable),
    ] {
        row(&mut out, name, count)?;
    }
    if let Some(probes) = &stats.probes {
        writeln!(out, "ADDRESSES ASKED FOR")?;
        for (name, count) in [
            ("asked for", probes.engine.asked),
            ("offers that waited", probes.engine.waited),
            ("found in use", probes.engine.conflicts),
            ("offered without asking", probes.engine.unprobed),
            ("questions not sent, errors", probes.send_errors),
        ] {
            row(&mut out, name, count)?;
        }
    }
    if let Some(audit) = &stats.audit {
        writeln!(out, "AUDIT LOG")?;
        row(&mut out, "lines written", audit.lines)?;
        row(&mut out, "lines lost", audit.lost)?;
        row(&mut out, "renewals without a line", audit.coalesced)?;
    }
    writeln!(out, "LEASES")?;
    for (state, count) in &stats.leases {
        row(&mut out, state, *count)?;
    }
    Ok(())
}

fn row(out: &mut dyn Write, name: &str, count: u64) -> std::io::Result<()> {
    writeln!(out, "  {name:<32} {count}")
}

pub(super) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

pub(super) fn wait<T>(question: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no asynchronous runtime")?;
    runtime.block_on(question)
}
