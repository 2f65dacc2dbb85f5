//! libFuzzer around the target that `FUZZ_TARGET` names. `cargo xtask fuzz` builds it with coverage and runs it.

#![no_main]

use std::sync::OnceLock;

use dhcp_fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(|octets: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        Target::named(&name).unwrap_or_else(|| panic!("FUZZ_TARGET={name:?} is no target"))
    });
    (target.run)(octets);
});
