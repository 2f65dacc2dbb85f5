//! The bench-only programs, loaded over the very maps the product's program uses.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, PerCpuArray, PerCpuValues},
    programs::Xdp,
    util::nr_cpus,
};
use dhcp_common::request::Interface;
use dhcp_user::fastpath::pins::MAPS;

use super::abi::{Collected, Sequence, Template};

// SAFETY: integers without padding, any bit pattern valid.
unsafe impl aya::Pod for Sequence {}
// SAFETY: integers and an array of octets without padding, any bit pattern valid.
unsafe impl aya::Pod for Template {}
// SAFETY: integers without padding, any bit pattern valid.
unsafe impl aya::Pod for Collected {}

/// The bench-only object.
pub struct Programs {
    object: Ebpf,
    sequence: PerCpuArray<MapData, Sequence>,
    collected: PerCpuArray<MapData, Collected>,
    processors: usize,
}

impl Programs {
    /// Loads the object at `path` over the maps pinned in `set`, a folder of pins.
    ///
    /// # Errors
    ///
    /// When the object is missing or the kernel refuses it.
    pub fn load(
        path: &Path,
        set: &Path,
        interface: &Interface,
        block_slots: u32,
        templates: &[Template],
    ) -> Result<Self> {
        let octets = std::fs::read(path)
            .with_context(|| format!("cannot read {}: run `cargo xtask bench fastpath`", path.display()))?;
        let mac = interface.mac_word();
        let mut loader = EbpfLoader::new();
        loader
            .override_global("INTERFACE_NUMBER", &interface.number, true)
            .override_global("INTERFACE_MAC", &mac, true)
            .override_global("BLOCK_SLOTS", &block_slots, true)
            // As the daemon has it unless its configuration asks for messages.
            .override_global("AYA_LOG_LEVEL", &0_u8, true);
        for (map, file) in MAPS {
            loader.map_pin_path(map, set.join(file));
        }
        let mut object = loader.load(&octets).with_context(|| format!("cannot load {}", path.display()))?;
        let mut map = |name: &'static str| {
            object.take_map(name).with_context(|| format!("{} has no map {name}", path.display()))
        };
        let sequence = PerCpuArray::try_from(map("SEQUENCE")?)?;
        let collected = PerCpuArray::try_from(map("COLLECTED")?)?;
        let mut slots: Array<_, Template> = Array::try_from(map("TEMPLATES")?)?;
        for (index, template) in (0..).zip(templates) {
            slots.set(index, template, 0)?;
        }
        let names: Vec<String> = object.programs().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            program(&mut object, &name)?.load().with_context(|| format!("the kernel refuses {name}"))?;
        }
        let processors =
            nr_cpus().map_err(|(_, error)| error).context("cannot tell the number of processors")?;
        Ok(Self { object, sequence, collected, processors })
    }

    /// A program.
    ///
    /// # Errors
    ///
    /// When the object has none of that name.
    pub fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        program(&mut self.object, name)
    }

    /// Where every processor's next request comes from: each goes through the same clients, but not together with another,
    /// for a lease's line is written by its renewals.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn start(&mut self, sequence: Sequence) -> Result<()> {
        let of = |processor: u64| {
            let apart = match sequence.random {
                0 => u64::from(sequence.count) * processor / self.processors as u64,
                // Another state of the generator, and never 0 where that was not.
                _ => sequence.position.wrapping_mul(2 * processor),
            };
            Sequence { position: sequence.position.wrapping_add(apart), ..sequence }
        };
        let values = PerCpuValues::try_from((0..self.processors as u64).map(of).collect::<Vec<_>>())?;
        Ok(self.sequence.set(0, values, 0)?)
    }

    /// What came back since the last call.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn take_collected(&mut self) -> Result<Collected> {
        let total = self.collected()?;
        let values = PerCpuValues::try_from(vec![Collected::default(); self.processors])?;
        self.collected.set(0, values, 0)?;
        Ok(total)
    }

    /// What has come back.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn collected(&self) -> Result<Collected> {
        let mut total = Collected::default();
        for processor in self.collected.get(&0, 0)?.iter() {
            total.answers += processor.answers;
            total.reflected += processor.reflected;
            total.other += processor.other;
        }
        Ok(total)
    }
}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program =
        object.program_mut(name).with_context(|| format!("the bench object has no program {name}"))?;
    Ok(program.try_into()?)
}
