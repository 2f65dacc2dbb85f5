//! What is seen of a running lab: what changed since the last look, a line each, and the sum at the end.
//!
//! The daemon's JSON is read as far as it is understood; what it gains later is shown by its name.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};

use super::{client, server::Daemon};

/// What was seen so far.
pub struct Watch {
    began: Instant,
    stats: Value,
    counters: BTreeMap<String, u64>,
    leases: BTreeMap<String, Value>,
    events: Vec<String>,
    trouble: Option<String>,
}

impl Watch {
    /// Nothing seen yet; times are told from `began`.
    pub fn new(began: Instant) -> Self {
        Self {
            began,
            stats: Value::Null,
            counters: BTreeMap::new(),
            leases: BTreeMap::new(),
            events: Vec::new(),
            trouble: None,
        }
    }

    /// Asks daemon and client, and tells on stderr what is new.
    pub fn look(&mut self, daemon: &Daemon, client: &client::Running) {
        let mut news = self.client_news(client.events());
        match (daemon.ask(&["leases", "list"]), daemon.ask(&["stats"])) {
            (Ok(leases), Ok(stats)) => {
                news.extend(self.lease_news(&leases));
                news.extend(self.counter_news(&stats));
                self.stats = stats;
                self.trouble = None;
            }
            (Err(error), _) | (_, Err(error)) => {
                let text = format!("{error:#}");
                // Told once, not every second.
                if self.trouble.as_ref() != Some(&text) {
                    news.push(format!("trouble  {text}"));
                    self.trouble = Some(text);
                }
            }
        }
        let secs = self.began.elapsed().as_secs_f32();
        for line in news {
            eprintln!("{secs:7.1} s  {line}");
        }
    }

    fn client_news(&mut self, events: Vec<String>) -> Vec<String> {
        let news = events.iter().skip(self.events.len()).map(|event| format!("client   {event}")).collect();
        self.events = events;
        news
    }

    fn lease_news(&mut self, leases: &Value) -> Vec<String> {
        let mut now = BTreeMap::new();
        let mut news = Vec::new();
        for lease in leases.as_array().or_else(|| leases.get("leases")?.as_array()).into_iter().flatten() {
            let Some(address) = lease.get("address").and_then(Value::as_str) else { continue };
            // Times move with every renewal, and those are told by the counters.
            let word = |keys: &[&str]| keys.iter().find_map(|key| lease.get(key)?.as_str());
            let holder = word(&["hw_address", "chaddr", "mac", "client"]).unwrap_or("somebody");
            let state = word(&["state"]).unwrap_or("leased");
            let seen = json!([holder, state]);
            if self.leases.get(address) != Some(&seen) {
                news.push(format!("lease    {address} {state} to {holder}"));
            }
            now.insert(address.to_owned(), seen);
        }
        news.extend(
            self.leases.keys().filter(|a| !now.contains_key(*a)).map(|a| format!("lease    {a} is free")),
        );
        self.leases = now;
        news
    }

    fn counter_news(&mut self, stats: &Value) -> Vec<String> {
        let mut now = BTreeMap::new();
        collect("", stats, &mut now);
        let mut news = Vec::new();
        for (name, &count) in &now {
            let before = self.counters.get(name).copied().unwrap_or(0);
            if count > before {
                news.push(format!("{} +{} ({count})", headline(name), count - before));
            }
        }
        self.counters = now;
        news
    }

    /// Whether the client has had a lease.
    pub fn bound(&self) -> bool {
        self.events.iter().any(|event| event.to_ascii_lowercase().starts_with("bound"))
    }

    fn answered(&self) -> u64 {
        self.counters.get("kernel.answered").copied().unwrap_or(0)
    }

    /// The sum as a sentence.
    pub fn last_words(&self) -> String {
        format!(
            "{:.0} s; the client reported {} events, the kernel answered {} renewals",
            self.began.elapsed().as_secs_f32(),
            self.events.len(),
            self.answered()
        )
    }

    /// The sum as JSON: `secs`, `client`, `client_events` (count by the client's word), `leases_seen`, and the daemon's
    /// own `stats` as they last were.
    pub fn summary(&self, client: client::Kind) -> Value {
        let mut words: BTreeMap<&str, u64> = BTreeMap::new();
        for event in &self.events {
            *words.entry(event.split(' ').next().unwrap_or_default()).or_default() += 1;
        }
        json!({
            "secs": self.began.elapsed().as_secs(),
            "client": client.to_string(),
            "bound": self.bound(),
            "client_events": words,
            "leases_seen": self.leases.len(),
            "kernel_answered": self.answered(),
            "stats": self.stats,
        })
    }
}

/// A counter's name as the reader of the lab sees it.
fn headline(name: &str) -> String {
    match name.strip_prefix("kernel.reasons.") {
        Some(reason) => format!("passed   up to the daemon, {reason}"),
        None if name == "kernel.answered" => "kernel   answered renewals".to_owned(),
        None => format!("counter  {name}"),
    }
}

/// Every number in `value` by its path.
fn collect(path: &str, value: &Value, found: &mut BTreeMap<String, u64>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(&path, value, found);
            }
        }
        Value::Number(number) => {
            if let Some(number) = number.as_u64() {
                found.insert(path.to_owned(), number);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_moved_is_told() {
        let mut watch = Watch::new(Instant::now());
        let first = watch.counter_news(&json!({"kernel": {"answered": 0, "reasons": {"fingerprint": 1}}}));
        assert_eq!(first, ["passed   up to the daemon, fingerprint +1 (1)"]);
        let second = watch.counter_news(&json!({"kernel": {"answered": 2, "reasons": {"fingerprint": 1}}}));
        assert_eq!(second, ["kernel   answered renewals +2 (2)"]);
        assert_eq!(watch.summary(client::Kind::Udhcpc)["kernel_answered"], 2);
    }

    #[test]
    fn a_lease_is_told_when_it_comes_and_when_it_goes() {
        let mut watch = Watch::new(Instant::now());
        let lease = json!([{"address": "198.18.1.0", "hw_address": "02:00:00:00:00:01", "state": "bound"}]);
        assert_eq!(watch.lease_news(&lease), ["lease    198.18.1.0 bound to 02:00:00:00:00:01"]);
        assert!(watch.lease_news(&json!({"leases": lease})).is_empty());
        assert_eq!(watch.lease_news(&json!([])), ["lease    198.18.1.0 is free"]);
    }

    #[test]
    fn json_of_another_shape_is_no_trouble() {
        let mut watch = Watch::new(Instant::now());
        assert!(watch.lease_news(&json!(7)).is_empty());
        assert!(watch.lease_news(&json!([{"ip": 1}, null])).is_empty());
        assert!(watch.counter_news(&json!([1, "x"])).is_empty());
        assert!(!watch.bound());
    }
}
