//! ISC's `dhcrelay` between a client's network and the server's.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::{client::program, netns::NetNs, process::Process};

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    process: Process,
    _folder: tempfile::TempDir,
}

impl Relay {
    /// Starts a relay in `ns` from `downstream` (the clients') to `server` behind `upstream`. `agent_options` makes it
    /// add option 82.
    ///
    /// # Errors
    ///
    /// When it is not installed or cannot be started.
    pub fn start(
        ns: &NetNs,
        downstream: &str,
        upstream: &str,
        server: Ipv4Addr,
        agent_options: bool,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dhcptest-").tempdir()?;
        let mut command = ns.command(program("dhcrelay")?);
        command.args(["-4", "-d", "--no-pid", "-id", downstream, "-iu", upstream]);
        if agent_options {
            command.arg("-a");
        }
        command.arg(server.to_string());
        let mut process = Process::start(&mut command, &folder.path().join("log"))?;
        process.wait_output("Sending on   Socket/fallback", std::time::Duration::from_secs(5))?;
        Ok(Self { process, _folder: folder })
    }

    /// What it printed.
    pub fn output(&self) -> String {
        self.process.output()
    }
}
