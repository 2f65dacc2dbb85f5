//! Fuzz targets as plain functions: octets in, a panic if a promise does not hold. `cargo xtask fuzz` drives them by
//! coverage; a plain `cargo test` replays the corpora and every crash ever found.
//!
//! A new target is a function in `targets` and a line in [`Target::ALL`]; its corpus is `corpus/NAME/`.

pub mod api_world;
pub mod input;
pub mod requests;
pub mod seeds;
pub mod server;
pub mod store_files;
pub mod targets;

use std::path::{Path, PathBuf};

/// The longest input any target is given, in octets.
pub const INPUT_BYTES_MAX: usize = 4096;

/// One thing that takes octets from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line, and of its corpus.
    pub name: &'static str,
    /// Takes one input.
    pub run: fn(&[u8]),
    /// Inputs to begin with, beside those in the corpus.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 6] = [
        Self { name: "frame", run: targets::frame::run, seeds: seeds::frames },
        Self { name: "engine", run: targets::engine::run, seeds: seeds::histories },
        Self { name: "config", run: targets::config::run, seeds: seeds::configurations },
        Self { name: "store", run: targets::store::run, seeds: seeds::stores },
        Self { name: "api", run: targets::api::run, seeds: requests::all },
        Self { name: "sync", run: targets::sync::run, seeds: seeds::words_of_nodes },
    ];

    /// The target of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name == name)
    }

    /// Where its corpus is; inputs that once made it fail are there too, named `crash-*`.
    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }
}
