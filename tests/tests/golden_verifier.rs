//! What the kernel's verifier makes of the program: a budget, so that it loads on older kernels and slower machines too.
//! What is off is pruned as dead code, so the program is looked at with every limit on.

use dhcp_common::limit::Limits;
use dhcp_tests::oracle::lab::Lab;

/// The most instructions the verifier may look at for `renew`; its own limit is a million.
const VERIFIED_INSTRUCTIONS_MAX: u32 = 5_000;

#[test]
fn the_program_stays_within_the_verifiers_budget() {
    let on = Limits::new((5, 30), (10_000, 10_000), (20_000, 10_000));
    for (limits, what) in [(Limits::OFF, "without limits"), (on, "with limits")] {
        let lab = Lab::with_limits(limits).unwrap();
        for port in 0..2 {
            let verified = lab.world.kernel.verified_instructions(port).unwrap().expect("Linux 5.16 or newer");
            println!("port {port} {what}: {verified} verified instructions");
            assert!(
                verified > 0 && verified <= VERIFIED_INSTRUCTIONS_MAX,
                "{verified} verified instructions {what}"
            );
        }
    }
}
