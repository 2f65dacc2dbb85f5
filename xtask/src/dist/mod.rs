//! `cargo xtask dist`: what is handed to others. A Debian package ([`deb`]) of a staged tree ([`tree`]) with a bill of
//! materials, the licences looked at ([`materials`]) and the notices of others ([`notices`]); `--check` lives its whole life in a throw-away Debian with a real
//! systemd ([`check`] on a [`machine`]); `--image` builds and tries the container image ([`image`]); `--reproducible` shows that the kernel program is the same from another folder.

mod check;
mod deb;
mod image;
mod machine;
mod materials;
mod notices;
mod reproducible;
mod tree;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

pub use self::materials::licences_if_installed;

use crate::{ebpf, progress::during, workspace::Workspace};

/// What to hand over.
#[derive(Args, Clone, Debug)]
pub struct DistArgs {
    /// Install, start, upgrade, remove and purge the package in a throw-away Debian under its own systemd (takes root, the
    /// network and some minutes).
    #[arg(long)]
    pub check: bool,
    /// Build the container image by its recipe, on a Debian made here, and start its daemon (takes root, the network and some
    /// minutes).
    #[arg(long)]
    pub image: bool,
    /// Only build the kernel program twice, in two places, and compare.
    #[arg(long, conflicts_with_all = ["check", "image", "dev"])]
    pub reproducible: bool,
    /// Package the unoptimised build, to try the packaging; licences and bill of materials are left out.
    #[arg(long)]
    pub dev: bool,
    /// Package this binary instead of building one.
    #[arg(long, value_name = "FILE", conflicts_with = "dev")]
    pub daemon: Option<PathBuf>,
    /// The number after the version: what Debian calls the revision.
    #[arg(long, default_value_t = 1)]
    pub revision: u32,
}

/// Builds what is asked for below `target/dist`.
///
/// # Errors
///
/// When a part cannot be built, or a check fails.
pub fn run(workspace: &Workspace, args: &DistArgs) -> Result<()> {
    if args.reproducible {
        return reproducible::show(workspace);
    }
    let daemon = match &args.daemon {
        Some(daemon) => daemon.clone(),
        None => {
            ebpf::build(workspace)?;
            workspace.build_daemon(!args.dev)?;
            workspace.daemon(!args.dev)
        }
    };
    let notices = notices::write(workspace)?;
    let bill = if args.dev || args.daemon.is_some() {
        eprintln!("dist: the licences are not looked at and the bill of materials is left out");
        None
    } else {
        materials::licences(workspace)?;
        Some(materials::bill(workspace)?)
    };
    let made = |revision| {
        during(format!("packing revision {revision}"), || {
            deb::build(
                workspace,
                &daemon,
                revision,
                &tree::Papers { notices: &notices, bill: bill.as_deref() },
            )
        })
    };
    let package = made(args.revision)?;
    println!("{}", package.display());
    if args.check {
        // The same again under a later version: what an upgrade does depends on versions only.
        check::run(workspace, &package, &made(args.revision + 1)?)?;
    }
    if args.image {
        image::try_out(workspace, &package)?;
    }
    Ok(())
}

/// Where everything goes.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("dist")
}
