//! What the running kernel can do, and what it lets this process do.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use xtask::xdp_pass;

use super::{Finding, State};
use crate::{ebpf::rustc::Version, process};

/// `bpf_link` for XDP, by which the program stays attached when the daemon ends.
const LINK: Version = Version([5, 9, 0]);

/// `bpf_xdp_store_bytes`, by which an answer is written.
const STORE_BYTES: Version = Version([5, 18, 0]);

/// Everything about the kernel and our rights.
pub fn findings() -> Vec<Finding> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut found = vec![version(release), load(), jit(), btf(), bpffs()];
    let config = config(release);
    found.extend(options(config.as_ref()));
    found.push(rights(&fs::read_to_string("/proc/self/status").unwrap_or_default()));
    found
}

fn version(release: &str) -> Finding {
    let fault = |state, why: &str| {
        Finding::fault(
            state,
            "kernel",
            "version",
            format!("{release}: {why}"),
            "upgrade to Linux 5.18 or newer",
        )
    };
    match Version::parse(release) {
        None => fault(State::Warning, "no version that can be read"),
        Some(version) if version < LINK => fault(State::Missing, "XDP cannot be attached by bpf_link (5.9)"),
        Some(version) if version < STORE_BYTES => {
            fault(State::Missing, "bpf_xdp_store_bytes is missing (5.18)")
        }
        Some(_) => Finding::ok("kernel", "version", release),
    }
}

fn load() -> Finding {
    match xdp_pass::can_load() {
        Ok(()) => Finding::ok("kernel", "bpf system call", "an XDP program loads"),
        Err(error) => {
            let reason = match &error {
                xdp_pass::Error::Load(reason) | xdp_pass::Error::Attach(reason) => reason,
            };
            let (state, fix) = match reason.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => (State::Warning, "run as root: sudo cargo xtask doctor"),
                Some(libc::ENOSYS) => (State::Missing, "use a kernel built with CONFIG_BPF_SYSCALL"),
                _ => (State::Missing, "see dmesg; a container may filter bpf(2)"),
            };
            Finding::fault(state, "kernel", "bpf system call", format!("no XDP program loads: {reason}"), fix)
        }
    }
}

fn jit() -> Finding {
    let path = "/proc/sys/net/core/bpf_jit_enable";
    match fs::read_to_string(path).as_deref().map(str::trim) {
        Ok("0") => Finding::fault(
            State::Warning,
            "kernel",
            "BPF JIT",
            "off: the program is interpreted, many times slower",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        Ok(_) => Finding::ok("kernel", "BPF JIT", "on"),
        Err(error) => Finding::fault(
            State::Warning,
            "kernel",
            "BPF JIT",
            format!("{path} cannot be read: {error}"),
            "run as root, or in the host's network namespace",
        ),
    }
}

fn btf() -> Finding {
    let path = "/sys/kernel/btf/vmlinux";
    if Path::new(path).exists() {
        Finding::ok("kernel", "BTF", path)
    } else {
        let fix = "use a kernel built with CONFIG_DEBUG_INFO_BTF (Debian's are), or bpftool shows maps as raw octets";
        Finding::fault(State::Warning, "kernel", "BTF", format!("{path} is not there"), fix)
    }
}

fn bpffs() -> Finding {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some("/sys/fs/bpf") && words.next() == Some("bpf")
    });
    if mounted {
        Finding::ok("kernel", "BPF file system", "/sys/fs/bpf")
    } else {
        let fix = "mount -t bpf bpf /sys/fs/bpf";
        Finding::fault(State::Missing, "kernel", "BPF file system", "not mounted at /sys/fs/bpf", fix)
    }
}

/// The kernel's configuration, where it is readable.
fn config(release: &str) -> Option<BTreeMap<String, String>> {
    let text = fs::read_to_string(format!("/boot/config-{release}"))
        .ok()
        .or_else(|| process::stdout(Command::new("zcat").arg("/proc/config.gz")).ok())?;
    let set = text.lines().filter_map(|line| line.split_once('='));
    Some(set.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn options(config: Option<&BTreeMap<String, String>>) -> Vec<Finding> {
    let Some(config) = config else {
        let fix = "look for CONFIG_VLAN_8021Q and CONFIG_VETH where your distribution keeps it";
        return vec![Finding::fault(State::Warning, "kernel", "configuration", "not readable here", fix)];
    };
    [
        (
            "VLAN interfaces",
            "CONFIG_VLAN_8021Q",
            "tagged renewals are answered in the XDP program, but a VLAN interface cannot be made",
        ),
        ("veth", "CONFIG_VETH", "the lab and the end-to-end tests need it"),
    ]
    .map(|(name, key, why)| match config.get(key).map(String::as_str) {
        Some("y" | "m") => Finding::ok("kernel", name, key),
        _ => Finding::fault(
            State::Warning,
            "kernel",
            name,
            format!("not built in: {why}"),
            format!("use a kernel with {key}"),
        ),
    })
    .into()
}

/// The capabilities running takes, by bit.
const RIGHTS: [(u32, &str); 3] = [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (39, "CAP_BPF")];

/// `CAP_SYS_ADMIN` implies `CAP_BPF`.
const SYS_ADMIN: u32 = 21;

fn rights(status: &str) -> Finding {
    let bits =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    let Some(bits) = bits else {
        return Finding::fault(
            State::Warning,
            "rights",
            "capabilities",
            "/proc/self/status names none",
            "mount /proc",
        );
    };
    let has = |bit: u32| bits & (1 << bit) != 0 || (bit == 39 && bits & (1 << SYS_ADMIN) != 0);
    let lacking: Vec<&str> = RIGHTS.iter().filter(|(bit, _)| !has(*bit)).map(|(_, name)| *name).collect();
    if lacking.is_empty() {
        return Finding::ok("rights", "capabilities", RIGHTS.map(|(_, name)| name).join(" "));
    }
    let fix = match process::which("sudo") {
        Some(_) => "none needed: `cargo xtask run` asks for root through sudo",
        None => "run as root, or install sudo",
    };
    Finding::fault(State::Warning, "rights", "capabilities", format!("without {}", lacking.join(" ")), fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_told_what_they_lack() {
        assert_eq!(version("6.1.0-40-amd64").state, State::Ok);
        assert_eq!(version("5.18.0").state, State::Ok);
        assert!(version("5.10.0-30-amd64").found.contains("store_bytes"));
        assert!(version("5.4.0").found.contains("bpf_link"));
        assert_eq!(version("").state, State::Warning);
    }

    #[test]
    fn rights_are_read_from_the_bits() {
        assert_eq!(rights("CapEff:\t000001ffffffffff\n").state, State::Ok);
        // CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW, as on kernels before CAP_BPF.
        assert_eq!(rights("CapEff:\t0000000000203000\n").state, State::Ok);
        assert_eq!(rights("CapEff:\t0000000000000000\n").found, "without CAP_NET_ADMIN CAP_NET_RAW CAP_BPF");
    }

    #[test]
    fn options_that_are_not_set_are_named() {
        let config = BTreeMap::from([("CONFIG_VETH".to_owned(), "m".to_owned())]);
        let states: Vec<State> = options(Some(&config)).iter().map(|finding| finding.state).collect();
        assert_eq!(states, [State::Warning, State::Ok]);
        assert_eq!(options(None).len(), 1);
    }
}
