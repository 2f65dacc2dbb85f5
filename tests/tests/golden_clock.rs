//! Which clock the kernel programs go by. On a machine that never slept, all of them show the same; only a look at what is
//! called tells `CLOCK_BOOTTIME`, which counts suspended time, from one that stands still meanwhile or can be set.
//! (`daemon_clocks` shows which one the daemon reads, `sim --planted clock-stops-in-sleep` what the wrong one would do.)

use std::path::{Path, PathBuf};

use dhcp_common::abi::name;
use dhcp_tests::bpf::Object;

/// Numbers of helpers (`include/uapi/linux/bpf.h`).
const KTIME_GET_BOOT_NS: i64 = 125;
const OTHER_CLOCKS: [(i64, &str); 4] =
    [(5, "ktime_get_ns"), (118, "jiffies64"), (160, "ktime_get_coarse_ns"), (208, "ktime_get_tai_ns")];

fn object() -> Object {
    let path = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    Object::read(&path.join("ebpf/dhcp-ebpf.o"), &[], &[]).expect("the object was built for the daemon")
}

#[test]
fn programs_go_by_the_boot_clock_and_no_other() {
    let object = object();
    for program in [name::PROGRAM, name::SHOWING] {
        let helpers = object.helpers(program).unwrap();
        assert!(helpers.contains(&KTIME_GET_BOOT_NS), "{program} calls {helpers:?}");
    }
    let programs: Vec<String> = object.sizes().map(|(name, _)| name.to_owned()).collect();
    for program in programs {
        let helpers = object.helpers(&program).unwrap();
        for (number, clock) in OTHER_CLOCKS {
            assert!(!helpers.contains(&number), "{program} calls {clock}");
        }
    }
}
