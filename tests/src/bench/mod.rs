//! `cargo xtask bench fastpath`: what one frame costs in the kernel program, and how many renewals a second it answers.
//!
//! * [`world`]: the product's own maps and programs, filled with a million leases, and the bench-only programs beside.
//! * [`cost`]: nanoseconds per frame by `BPF_PROG_TEST_RUN`.
//! * [`traffic`]: renewals per second over veth.
//! * [`report`]: the figures as a table and as JSON; [`machine`]: what they were measured on.
//! * [`overload`]: `cargo xtask bench overload`. [`gate`]: `cargo xtask bench gate`.
//! * [`catch_up`]: a node is told a million leases, for `cargo xtask bench sync`; [`leases`]: what these are like.
//! * [`teach`]: for `cargo xtask bench sync`.
//! * [`scale`]: `cargo xtask bench scale`. [`charts`]: `cargo xtask bench charts`.
//! * [`abi`]: what the bench-only programs share with this side.

pub mod abi;
pub mod catch_up;
pub mod charts;
pub mod cost;
pub mod gate;
pub mod leases;
pub mod machine;
pub mod overload;
pub mod programs;
pub mod report;
pub mod request;
pub mod scale;
pub mod teach;
pub mod traffic;
pub mod world;

/// The middle one of several figures; the lower of two middle ones. 0 of none.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
