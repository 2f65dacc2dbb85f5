//! Instructions that frames take through the XDP program.
//!
//! Counted is the object as it was built. The kernel leaves out what its constants rule out (limits that are off, log
//! messages), puts two or three instructions in the place of reading a field of the context, and a handful in that of
//! looking an array up: its own count differs, but moves with this one.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use dhcp_common::{abi::name, limit::Limits};

use super::{
    baseline::Counts,
    subject::{BOOT_NS, INTERFACE, Style, Subject},
};
use crate::{
    bpf::{Machine, Object},
    packet::Frame,
};

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// Counts them for every way that matters, with the object at `path`.
///
/// # Errors
///
/// When the program does not do what is to be counted.
pub fn count(path: &Path) -> Result<Counts> {
    let mut subject = Subject::new(BOOT_NS)?;
    let (plain, with_id, relayed) = (Style::Plain, Style::ClientId, Style::Relayed);
    let addresses = [subject.join(1, plain)?, subject.join(2, with_id)?, subject.join(3, relayed)?];
    let [first, second, third] = addresses;

    let mut machine = machine(path, &subject, &addresses, Limits::OFF)?;
    let mut limited = self::machine(path, &subject, &addresses, limits())?;
    let tcp = Frame::request(3, [6, 0, 0, 0, 0, 1]).ip_protocol(6).build();
    let udp = Frame::request(3, [6, 0, 0, 0, 0, 1]).dst_port(53).build();
    let discover = Subject::discover(9, plain);
    let unknown = Subject::renewal(9, plain, first);
    let mut counts = Counts::new();
    let mut of = |machine: &mut Machine, name: &str, frame: &[u8], action: u32| -> Result<()> {
        let run = machine.run(frame).with_context(|| name.to_owned())?;
        ensure!(run.action == action, "{name}: the program returned {}, not {action}", run.action);
        counts.insert(format!("executed.{name}"), run.executed);
        counts.insert(format!("helpers.{name}"), run.helpers);
        Ok(())
    };
    of(&mut machine, "renewal", &Subject::renewal(1, plain, first), XDP_TX)?;
    of(&mut machine, "renewal_option_61", &Subject::renewal(2, with_id, second), XDP_TX)?;
    of(&mut machine, "renewal_relayed_options_61_82", &Subject::renewal(3, relayed, third), XDP_TX)?;
    of(&mut machine, "tcp", &tcp, XDP_PASS)?;
    of(&mut machine, "udp_other_port", &udp, XDP_PASS)?;
    of(&mut machine, "discover_unlimited", &discover, XDP_PASS)?;
    of(&mut limited, "discover_limited", &discover, XDP_PASS)?;
    of(&mut limited, "renewal_of_another_client_limited", &unknown, XDP_PASS)?;
    Ok(counts)
}

/// Limits that let one frame of each kind through.
fn limits() -> Limits {
    Limits::new((5, 30), (10_000, 10_000), (20_000, 10_000))
}

/// A machine for the program over the maps the daemon would have filled.
///
/// # Errors
///
/// When the object is not what it should be.
pub fn machine(
    path: &Path,
    subject: &Subject,
    addresses: &[std::net::Ipv4Addr],
    limits: Limits,
) -> Result<Machine> {
    let table = subject.layout.table();
    let slots = u32::try_from(table.len())?;
    let globals: [(&str, &[u8]); 5] = [
        ("INTERFACE_NUMBER", &INTERFACE.number.to_ne_bytes()),
        ("INTERFACE_MAC", &INTERFACE.mac_word().to_ne_bytes()),
        ("BLOCK_SLOTS", &slots.to_ne_bytes()),
        ("LIMITS", octets_of(&limits)),
        ("AYA_LOG_LEVEL", &[0]),
    ];
    let answers = u32::try_from(subject.answers().count())?;
    let sizes = [(name::LEASES, subject.layout.leases()), (name::BLOCKS, slots), (name::ANSWERS, answers)];
    let mut object = Object::read(path, &globals, &sizes)?;
    for (slot, block) in (0..).zip(&table) {
        object.put(name::BLOCKS, slot, octets_of(block))?;
    }
    for (index, answer) in subject.answers() {
        object.put(name::ANSWERS, index, octets_of(answer))?;
    }
    object.put(name::CONTROL, 0, octets_of(&subject.core.learner.control))?;
    for &address in addresses {
        let index = subject.layout.index(address).context("an address that is not in the layout")?;
        let entry = subject.entry(address).context("a lease the kernel is not to know")?;
        object.put(name::LEASES, index, octets_of(&entry))?;
    }
    let mut machine = object.machine(name::PROGRAM)?;
    machine.now_ns = subject.timeline.boot_ns(subject.now);
    Ok(machine)
}

/// The octets of a map's value or a program's constant.
fn octets_of<T: aya::Pod>(value: &T) -> &[u8] {
    // SAFETY: `Pod` promises plain integers without padding, so that all octets of the value are initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use dhcp_user::server::clock;

    use super::*;
    use crate::packet::Checksum;

    /// The machine must do with a frame what the shared code on the host does, or its counts are of something else.
    #[test]
    fn the_machine_answers_as_the_host_does() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/dhcp-ebpf.o");
        let path = std::env::var_os("CARGO_TARGET_DIR")
            .map_or(path, |target| std::path::PathBuf::from(target).join("ebpf/dhcp-ebpf.o"));
        let mut subject = Subject::new(clock::boot_ns()).unwrap();
        for (client, style) in [(1, Style::Plain), (2, Style::ClientId), (3, Style::Relayed)] {
            let address = subject.join(client, style).unwrap();
            let mut machine = machine(&path, &subject, &[address], Limits::OFF).unwrap();
            let renewal = Subject::renewal(client, style, address);
            let run = machine.run(&renewal).unwrap();
            let (reason, expected) = subject.host.run_with_room(&INTERFACE, &renewal);
            assert_eq!((run.action, reason.as_str()), (XDP_TX, "answered"));
            assert_eq!(run.frame, expected, "{style:?}");

            let other =
                Subject::says(client, style, 3, |frame| frame.udp_checksum(Checksum::Wrong).op(2)).build();
            let run = machine.run(&other).unwrap();
            assert_eq!((run.action, run.frame), (XDP_PASS, other));
        }
    }
}
