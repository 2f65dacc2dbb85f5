//! The object file, relocated as a loader does it, but for maps that exist only here.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use aya_obj::generated::bpf_insn;

use super::{
    machine::{Instruction, Machine},
    memory::{Array, Memory},
};

/// A call: of a helper, if its source register is 0.
const CALL: u8 = 0x85;

/// An object's programs and maps.
pub struct Object {
    programs: BTreeMap<String, Arc<[Instruction]>>,
    /// Names of the maps, by their number.
    maps: Vec<String>,
    memory: Memory,
}

impl Object {
    /// Reads the object at `path`; `globals` are put in the place of its constants, and `entries` in that of the sizes of
    /// its maps.
    ///
    /// # Errors
    ///
    /// When there is none, or not one of ours.
    pub fn read(path: &Path, globals: &[(&str, &[u8])], entries: &[(&str, u32)]) -> Result<Self> {
        let octets = std::fs::read(path)
            .with_context(|| format!("cannot read {}: run `cargo xtask build`", path.display()))?;
        let mut object = aya_obj::Object::parse(&octets)
            .with_context(|| format!("{} is no eBPF object", path.display()))?;
        let globals: HashMap<&str, (&[u8], bool)> =
            globals.iter().map(|&(name, octets)| (name, (octets, true))).collect();
        object.patch_map_data(globals)?;
        for &(name, entries) in entries {
            object
                .maps
                .get_mut(name)
                .with_context(|| format!("{} has no map {name}", path.display()))?
                .set_max_entries(entries);
        }
        let maps: BTreeMap<String, aya_obj::Map> =
            object.maps.iter().map(|(name, map)| (name.clone(), map.clone())).collect();
        let text: HashSet<usize> = object.functions.keys().map(|&(section, _)| section).collect();
        let numbered = (0..).zip(&maps).map(|(number, (name, map))| (name.as_str(), number, map));
        object.relocate_maps(numbered, &text)?;
        object.relocate_calls(&text)?;

        let arrays = maps.values().map(|map| Array {
            value_octets: map.value_size() as usize,
            entries: map.max_entries() as usize,
        });
        let memory =
            Memory::new(arrays.collect()).context("the maps are too many or too large to count with")?;
        let mut programs = BTreeMap::new();
        for (name, program) in &object.programs {
            let function =
                object.functions.get(&program.function_key()).context("a program without instructions")?;
            programs.insert(name.clone(), instructions(&function.instructions)?);
        }
        let mut this = Self { programs, maps: maps.keys().cloned().collect(), memory };
        for (name, map) in
            maps.iter().filter(|(_, map)| !map.data().is_empty() && map.symbol_index().is_none())
        {
            this.put(name, 0, map.data())?;
        }
        Ok(this)
    }

    /// Writes a value of a map.
    ///
    /// # Errors
    ///
    /// When there is no such map or value.
    pub fn put(&mut self, map: &str, index: u32, octets: &[u8]) -> Result<()> {
        let number =
            self.maps.iter().position(|name| name == map).with_context(|| format!("no map {map}"))?;
        let at = self
            .memory
            .value(number as u64, index.into())?
            .with_context(|| format!("the map {map} has no value {index}"))?;
        self.memory.octets_mut(at, octets.len())?.copy_from_slice(octets);
        Ok(())
    }

    /// A machine for a program, with maps of its own as they are now.
    ///
    /// # Errors
    ///
    /// When there is no such program.
    pub fn machine(&self, program: &str) -> Result<Machine> {
        let instructions = self.programs.get(program).with_context(|| format!("no program {program}"))?;
        Ok(Machine::new(Arc::clone(instructions), self.memory.clone()))
    }

    /// The kernel's helpers that a program calls, its functions included, by their numbers.
    ///
    /// # Errors
    ///
    /// When there is no such program.
    pub fn helpers(&self, program: &str) -> Result<BTreeSet<i64>> {
        let instructions = self.programs.get(program).with_context(|| format!("no program {program}"))?;
        Ok(instructions.iter().filter(|one| one.code == CALL && one.src == 0).map(|one| one.value).collect())
    }

    /// Names and numbers of instructions of all programs, the functions they call included.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.programs.iter().map(|(name, program)| (name.as_str(), program.len()))
    }
}

fn instructions(raw: &[bpf_insn]) -> Result<Arc<[Instruction]>> {
    let mut all = Vec::with_capacity(raw.len());
    let mut rest = raw.iter();
    while let Some(one) = rest.next() {
        let instruction = Instruction {
            code: one.code,
            dst: one.dst_reg(),
            src: one.src_reg(),
            offset: one.off,
            value: one.imm.into(),
        };
        if one.code != 0x18 {
            all.push(instruction);
            continue;
        }
        let second = rest.next().context("half an instruction of 64 bits")?;
        ensure!(second.code == 0, "an instruction of 64 bits whose second half is one of its own");
        let value = i64::from(second.imm) << 32 | i64::from(one.imm as u32);
        all.push(Instruction { value, ..instruction });
        all.push(Instruction { code: 0, dst: 0, src: 0, offset: 0, value: 0 });
    }
    Ok(all.into())
}
