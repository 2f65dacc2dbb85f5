//! `pki`: an authority for the nodes, and what each node needs of it.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Subcommand;

use crate::site::pki;

const FOLDER: &str = "/etc/simple-dhcpd/pki";

/// Certificates by which nodes know one another.
#[derive(Debug, Subcommand)]
pub(super) enum Pki {
    /// Make an authority, on one machine, once.
    Init {
        /// Where it is kept.
        #[arg(long, value_name = "DIR", default_value = FOLDER)]
        authority: PathBuf,
    },
    /// Make a node's key and certificate, with the authority's: the folder is what dhcp.datacenter.multi_site.link wants. Again for a
    /// new certificate.
    Node {
        /// The node's name, as in dhcp.datacenter.multi_site.sites.
        name: String,
        /// Where the authority is kept.
        #[arg(long, value_name = "DIR", default_value = FOLDER)]
        authority: PathBuf,
        /// Where to put them. Default: a folder of the node's name beside the authority's files.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// How many days the certificate is good for.
        #[arg(long, value_name = "DAYS", default_value_t = 730, value_parser = clap::value_parser!(u64).range(1..=3650))]
        days: u64,
    },
}

/// Does it.
pub(super) fn run(command: Pki) -> Result<()> {
    match command {
        Pki::Init { authority } => {
            pki::init(&authority)?;
            println!(
                "{} is the nodes' authority: {} signs new nodes; keep it from everybody",
                authority.display(),
                pki::CA_KEY_FILE
            );
        }
        Pki::Node { name, authority, out, days } => {
            let out = out.unwrap_or_else(|| authority.join(&name));
            pki::node(&authority, &name, &out, Duration::from_secs(days * 86_400))?;
            println!(
                "{}: copy what is in it to {name}, into dhcp.datacenter.multi_site.link.state_path",
                out.display()
            );
        }
    }
    Ok(())
}
