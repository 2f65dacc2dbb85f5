//! Real DHCP clients in a namespace, each in the foreground with its own state, driven and watched the same way: by
//! signals or the client's own command, and by what its hook script writes down.

pub mod dhclient;
pub mod dhcpcd;
pub mod networkd;
pub mod scripted;
pub mod udhcpc;

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{netns::NetNs, wait::wait_for};

/// What a client says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It has an address that it did not have before.
    Bound,
    /// Its lease was extended, by the server it had it from or by any (RFC 2131 sections 4.4.5).
    Renewed,
    /// It has lost its address: expired, refused or released.
    Lost,
}

/// One thing that happened, in the client's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// The client's own word for it.
    pub word: String,
    /// The address it is about, if the client says.
    pub address: Option<Ipv4Addr>,
    /// Lease time in seconds, if the client says.
    pub lease_secs: Option<u32>,
}

/// A client that runs.
pub trait Client {
    /// Its name and version, such as `udhcpc 1.35.0`.
    ///
    /// # Errors
    ///
    /// When the program does not say.
    fn version(&self) -> Result<String>;

    /// Everything that happened so far.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    fn events(&self) -> Result<Vec<Event>>;

    /// Asks it to renew now. `false` if this client renews by its times only.
    ///
    /// # Errors
    ///
    /// When it cannot be asked.
    fn renew(&mut self) -> Result<bool>;

    /// Makes it give its address back and end.
    ///
    /// # Errors
    ///
    /// When it does not.
    fn release(&mut self) -> Result<()>;

    /// What it printed.
    fn output(&self) -> String;

    /// Waits for an event of `kind` with number `from` or later, and returns its number and itself.
    ///
    /// # Errors
    ///
    /// When none comes within `deadline`; the error has what came and what the client printed.
    fn wait_event(&self, kind: Kind, from: usize, deadline: Duration) -> Result<(usize, Event)> {
        let find =
            || Ok(self.events()?.into_iter().enumerate().skip(from).find(|(_, event)| event.kind == kind));
        wait_for(deadline, &format!("the client to report {kind:?}"), find)
            .with_context(|| format!("events: {:?}\noutput:\n{}", self.events(), self.output()))
    }
}

/// A folder of a client's own, with a hook script in it that writes events down and sets the address.
#[derive(Debug)]
pub struct Hook {
    folder: tempfile::TempDir,
}

impl Hook {
    /// Makes the folder and the script. `body` is shell: it must call `event WORD ADDRESS LEASE_SECS` and may call
    /// `address ADDRESS` to give `interface` the address (prefix of 16, this harness's networks) or `address ''` to
    /// take all away.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn new(interface: &str, body: &str) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::Builder::new()
            .prefix("dhcptest-")
            .tempdir()
            .context("cannot make a folder for a client's state")?;
        let hook = Self { folder };
        let script = format!(
            "#!/bin/sh\n\
             PATH=/usr/sbin:/sbin:/usr/bin:/bin\n\
             event() {{ printf '%s %s %s\\n' \"$1\" \"${{2:--}}\" \"${{3:--}}\" >> {events}; }}\n\
             address() {{ if [ -n \"$1\" ]; then ip address replace \"$1/16\" broadcast + dev {interface};\n\
             else ip -4 address flush dev {interface}; fi; }}\n{body}\n",
            events = hook.path("events").display(),
        );
        fs::write(hook.path("hook"), script).context("cannot write a client's hook script")?;
        // Clients that gave up root still write events.
        fs::write(hook.path("events"), "").context("cannot write a client's event file")?;
        for (name, mode) in [("hook", 0o755), ("events", 0o666), ("", 0o755)] {
            fs::set_permissions(hook.path(name), fs::Permissions::from_mode(mode))
                .context("cannot set the mode of a client's file")?;
        }
        Ok(hook)
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The script.
    pub fn script(&self) -> PathBuf {
        self.path("hook")
    }

    /// What the script wrote down, by `kind_of` each client's own word; words it does not know are left out.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn events(&self, kind_of: impl Fn(&str) -> Option<Kind>) -> Result<Vec<Event>> {
        let text = fs::read_to_string(self.path("events")).context("cannot read a client's events")?;
        Ok(text.lines().filter_map(|line| event(line, &kind_of)).collect())
    }
}

fn event(line: &str, kind_of: impl Fn(&str) -> Option<Kind>) -> Option<Event> {
    let mut words = line.split_whitespace();
    let word = words.next()?;
    Some(Event {
        kind: kind_of(word)?,
        word: word.to_owned(),
        address: words.next().and_then(|text| text.parse().ok()),
        lease_secs: words.next().and_then(|text| text.parse().ok()),
    })
}

/// Where a program is, looking into the folders of system programs too.
///
/// # Errors
///
/// When it is not installed.
pub fn program(name: &str) -> Result<PathBuf> {
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/lib/systemd", "/usr/lib/systemd"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed: `cargo xtask test` installs what tests need"))
}

/// Starts the client called `name` on `interface` of `ns`: `udhcpc`, `dhclient`, `dhcpcd` or `networkd`.
///
/// # Errors
///
/// When there is no such client or it cannot be started.
pub fn start(name: &str, ns: &NetNs, interface: &str) -> Result<Box<dyn Client>> {
    Ok(match name {
        "udhcpc" => Box::new(udhcpc::Udhcpc::start(ns, interface)?),
        "dhclient" => Box::new(dhclient::Dhclient::start(ns, interface)?),
        "dhcpcd" => Box::new(dhcpcd::Dhcpcd::start(ns, interface)?),
        "networkd" => Box::new(networkd::Networkd::start(ns, interface)?),
        _ => anyhow::bail!("no client is called {name:?}: udhcpc, dhclient, dhcpcd, networkd"),
    })
}

/// The clients [`start`] knows.
pub const ALL: [&str; 4] = ["udhcpc", "dhclient", "dhcpcd", "networkd"];
