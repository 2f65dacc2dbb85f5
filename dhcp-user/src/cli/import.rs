//! `reservations import`: many reservations from a file, each made as by `add`. What the daemon refuses is said and the rest
//! goes on; what is there already, as the file has it, is left alone, so that the same file may be imported again.

use std::{
    io::Write as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use hyper::Method;
use serde::Serialize;
use serde_json::{Deserializer, Map, Value};

use super::{
    Wrong,
    ask::{print_json, wait},
    progress::Progress,
    remote::Asking,
};
use crate::{
    api::routes::reservations::ReservationView,
    config::FILE_OCTETS_MAX,
    control::client::{AskError, Daemon},
};

/// What is said of refusals one by one, at most.
const TOLD_MAX: usize = 100;

/// Which.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// Entries of `reservations` as in the configuration: a list, an object with such a list, or one to a line.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Even those that other clients hold: these are refused when they next renew.
    #[arg(long)]
    even_if_held: bool,
    #[command(flatten)]
    asking: Asking,
}

/// An entry that was refused.
#[derive(Debug, Serialize)]
struct Refused {
    /// Its place in the file, from 1.
    entry: usize,
    address: Option<String>,
    why: String,
}

/// What became of all.
#[derive(Debug, Default, Serialize)]
struct Imported {
    made: usize,
    /// There already, and as the file has them.
    unchanged: usize,
    refused: Vec<Refused>,
}

/// The entries of a text.
fn entries(text: &str) -> Result<Vec<Map<String, Value>>, String> {
    let mut all = Vec::new();
    for value in Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|error| error.to_string())?;
        match value {
            Value::Array(list) => all.extend(list),
            Value::Object(mut object) => match object.remove("reservations") {
                Some(Value::Array(list)) => all.extend(list),
                Some(_) => return Err("`reservations` is no list".to_owned()),
                None => all.push(Value::Object(object)),
            },
            other => all.push(other),
        }
    }
    let object = |(n, value): (usize, Value)| match value {
        Value::Object(object) => Ok(object),
        other => Err(format!("entry {n} is no object but {other}")),
    };
    (1..).zip(all).map(object).collect()
}

fn read(file: &Path) -> Result<Vec<Map<String, Value>>> {
    let shown = file.display();
    let wrong = |why: &dyn std::fmt::Display| Wrong(format!("{shown}: {why}"));
    let octets = std::fs::metadata(file).map_err(|error| wrong(&error))?.len();
    if octets > FILE_OCTETS_MAX {
        return Err(wrong(&format!("has {octets} octets, {FILE_OCTETS_MAX} are the most")).into());
    }
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    Ok(entries(&text).map_err(|error| wrong(&error))?)
}

/// Makes one; whether it is new.
async fn make(daemon: &Daemon, entry: &Map<String, Value>, force: &str) -> Result<bool, AskError> {
    let path = format!("/api/v1/reservations{force}");
    let made: Result<ReservationView, _> =
        daemon.send(Method::POST, &path, Some(&Value::Object(entry.clone()))).await;
    let refused = match made {
        Ok(_) => return Ok(true),
        Err(error @ AskError::Refused { status: 409, .. }) => error,
        Err(error) => return Err(error),
    };
    // Only what is an address goes into a path.
    let address = entry.get("address").and_then(Value::as_str).and_then(|text| text.parse::<Ipv4Addr>().ok());
    let Some(address) = address else { return Err(refused) };
    match daemon.get::<ReservationView>(&format!("/api/v1/reservations/{address}")).await {
        Ok(found) if found.written.as_ref().and_then(Value::as_object) == Some(entry) => Ok(false),
        _ => Err(refused),
    }
}

/// Imports all.
pub(super) fn run(wanted: &Import) -> Result<()> {
    let (daemon, entries) = (wanted.asking.daemon()?, read(&wanted.file)?);
    let force = if wanted.even_if_held { "?even_if_held=true" } else { "" };
    let mut done = Imported::default();
    let all = entries.len();
    wait(async {
        let progress = Progress::of_known("reservations", all);
        for (number, entry) in (1..).zip(&entries) {
            match make(&daemon, entry, force).await {
                Ok(true) => done.made += 1,
                Ok(false) => done.unchanged += 1,
                Err(AskError::Refused { status: 400 | 403 | 409 | 422, detail }) => {
                    let address = entry.get("address").and_then(Value::as_str).map(str::to_owned);
                    done.refused.push(Refused { entry: number, address, why: detail });
                }
                // Those after it would fare no better.
                Err(error) => {
                    let before = number - 1;
                    return Err(error).with_context(|| {
                        format!("stopped at entry {number} of {all}; the {before} before it are done: import the file again")
                    });
                }
            }
            progress.add(1);
        }
        Ok(())
    })?;
    let Imported { made, unchanged, refused } = &done;
    if wanted.asking.json {
        print_json(&done)?;
    } else {
        for one in refused.iter().take(TOLD_MAX) {
            let address = one.address.as_deref().unwrap_or("no address");
            eprintln!("entry {} ({address}): {}", one.entry, one.why);
        }
        if refused.len() > TOLD_MAX {
            eprintln!("and {} more", refused.len() - TOLD_MAX);
        }
        writeln!(
            std::io::stdout().lock(),
            "{made} reserved, {unchanged} as they were, {} refused",
            refused.len()
        )?;
    }
    ensure!(refused.is_empty(), "{} of {all} reservations were refused", refused.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_an_object_with_one_and_lines_say_the_same() {
        let (one, two) = (r#"{"address": "198.18.0.1"}"#, r#"{"address": "198.18.0.2"}"#);
        let lines = entries(&format!("{one}\n{two}\n")).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(entries(&format!("[{one}, {two}]")).unwrap(), lines);
        assert_eq!(entries(&format!("{{\"reservations\": [{one}, {two}]}}")).unwrap(), lines);
        assert!(entries("").unwrap().is_empty());
        for (text, why) in [
            ("{", "EOF"),
            ("[{}, 7]", "entry 2 is no object"),
            (r#"{"reservations": {}}"#, "is no list"),
            ("198.18.0.1", "trailing characters"),
        ] {
            let error = entries(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
