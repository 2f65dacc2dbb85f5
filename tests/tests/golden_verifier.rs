//! What the kernel's verifier makes of the program: a budget, so that it loads on older kernels and slower machines too.

use dhcp_tests::oracle::lab::Lab;

/// The most instructions the verifier may look at for `renew`; its own limit is a million.
const VERIFIED_INSTRUCTIONS_MAX: u32 = 5_000;

#[test]
fn the_program_stays_within_the_verifiers_budget() {
    let lab = Lab::new().unwrap();
    for port in 0..2 {
        let verified = lab.world.kernel.verified_instructions(port).unwrap().expect("Linux 5.16 or newer");
        println!("port {port}: {verified} verified instructions");
        assert!(verified > 0 && verified <= VERIFIED_INSTRUCTIONS_MAX, "{verified} verified instructions");
    }
}
