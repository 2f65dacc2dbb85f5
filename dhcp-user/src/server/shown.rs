//! What the thread shows: a lease with what the kernel says of it, and all that is counted.

use std::collections::BTreeMap;

use dhcp_common::{abi::Form, reason::Reason};

use super::{
    clock,
    service::Service,
    view::{DaemonStats, KernelStats, KernelView, LeaseView, ProbeStats, StatsView},
};
use crate::{audit::Journal, engine::SlowReason, lease::record::LeaseRecord};

impl Service {
    /// Whether the kernel granted a lease last.
    pub(super) fn is_by_kernel(&self, lease: &LeaseRecord) -> bool {
        let kernel = self.keeper.kernel.as_ref().and_then(|kernel| kernel.entry(lease.address));
        kernel.is_some_and(|(_, cell)| {
            let marked = cell.renewed_boot_ns();
            marked != 0 && self.clock.timeline().timestamp(marked) >= lease.granted_at
        })
    }

    pub(super) fn lease_view(&self, lease: &LeaseRecord) -> LeaseView {
        let kernel = self.keeper.kernel.as_ref().and_then(|kernel| kernel.entry(lease.address));
        let by_kernel = self.is_by_kernel(lease);
        let view = kernel.filter(|(_, cell)| cell.horizon_boot_ns() != 0).map(|(index, cell)| KernelView {
            index,
            renewals: cell.renewals(),
            forms: [(Form::Direct, "direct"), (Form::Relayed, "relayed")]
                .into_iter()
                .filter(|(form, _)| cell.fingerprint(*form) != 0)
                .map(|(_, name)| name.to_owned())
                .collect(),
        });
        let leaving = self.keeper.core.engine.leases().leaving(lease.address).is_some();
        LeaseView::new(lease, leaving, self.clock.now(), by_kernel, view)
    }

    pub(super) fn stats(&self) -> StatsView {
        let kernel = self.keeper.kernel.as_ref().and_then(|kernel| {
            let mut counters = kernel
                .counters()
                .inspect_err(|error| tracing::warn!(%error, "the kernel's counters cannot be read"))
                .ok()?;
            counters.add(&self.counts.kernel);
            Some(KernelStats {
                answered: counters.answered,
                reasons: Reason::ALL
                    .iter()
                    .filter(|&&reason| reason != Reason::Answered && counters.get(reason) != 0)
                    .map(|&reason| (reason.as_str().to_owned(), counters.get(reason)))
                    .collect(),
                limits: self.keeper.core.engine.config().limits.into(),
                interfaces: self.modes.clone(),
                answers: self.keeper.core.learner.answers.len() as u64,
                answers_max: self.keeper.core.learner.answers.max().into(),
                lease_slots: kernel.layout().leases().into(),
                authority_secs: self.authority.as_secs(),
                authority_remaining_secs: kernel
                    .authority_until_boot_ns()
                    .saturating_sub(clock::boot_ns())
                    .div_ceil(1_000_000_000),
                horizons_moved: self.keeper.horizons_moved,
            })
        });
        let pressure = self.keeper.core.engine.pressure();
        let messages: BTreeMap<_, _> = self.keeper.core.messages().filter(|(_, count)| *count != 0).collect();
        let acks = messages.iter().filter(|(reason, _)| is_ack(**reason)).map(|(_, count)| count).sum();
        let counts = self.keeper.core.engine.leases().counts();
        let leases = [("bound", counts.bound), ("free", counts.free), ("quarantined", counts.quarantined)];
        let leases = leases.into_iter().filter(|(_, count)| *count != 0);
        let leases = leases.map(|(state, count)| (state.to_owned(), count)).collect();
        StatsView {
            kernel,
            daemon: DaemonStats {
                acks,
                messages: messages
                    .into_iter()
                    .map(|(reason, count)| (reason.as_str().to_owned(), count))
                    .collect(),
                frames: self.keeper.core.frames.by_name(),
                queue_drops: self.inbox.full(),
                queue_gave_way: self.inbox.gave_way(),
                send_errors: self.outbox.refused(),
                store_refusals: self.keeper.store_refusals,
                commits: self.keeper.commits,
                unpublishable: self.keeper.core.learner.unpublishable,
                offers: self.keeper.core.engine.offers_len() as u64,
                offers_gave_way: pressure.offers_gave_way,
                quarantines_cut_short: pressure.quarantines_cut_short,
            },
            leases,
            probes: self.keeper.core.engine.config().conflict_detection.map(|_| ProbeStats {
                engine: self.keeper.core.engine.probe_counts(),
                send_errors: self.counts.probe_send_errors,
            }),
            audit: self.journal.as_ref().map(Journal::counts),
        }
    }
}

const fn is_ack(reason: SlowReason) -> bool {
    matches!(
        reason,
        SlowReason::AckedRapid
            | SlowReason::AckedNew
            | SlowReason::AckedReboot
            | SlowReason::AckedRenewal
            | SlowReason::AckedRebinding
            | SlowReason::AckedRecreated
            | SlowReason::AckedInform
    )
}
