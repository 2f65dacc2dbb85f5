//! The instructions (RFC 9669), one after the other.

use std::sync::Arc;

use super::{
    Fault, helper,
    memory::{CONTEXT, FRAME_OCTETS, FRAMES_MAX, Memory, STACK},
};

/// Added to a map's number where a program holds a map and not one of its values.
const MAP_HANDLE: u64 = 0xffff_0000_0000_0000;
/// More instructions than any way of ours has.
const EXECUTED_MAX: u64 = 1 << 20;

/// What stands for map `number` in a register.
pub const fn handle_of(number: u64) -> u64 {
    MAP_HANDLE | number
}

/// The number of the map a register stands for.
pub const fn map_of(handle: u64) -> u64 {
    handle ^ MAP_HANDLE
}

/// One instruction, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u8,
    /// The register it is done to.
    pub dst: u8,
    /// The register it is done with.
    pub src: u8,
    /// Of an address, or of a jump.
    pub offset: i16,
    /// A number, sign-extended; of the instruction that loads 64 bits all of them.
    pub value: i64,
}

/// A program that is ready to run, and its memory.
#[derive(Clone, Debug)]
pub struct Machine {
    program: Arc<[Instruction]>,
    /// Packet, stack and maps: what a run leaves in maps the next one finds.
    pub memory: Memory,
    /// What the clocks show, nanoseconds.
    pub now_ns: u64,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The XDP action.
    pub action: u32,
    /// Instructions executed.
    pub executed: u64,
    /// Calls of helpers among them. The kernel puts look-ups in arrays and readings of fields in place of some.
    pub helpers: u64,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

struct Caller {
    next: i64,
    saved: [u64; 4],
}

impl Machine {
    /// A machine for `program` over `memory`.
    pub fn new(program: Arc<[Instruction]>, memory: Memory) -> Self {
        Self { program, memory, now_ns: 1_000_000_000 }
    }

    /// Runs the program on a frame.
    ///
    /// # Errors
    /// What the kernel's verifier would not have let pass, or what this machine does not know.
    pub fn run(&mut self, frame: &[u8]) -> Result<Run, Fault> {
        if !self.memory.set_frame(frame) {
            return Err(Fault::Memory { at: super::memory::PACKET, octets: frame.len() });
        }
        let program = Arc::clone(&self.program);
        let mut registers = Registers([0; 11]);
        registers.0[1] = CONTEXT;
        registers.0[10] = STACK + FRAME_OCTETS;
        let mut callers: Vec<Caller> = Vec::new();
        let (mut next, mut executed, mut helpers) = (0_i64, 0, 0);
        loop {
            let at = usize::try_from(next).map_err(|_| Fault::NoInstruction(next))?;
            let instruction = program.get(at).ok_or(Fault::NoInstruction(next))?;
            executed += 1;
            if executed > EXECUTED_MAX {
                return Err(Fault::Endless(EXECUTED_MAX));
            }
            next += 1;
            match instruction.code {
                0x95 => {
                    let Some(caller) = callers.pop() else {
                        return Ok(Run {
                            action: registers.0[0] as u32,
                            executed,
                            helpers,
                            frame: self.memory.frame().to_vec(),
                        });
                    };
                    next = caller.next;
                    registers.0[6..10].copy_from_slice(&caller.saved);
                    registers.0[10] -= FRAME_OCTETS;
                }
                0x85 if instruction.src == 1 => {
                    if callers.len() + 1 >= FRAMES_MAX {
                        return Err(Fault::Deep(FRAMES_MAX));
                    }
                    let mut saved = [0; 4];
                    saved.copy_from_slice(&registers.0[6..10]);
                    callers.push(Caller { next, saved });
                    next += instruction.value;
                    registers.0[10] += FRAME_OCTETS;
                }
                0x85 => {
                    helpers += 1;
                    let mut args = [0; 5];
                    args.copy_from_slice(&registers.0[1..6]);
                    registers.0[0] =
                        helper::call(instruction.value as i32, args, &mut self.memory, self.now_ns)?;
                }
                _ => next += self.step(instruction, &mut registers, at)?,
            }
        }
    }

    /// Everything but calls and returns; by how many instructions to jump.
    fn step(&mut self, one: &Instruction, registers: &mut Registers, at: usize) -> Result<i64, Fault> {
        let unknown = Fault::Unknown { at, code: one.code };
        let (dst, src) = (registers.get(one.dst), registers.get(one.src));
        let by_register = one.code & 0x08 != 0;
        let operand = if by_register { src } else { one.value as u64 };
        match one.code & 0x07 {
            // LD: only the one that loads 64 bits.
            0 if one.code == 0x18 => {
                let value = match one.src {
                    0 => one.value as u64,
                    1 => handle_of(one.value as u64),
                    2 => {
                        let map = one.value as u64 & 0xffff_ffff;
                        self.memory.value(map, 0)?.ok_or(Fault::NoMap(map))? + (one.value as u64 >> 32)
                    }
                    _ => return Err(unknown),
                };
                registers.set(one.dst, value);
                // The second half, which is no instruction.
                return Ok(1);
            }
            1 if one.code & 0xe0 == 0x60 => {
                let value = self.memory.load(src.wrapping_add_signed(one.offset.into()), width(one.code))?;
                registers.set(one.dst, value);
            }
            2 | 3 if one.code & 0xe0 == 0x60 => {
                let value = if one.code & 0x07 == 3 { src } else { one.value as u64 };
                self.memory.store(dst.wrapping_add_signed(one.offset.into()), width(one.code), value)?;
            }
            class @ (4 | 7) => {
                let wide = class == 7;
                let value = if one.code & 0xf0 == 0xd0 {
                    swapped(one, dst).ok_or(unknown)?
                } else {
                    arithmetic(one, dst, operand, wide).ok_or(unknown)?
                };
                registers.set(one.dst, value);
            }
            class @ (5 | 6) => {
                if one.code & 0xf0 == 0 {
                    return Ok(if class == 6 { one.value } else { one.offset.into() });
                }
                let (a, b) =
                    if class == 5 { (dst, operand) } else { (dst & 0xffff_ffff, operand & 0xffff_ffff) };
                let (sa, sb) = if class == 5 {
                    (a as i64, b as i64)
                } else {
                    (i64::from(a as i32), i64::from(b as i32))
                };
                let jumps = match one.code & 0xf0 {
                    0x10 => a == b,
                    0x20 => a > b,
                    0x30 => a >= b,
                    0x40 => a & b != 0,
                    0x50 => a != b,
                    0x60 => sa > sb,
                    0x70 => sa >= sb,
                    0xa0 => a < b,
                    0xb0 => a <= b,
                    0xc0 => sa < sb,
                    0xd0 => sa <= sb,
                    _ => return Err(unknown),
                };
                return Ok(if jumps { one.offset.into() } else { 0 });
            }
            _ => return Err(unknown),
        }
        Ok(0)
    }
}

struct Registers([u64; 11]);

impl Registers {
    fn get(&self, number: u8) -> u64 {
        self.0.get(usize::from(number)).copied().unwrap_or(0)
    }

    fn set(&mut self, number: u8, value: u64) {
        if let Some(register) = self.0.get_mut(usize::from(number)) {
            *register = value;
        }
    }
}

const fn width(code: u8) -> usize {
    match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

/// Byte order: to little-endian cuts, to big-endian swaps; the unconditional swap swaps.
fn swapped(one: &Instruction, value: u64) -> Option<u64> {
    let swaps = one.code & 0x07 == 7 || one.code & 0x08 != 0;
    match (one.value, swaps) {
        (16, false) => Some(value & 0xffff),
        (32, false) => Some(value & 0xffff_ffff),
        (64, false) => Some(value),
        (16, true) => Some(u64::from((value as u16).swap_bytes())),
        (32, true) => Some(u64::from((value as u32).swap_bytes())),
        (64, true) => Some(value.swap_bytes()),
        _ => None,
    }
}

fn arithmetic(one: &Instruction, a: u64, b: u64, wide: bool) -> Option<u64> {
    // Moves with sign extension and signed division carry an offset.
    if one.offset != 0 {
        return match (one.code & 0xf0, one.offset) {
            (0xb0, 8) => Some(i64::from(b as i8) as u64),
            (0xb0, 16) => Some(i64::from(b as i16) as u64),
            (0xb0, 32) => Some(i64::from(b as i32) as u64),
            _ => None,
        }
        .map(|value| if wide { value } else { value & 0xffff_ffff });
    }
    let (a, b) = if wide { (a, b) } else { (a & 0xffff_ffff, b & 0xffff_ffff) };
    let shift = b as u32 & if wide { 63 } else { 31 };
    let value = match one.code & 0xf0 {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        0x30 => a.checked_div(b).unwrap_or(0),
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a << shift,
        0x70 => a >> shift,
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(b).unwrap_or(a),
        0xa0 => a ^ b,
        0xb0 => b,
        0xc0 if wide => (a as i64 >> shift) as u64,
        0xc0 => u64::from((a as i32 >> shift) as u32),
        _ => return None,
    };
    Some(if wide { value } else { value & 0xffff_ffff })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::memory::Array;

    const fn one(code: u8, dst: u8, src: u8, offset: i16, value: i64) -> Instruction {
        Instruction { code, dst, src, offset, value }
    }

    fn run(program: &[Instruction]) -> Result<Run, Fault> {
        let memory = Memory::new(vec![Array { value_octets: 12, entries: 2 }]).unwrap();
        Machine::new(program.into(), memory).run(&[7; 60])
    }

    #[test]
    fn counts_what_it_executes() {
        // r0 = 5; loop: r0 -= 1; if r0 != 2 goto loop; exit
        let run = run(&[
            one(0xb7, 0, 0, 0, 5),
            one(0x17, 0, 0, 0, 1),
            one(0x55, 0, 0, -2, 2),
            one(0x95, 0, 0, 0, 0),
        ])
        .unwrap();
        assert_eq!((run.action, run.executed, run.helpers), (2, 1 + 3 * 2 + 1, 0));
    }

    #[test]
    fn a_frame_ends_where_it_ends() {
        let octet = |offset| run(&[one(0x61, 2, 1, 0, 0), one(0x71, 0, 2, offset, 0), one(0x95, 0, 0, 0, 0)]);
        assert_eq!(octet(59).unwrap().action, 7);
        assert!(matches!(octet(60), Err(Fault::Memory { octets: 1, .. })));
        assert!(matches!(octet(-1), Err(Fault::Memory { octets: 1, .. })));
    }

    #[test]
    fn functions_have_stacks_and_keep_registers() {
        // r6 = 3; call +1; r0 += r6; exit; function: r6 = 9; *(r10 - 8) = 4; r0 = *(r10 - 8); exit
        let run = run(&[
            one(0xb7, 6, 0, 0, 3),
            one(0x85, 0, 1, 0, 2),
            one(0x0f, 0, 6, 0, 0),
            one(0x95, 0, 0, 0, 0),
            one(0xb7, 6, 0, 0, 9),
            one(0x7a, 10, 0, -8, 4),
            one(0x79, 0, 10, -8, 0),
            one(0x95, 0, 0, 0, 0),
        ])
        .unwrap();
        assert_eq!((run.action, run.executed), (7, 8));
    }

    #[test]
    fn maps_end_too_and_what_is_unknown_is_said() {
        // r0 = map_lookup_elem(map 0, index)
        let lookup = |index| {
            run(&[
                one(0x62, 10, 0, -4, index),
                one(0xbf, 2, 10, 0, 0),
                one(0x07, 2, 0, 0, -4),
                one(0x18, 1, 1, 0, 0),
                one(0, 0, 0, 0, 0),
                one(0x85, 0, 0, 0, 1),
                one(0x95, 0, 0, 0, 0),
            ])
            .unwrap()
            .action
        };
        assert_eq!(lookup(1) - lookup(0), 16);
        assert_eq!(lookup(2), 0);
        assert_eq!(run(&[one(0x85, 0, 0, 0, 999)]), Err(Fault::Helper(999)));
        assert_eq!(run(&[one(0xdb, 0, 0, 0, 0)]), Err(Fault::Unknown { at: 0, code: 0xdb }));
        assert_eq!(run(&[one(0x05, 0, 0, -1, 0)]), Err(Fault::Endless(EXECUTED_MAX)));
    }
}
