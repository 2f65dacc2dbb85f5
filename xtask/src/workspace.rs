//! Where things are: the workspace's root, its target directory and the cargo that started us.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::process;

/// Name of the daemon's binary.
pub const DAEMON: &str = "simple-dhcpd-datacenter";

/// The project as found on this machine.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The directory of the root Cargo.toml.
    pub root: PathBuf,
    /// Cargo's target directory: `CARGO_TARGET_DIR` and cargo's configuration are honoured.
    pub target: PathBuf,
}

impl Workspace {
    /// Asks cargo where the workspace of this xtask and its target directory are.
    ///
    /// # Errors
    ///
    /// When cargo cannot be run or cannot read the manifest.
    pub fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let text = process::stdout(
            Command::new(cargo())
                .args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"])
                .arg(&manifest),
        )?;
        let metadata: serde_json::Value =
            serde_json::from_str(&text).context("cargo metadata printed something that is not JSON")?;
        let path = |key: &str| {
            metadata.get(key).and_then(serde_json::Value::as_str).map(PathBuf::from).with_context(|| {
                format!("cargo metadata for {} gives no {key}; is cargo older than 1.95?", manifest.display())
            })
        };
        Ok(Self { root: path("workspace_root")?, target: path("target_directory")? })
    }

    /// The XDP object the daemon carries; `dhcp-user/build.rs` looks for it at this place.
    pub fn ebpf_object(&self) -> PathBuf {
        self.target.join("ebpf/dhcp-ebpf.o")
    }

    /// The XDP object of the benchmarks.
    pub fn ebpf_bench_object(&self) -> PathBuf {
        self.target.join("ebpf/dhcp-ebpf-bench.o")
    }

    /// The XDP object of the load generator.
    pub fn ebpf_load_object(&self) -> PathBuf {
        self.target.join("ebpf/dhcp-ebpf-load.o")
    }

    /// Tools built for this project only, so that nothing is installed into the user's home.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The daemon's binary of a profile.
    pub fn daemon(&self, release: bool) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" }).join(DAEMON)
    }

    /// A `cargo` of the host toolchain, started in the workspace's root.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(cargo());
        command.current_dir(&self.root);
        // What cargo told this xtask of its own package must not reach other packages' build scripts: one (ring's) is then run
        // again, and all that depends on it compiled again, each time that cargo is started by hand and by xtask in turn.
        let told = env::vars_os().map(|(name, _)| name).filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        for name in told {
            command.env_remove(name);
        }
        command
    }

    /// Builds the daemon; the XDP object must be there already.
    ///
    /// # Errors
    ///
    /// When cargo fails; it has said why.
    pub fn build_daemon(&self, release: bool) -> Result<()> {
        let mut command = self.cargo();
        // With the features that its dependencies have beside the tests, so that nothing is compiled twice.
        let packages = ["--package", "dhcp-user", "--package", "dhcp-tests"];
        command.args(["build", "--locked"]).args(packages).args(["--bin", DAEMON]);
        if release {
            command.arg("--release");
        }
        process::run(&mut command)
    }
}

/// The cargo that runs this xtask, so that rustup's choice of toolchain holds for what we start.
pub fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}
