//! What the kernel says of the programs when it has loaded them.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{EbpfLoader, programs::Xdp};
use dhcp_common::{abi::name, limit::Limits};

use super::{baseline::Counts, subject::INTERFACE};

/// Loads every program of the object at `path`, with limits and without, and counts instructions and octets. Nothing is
/// attached or pinned.
///
/// # Errors
///
/// When the kernel refuses.
pub fn count(path: &Path) -> Result<Counts> {
    let octets = std::fs::read(path)
        .with_context(|| format!("cannot read {}: run `cargo xtask build`", path.display()))?;
    let on = Limits::new((5, 30), (10_000, 10_000), (20_000, 10_000));
    let mut counts = Counts::new();
    for (suffix, limits, programs) in [
        ("", Limits::OFF, &[name::PROGRAM, name::PROGRAM_PASS, name::PROGRAM_REFLECT][..]),
        ("_limited", on, &[name::PROGRAM][..]),
    ] {
        // As large as the largest table of blocks is, so that no constant is one by chance.
        let slots = 1_u32 << 10;
        let mut object = EbpfLoader::new()
            .map_max_entries(name::LEASES, 1 << 16)
            .map_max_entries(name::BLOCKS, slots)
            .map_max_entries(name::ANSWERS, 1 << 10)
            .override_global("INTERFACE_NUMBER", &1_u32, true)
            .override_global("INTERFACE_MAC", &INTERFACE.mac_word(), true)
            .override_global("BLOCK_SLOTS", &slots, true)
            .override_global("LIMITS", &limits, true)
            .override_global("AYA_LOG_LEVEL", &0_u8, true)
            .load(&octets)
            .with_context(|| format!("cannot load {}", path.display()))?;
        for &program in programs {
            let xdp: &mut Xdp =
                object.program_mut(program).with_context(|| format!("no program {program}"))?.try_into()?;
            xdp.load().with_context(|| format!("the kernel refuses {program}"))?;
            let info = xdp.info()?;
            let mut put = |what: &str, count: u32| {
                counts.insert(format!("program.{program}{suffix}.{what}"), count.into());
            };
            put("verified_instructions", info.verified_instruction_count().unwrap_or(0));
            put("translated_octets", info.size_translated().unwrap_or(0));
            put("machine_code_octets", info.size_jitted());
        }
    }
    Ok(counts)
}
