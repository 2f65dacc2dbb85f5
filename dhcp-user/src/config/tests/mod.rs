//! Tests of the whole way from text to model.

mod api;
mod bad;
mod files;
mod good;
mod limits;
mod mutation;
mod schema;
mod sites;

use super::{Config, parse};

/// The model of `text`.
fn good(text: &str) -> Config {
    parse(text, "test.json").unwrap_or_else(|error| panic!("refused:\n{error}\nin:\n{text}"))
}

/// The messages for `text`, one per line.
fn bad(text: &str) -> String {
    match parse(text, "test.json") {
        Ok(config) => panic!("accepted: {config:?}\nin:\n{text}"),
        Err(error) => error.to_string(),
    }
}

/// A configuration whose `dhcp` holds these members.
fn dhcp(members: &str) -> String {
    format!(r#"{{"dhcp": {{{members}}}}}"#)
}

/// A configuration with one interface, eth0, and one subnet, 198.18.0.0/16, which holds these members as well.
fn subnet(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { ", " };
    dhcp(&format!(
        r#""interfaces": ["eth0"], "subnets": [{{"subnet": "198.18.0.0/16", "interface": "eth0"{comma}{members}}}]"#
    ))
}

/// The messages without their origin and position, for tests about what is found and not where in the text.
fn messages(text: &str) -> Vec<String> {
    bad(text)
        .lines()
        .map(|line| line.split_once(": ").map_or(line, |(_, message)| message).to_owned())
        .collect()
}
