//! What the kernel's verifier makes of the program: a budget, so that it loads on older kernels and slower machines too.
//! What is off is pruned as dead code, so the program is looked at with every limit on.

use dhcp_common::limit::Limits;
use dhcp_tests::oracle::lab::Lab;

/// The most instructions the verifier may look at for `renew`, its way up unlimited; its own limit is a million.
const VERIFIED_INSTRUCTIONS_MAX: u32 = 8_000;
/// And for the functions that limit what goes up, each of which it looks at once and on its own.
const LIMITS_INSTRUCTIONS_MAX: u32 = 1_000;

#[test]
fn the_program_stays_within_the_verifiers_budget() {
    let on = Limits::new((5, 30), (10_000, 10_000), (20_000, 10_000));
    let with_limits = VERIFIED_INSTRUCTIONS_MAX + LIMITS_INSTRUCTIONS_MAX;
    for (limits, what, most) in
        [(Limits::OFF, "without limits", VERIFIED_INSTRUCTIONS_MAX), (on, "with limits", with_limits)]
    {
        let lab = Lab::with_limits(limits).unwrap();
        for port in 0..2 {
            let verified =
                lab.world.kernel.verified_instructions(port).unwrap().expect("Linux 5.16 or newer");
            println!("port {port} {what}: {verified} verified instructions");
            assert!(verified > 0 && verified <= most, "{verified} verified instructions {what}");
        }
    }
}
