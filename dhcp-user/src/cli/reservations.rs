//! Addresses kept for one client each: shown, made, changed and removed by the running daemon.

use std::{io::Write as _, net::Ipv4Addr, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::{
    ask::{print_json, wait},
    import::{self, Import},
    progress::Progress,
    remote::Asking,
};
use crate::api::routes::reservations::{ReservationPage, ReservationView, Source};

/// `reservations`, which lists them if nothing more is said.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Reservations {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all, those of the configuration file too.
    List(Asking),
    /// Show one.
    Show {
        /// Its address.
        address: Ipv4Addr,
        #[command(flatten)]
        asking: Asking,
    },
    /// Keep an address for a client from now on; durable, and without a reload.
    Add(Wanted),
    /// Put another reservation in the place of an address's.
    Change(Wanted),
    /// Keep many addresses, those of a file. What is refused is said, and the others are made.
    Import(Import),
    /// Remove one that was made by `add`.
    Remove {
        /// Its address.
        address: Ipv4Addr,
        #[command(flatten)]
        asking: Asking,
    },
}

/// What a reservation is to be.
#[derive(Debug, Args)]
struct Wanted {
    /// The address.
    address: Ipv4Addr,
    #[command(flatten)]
    client: Client,
    /// The client's host name, sent in option 12 and shown in listings.
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    hostname: Option<String>,
    /// Even if another client holds the address: that one is refused when it next renews.
    #[arg(long)]
    even_if_held: bool,
    #[command(flatten)]
    asking: Asking,
}

/// Whose it is to be.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Client {
    /// The client's Ethernet address, such as 02:00:00:00:00:01.
    #[arg(long, value_name = "MAC")]
    hw_address: Option<String>,
    /// The client's option 61, whole: hex:01020000000001 or text:name.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The circuit its relay agent says it is on: hex:0a0b or text:ge-0/0/1.
    #[arg(long, value_name = "ID")]
    circuit_id: Option<String>,
    /// All of it from a file: an entry of `reservations` as in the configuration, with options and lease times.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// By what a lease's client is named in its reservation.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum By {
    /// Its Ethernet address.
    HwAddress,
    /// Its option 61.
    ClientId,
}

impl Wanted {
    fn entry(&self) -> Result<Value> {
        let address = self.address.to_string();
        if let Some(path) = &self.client.file {
            let shown = path.display();
            let text = std::fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
            let mut entry: Map<String, Value> =
                serde_json::from_str(&text).with_context(|| format!("{shown} is no JSON object"))?;
            let said = entry.insert("address".to_owned(), address.clone().into());
            let same = said.is_none_or(|said| said == Value::String(address.clone()));
            anyhow::ensure!(same, "{shown} is about another address than {address}");
            return Ok(Value::Object(entry));
        }
        let Client { hw_address, client_id, circuit_id, .. } = &self.client;
        let entries = [
            ("address", Some(&address)),
            ("hw_address", hw_address.as_ref()),
            ("client_id", client_id.as_ref()),
            ("circuit_id", circuit_id.as_ref()),
            ("hostname", self.hostname.as_ref()),
        ];
        let entries = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?))));
        Ok(Value::Object(entries.collect()))
    }

    fn send(&self, method: Method, path: &str) -> Result<()> {
        let entry = self.entry()?;
        let force = if self.even_if_held { "?even_if_held=true" } else { "" };
        made(method, &format!("{path}{force}"), Some(&entry), &self.asking)
    }
}

/// Asks for a reservation, and says how it is now.
fn made(method: Method, path: &str, body: Option<&Value>, asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let made: ReservationView = wait(async { Ok(daemon.send(method, path, body).await?) })?;
    if asking.json {
        return print_json(&made);
    }
    writeln!(std::io::stdout().lock(), "{} is reserved for {}", made.address, client(&made))?;
    Ok(())
}

/// `reservations`.
pub(super) fn run(line: &Reservations) -> Result<()> {
    const PATH: &str = "/api/v1/reservations";
    match &line.command {
        None => list(&line.asking),
        Some(Command::List(asking)) => list(asking),
        Some(Command::Show { address, asking }) => show(*address, asking),
        Some(Command::Add(wanted)) => wanted.send(Method::POST, PATH),
        Some(Command::Change(wanted)) => wanted.send(Method::PUT, &format!("{PATH}/{}", wanted.address)),
        Some(Command::Import(wanted)) => import::run(wanted),
        Some(Command::Remove { address, asking }) => {
            let daemon = asking.daemon()?;
            let path = format!("{PATH}/{address}");
            let _: Value = wait(async { Ok(daemon.send(Method::DELETE, &path, None).await?) })?;
            if asking.json {
                return print_json(&json!({"removed": address}));
            }
            writeln!(std::io::stdout().lock(), "{address} is reserved no more")?;
            Ok(())
        }
    }
}

/// `leases reserve`.
pub(super) fn from_lease(
    address: Ipv4Addr,
    by: Option<By>,
    hostname: Option<&str>,
    asking: &Asking,
) -> Result<()> {
    let by = by.map(|by| match by {
        By::HwAddress => "hw_address",
        By::ClientId => "client_id",
    });
    let body = json!({"identify_by": by, "hostname": hostname});
    made(Method::POST, &format!("/api/v1/leases/{address}/reserve"), Some(&body), asking)
}

fn list(asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let all = wait(async {
        let (mut all, mut after): (Vec<ReservationView>, _) = (Vec::new(), String::new());
        let progress = Progress::of_gathering("reservations");
        loop {
            let page: ReservationPage =
                daemon.get(&format!("/api/v1/reservations?limit=1000{after}")).await?;
            progress.add(page.reservations.len());
            all.extend(page.reservations);
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(all),
            }
        }
    })?;
    if asking.json {
        return print_json(&all);
    }
    let mut out = std::io::stdout().lock();
    write!(out, "{}", table(&all))?;
    Ok(())
}

/// Reservations as people read them.
fn table(all: &[ReservationView]) -> String {
    let mut text = format!("{:<15}  {:<40}  {:<13}  HOSTNAME\n", "ADDRESS", "CLIENT", "SOURCE");
    for one in all {
        let (address, client) = (one.address.to_string(), client(one));
        let source = match one.source {
            Source::Configuration => "configuration",
            Source::Api => "api",
        };
        let hostname = one.hostname.as_deref().unwrap_or("-");
        text += &format!("{address:<15}  {client:<40}  {source:<13}  {hostname}\n");
        if let Some(why) = &one.left_out {
            text += &format!("{:<15}  not in force: {why}\n", "");
        }
    }
    text
}

fn show(address: Ipv4Addr, asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let one: ReservationView =
        wait(async { Ok(daemon.get(&format!("/api/v1/reservations/{address}")).await?) })?;
    if asking.json {
        return print_json(&one);
    }
    let mut out = std::io::stdout().lock();
    write!(out, "{}", table(std::slice::from_ref(&one)))?;
    if let Some(written) = &one.written {
        writeln!(out, "{written:#}")?;
    }
    Ok(())
}

fn client(reservation: &ReservationView) -> String {
    let client = [
        reservation.hw_address.clone(),
        reservation.client_id.as_ref().map(|id| format!("client id {id}")),
        reservation.circuit_id.as_ref().map(|id| format!("circuit {id}")),
    ];
    client.into_iter().flatten().next().unwrap_or_default()
}
