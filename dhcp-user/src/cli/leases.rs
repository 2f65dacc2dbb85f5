//! `leases`: which are wanted, said as the API's filters, and printed as pages come, so that a million of them take no more
//! memory than one page.

use std::{
    io::{self, Write as _},
    net::Ipv4Addr,
};

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use form_urlencoded::Serializer;
use hyper::Method;
use ipnet::Ipv4Net;

use super::{
    ask::{show_lease, wait},
    manage::{ExportFormat, change_lease},
    progress::Progress,
    remote::Asking,
    reservations,
};
use crate::{
    api::routes::leases::{LEASES_MAX, LeasePage},
    server::view::LeaseView,
};

/// Leases asked for at once.
const PAGE: usize = 2_000;
const _: () = assert!(PAGE <= LEASES_MAX, "or the daemon refuses");

/// Leases of the running daemon.
#[derive(Debug, Subcommand)]
pub(super) enum Leases {
    /// List leases, by address: all, or those that fit every filter.
    List {
        #[command(flatten)]
        filters: Filters,
        /// The most to list.
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Show one lease and how to find it with bpftool.
    Show {
        /// Its address.
        address: Ipv4Addr,
        #[command(flatten)]
        asking: Asking,
    },
    /// Take an address from its client, as if it had given it back.
    Release {
        /// Its address.
        address: Ipv4Addr,
        #[command(flatten)]
        asking: Asking,
    },
    /// Grant a lease its time from now, as if its client had renewed it.
    Extend {
        /// Its address.
        address: Ipv4Addr,
        #[command(flatten)]
        asking: Asking,
    },
    /// Keep an address for the client that has it, from now on.
    Reserve {
        /// Its address.
        address: Ipv4Addr,
        /// By what the client is named; default: its Ethernet address, if it has one.
        #[arg(long, value_enum)]
        by: Option<reservations::By>,
        /// The client's host name, sent in option 12 and shown in listings.
        #[arg(long, value_name = "NAME")]
        hostname: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Write leases to stdout: all, or those that fit every filter.
    Export {
        /// In which format.
        #[arg(long, value_enum, default_value_t = ExportFormat::Ndjson)]
        format: ExportFormat,
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        asking: Asking,
    },
}

/// A lease's state.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum State {
    /// Promised to a client.
    Bound,
    /// Free, remembered for its last client.
    Free,
    /// Declined.
    Quarantined,
}

/// Who granted last.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum By {
    /// The kernel program.
    Kernel,
    /// The daemon.
    Daemon,
}

/// Which leases are wanted.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Filters {
    /// Inside this prefix.
    #[arg(long, value_name = "PREFIX")]
    subnet: Option<Ipv4Net>,
    /// Of this address.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Ipv4Addr>,
    /// From one address to another.
    #[arg(long, value_name = "FIRST-LAST", conflicts_with = "address", value_parser = range)]
    range: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Of this hardware address, as listings show it.
    #[arg(long, value_name = "MAC")]
    mac: Option<String>,
    /// With this option 61, hexadecimal.
    #[arg(long, value_name = "HEX")]
    client_id: Option<String>,
    /// With this in the host name; upper and lower case are the same.
    #[arg(long, value_name = "TEXT")]
    hostname: Option<String>,
    /// In this state.
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Last granted by the kernel or by the daemon.
    #[arg(long, value_enum)]
    by: Option<By>,
    /// In a block of addresses that a node of this site gives out.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
}

/// Reads `198.18.0.10-198.18.0.20`.
fn range(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let ends = text.split_once('-').and_then(|(first, last)| {
        Some((first.trim().parse::<Ipv4Addr>().ok()?, last.trim().parse::<Ipv4Addr>().ok()?))
    });
    match ends {
        Some((first, last)) if first <= last => Ok((first, last)),
        Some(_) => Err("the last address is before the first".to_owned()),
        None => Err("not a range: write it as 198.18.0.10-198.18.0.20".to_owned()),
    }
}

impl Filters {
    /// As the query of the API has them.
    fn query(&self) -> Vec<(&'static str, String)> {
        let (first, last) = self.range.unzip();
        let text = |value: &Option<String>| value.clone();
        let name = |value: Option<String>| value.map(|name| name.to_lowercase());
        let all = [
            ("subnet", self.subnet.map(|subnet| subnet.to_string())),
            ("address", self.address.map(|address| address.to_string())),
            ("first", first.map(|address| address.to_string())),
            ("last", last.map(|address| address.to_string())),
            ("hw_address", text(&self.mac)),
            ("client_id", text(&self.client_id)),
            ("hostname", text(&self.hostname)),
            ("state", name(self.state.map(|state| format!("{state:?}")))),
            ("renewed_by", name(self.by.map(|by| format!("{by:?}")))),
            ("site", text(&self.site)),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// A path with a query.
fn uri(path: &str, query: &[(&'static str, String)], more: &[(&'static str, String)]) -> String {
    let mut encoded = Serializer::new(format!("{path}?"));
    for (key, value) in query.iter().chain(more) {
        encoded.append_pair(key, value);
    }
    encoded.finish().replace("?&", "?")
}

/// Does it.
pub(super) fn run(command: Leases) -> Result<()> {
    match command {
        Leases::List { filters, limit, asking } => list(&filters, limit, &asking),
        Leases::Show { address, asking } => show_lease(address, &asking),
        Leases::Release { address, asking } => change_lease(&Method::DELETE, address, "", &asking),
        Leases::Extend { address, asking } => change_lease(&Method::POST, address, "/extend", &asking),
        Leases::Reserve { address, by, hostname, asking } => {
            reservations::from_lease(address, by, hostname.as_deref(), &asking)
        }
        Leases::Export { format, filters, asking } => export(format, &filters, &asking),
    }
}

/// Asks for page after page, and hands them on; the first even if it is empty.
fn pages(
    filters: &Filters,
    limit: Option<u64>,
    asking: &Asking,
    mut take: impl FnMut(&[LeaseView]) -> io::Result<()>,
) -> Result<()> {
    let daemon = asking.daemon()?;
    let query = filters.query();
    let progress = Progress::of("leases");
    wait(async {
        let mut left = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut after: Option<Ipv4Addr> = None;
        loop {
            let mut more = vec![("limit", left.min(PAGE).to_string())];
            more.extend(after.map(|after| ("after", after.to_string())));
            let page: LeasePage = daemon.get(&uri("/api/v1/leases", &query, &more)).await?;
            progress.add(page.leases.len());
            left -= page.leases.len().min(left);
            take(&page.leases)?;
            after = page.next.filter(|_| left > 0);
            if after.is_none() {
                return Ok(());
            }
        }
    })
}

/// Whoever reads may have seen enough, as `head` has.
fn until_closed(done: Result<()>) -> Result<()> {
    let closed = |error: &anyhow::Error| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    done.or_else(|error| if closed(&error) { Ok(()) } else { Err(error) })
}

fn list(filters: &Filters, limit: Option<u64>, asking: &Asking) -> Result<()> {
    let mut out = io::stdout().lock();
    let mut listing = Listing::begun(asking.json);
    let listed = pages(filters, limit, asking, |leases| {
        out.write_all(listing.page(leases)?.as_bytes())?;
        out.flush()
    });
    until_closed(listed.and_then(|()| Ok(out.write_all(listing.end().as_bytes())?)))
}

/// What is printed of pages, of which any may be empty.
struct Listing {
    json: bool,
    begun: bool,
    /// Whether there was a lease.
    any: bool,
}

impl Listing {
    fn begun(json: bool) -> Self {
        Self { json, begun: false, any: false }
    }

    /// The next page.
    fn page(&mut self, leases: &[LeaseView]) -> io::Result<String> {
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            if self.json {
                text.push('[');
            } else {
                line(&mut text, ["ADDRESS", "STATE", "HARDWARE", "EXPIRES", "RENEWED BY", "HOSTNAME"]);
            }
        }
        for lease in leases {
            if self.json {
                let separator = if std::mem::replace(&mut self.any, true) { "," } else { "" };
                // No string of JSON has a line's end in it.
                let lease = serde_json::to_string_pretty(lease)?.replace('\n', "\n  ");
                text.extend([separator, "\n  ", &lease]);
            } else {
                lease_line(&mut text, lease);
            }
        }
        Ok(text)
    }

    /// After the last one.
    fn end(&self) -> &'static str {
        match (self.json, self.any) {
            (false, _) => "",
            (true, false) => "]\n",
            (true, true) => "\n]\n",
        }
    }
}

fn line(out: &mut String, [address, state, hardware, expires, by, hostname]: [&str; 6]) {
    out.push_str(&format!(
        "{address:<15}  {state:<11}  {hardware:<17}  {expires:<20}  {by:<10}  {hostname}\n"
    ));
}

fn lease_line(out: &mut String, lease: &LeaseView) {
    let hostname = lease.hostname.as_deref().unwrap_or("-");
    let address = lease.address.to_string();
    line(out, [&address, &lease.state, &lease.hw_address, &lease.expires_at, &lease.renewed_by, hostname]);
}

/// `leases export`.
fn export(format: ExportFormat, filters: &Filters, asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let format = match format {
        ExportFormat::Ndjson => "ndjson",
        ExportFormat::Csv => "csv",
    };
    let path = uri("/api/v1/leases/export", &filters.query(), &[("format", format.to_owned())]);
    let progress = Progress::of("leases");
    let mut out = io::stdout().lock();
    wait(async {
        let copied = daemon.stream(&path, |octets| {
            progress.add(octets.iter().filter(|octet| **octet == b'\n').count());
            out.write_all(octets)
        });
        Ok(copied.await?)
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filters: Filters,
    }

    fn asked(words: &[&str]) -> Result<String, clap::Error> {
        let line = Line::try_parse_from([&["x"], words].concat())?;
        Ok(uri("/p", &line.filters.query(), &[("limit", "9".to_owned())]))
    }

    /// As one array whatever the pages, in the form in which all other JSON is printed.
    #[test]
    fn json_is_one_array_wherever_the_pages_end() {
        let lease = |n: u8| -> LeaseView {
            let fields = serde_json::json!({"address": format!("198.18.1.{n}"), "state": "bound", "hw_address": "",
                "client_id": null, "hostname": null, "renewed_at": "", "renewed_by": "daemon", "expires_at": "",
                "expires_in_secs": 1, "horizon": "", "leaving": false, "version": "", "kernel": null});
            serde_json::from_value(fields).unwrap()
        };
        for pages in [&[0_u8][..], &[0, 2], &[2, 0, 1], &[0, 0], &[1, 1, 0]] {
            let mut listing = Listing::begun(true);
            let (mut said, mut all) = (String::new(), Vec::new());
            for count in pages {
                let page: Vec<_> = (0..*count).map(lease).collect();
                said += &listing.page(&page).unwrap();
                all.extend(page);
            }
            said += listing.end();
            assert_eq!(said, serde_json::to_string_pretty(&all).unwrap() + "\n", "{pages:?}");
        }
    }

    #[test]
    fn every_filter_gets_into_the_query_and_nothing_breaks_out_of_it() {
        assert_eq!(asked(&[]).unwrap(), "/p?limit=9");
        let all = "--subnet 198.18.0.0/24 --range 198.18.0.1-198.18.0.9 --mac 02:00:00:00:00:01 --client-id 01 \
                   --hostname a&b=c --state bound --by kernel --site a";
        let words: Vec<_> = all.split_whitespace().collect();
        assert_eq!(
            asked(&words).unwrap(),
            "/p?subnet=198.18.0.0%2F24&first=198.18.0.1&last=198.18.0.9&hw_address=02%3A00%3A00%3A00%3A00%3A01\
             &client_id=01&hostname=a%26b%3Dc&state=bound&renewed_by=kernel&site=a&limit=9"
        );
        for wrong in [
            &["--range", "198.18.0.9-198.18.0.1"][..],
            &["--range", "198.18.0.9"],
            &["--address", "198.18.0.9", "--range", "198.18.0.1-198.18.0.9"],
            &["--state", "held"],
        ] {
            assert!(asked(wrong).is_err(), "{wrong:?}");
        }
    }
}
