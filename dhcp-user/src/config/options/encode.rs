//! Encodes an option's value as it goes on the wire. By hand: dhcproto's options frame and split what they encode,
//! lack some of the kinds and miss one code; tests hold the two against each other.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

use super::{names, table::Kind};
use crate::config::problem::quoted;

/// What is wrong with a value, and in which of its elements.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) index: Option<usize>,
    pub(super) message: String,
}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Self { index: None, message: message.into() }
    }

    fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }
}

/// The octets of `value`, written as `kind` has it, for option `code`.
pub(super) fn encode(kind: Kind, code: u8, value: &Value) -> Result<Vec<u8>, Fault> {
    Ok(match kind {
        Kind::Hex => octets(value)?,
        Kind::U8 => vec![number::<u8>(value, "a whole number from 0 to 255")?],
        Kind::U16 => number::<u16>(value, "a whole number from 0 to 65535")?.to_be_bytes().to_vec(),
        Kind::U32 => number::<u32>(value, "a whole number from 0 to 4294967295")?.to_be_bytes().to_vec(),
        Kind::I32 => {
            number::<i32>(value, "a whole number from -2147483648 to 2147483647")?.to_be_bytes().to_vec()
        }
        Kind::Bool => match value {
            Value::Bool(on) => vec![u8::from(*on)],
            other => return Err(expected("true or false", other)),
        },
        Kind::String => text(value)?,
        Kind::Ipv4 => address(value)?.octets().to_vec(),
        Kind::Ipv4List => each(value, "an address or an array of addresses", |element, out| {
            out.extend(address(element)?.octets());
            Ok(())
        })?,
        Kind::FqdnList => {
            let mut encoder = names::Encoder::new(code == 119);
            each(value, "a domain name or an array of domain names", |element, out| {
                let name = string(element, "a domain name such as \"example.com\"")?;
                encoder.push(name, out).map_err(Fault::new)
            })?
        }
        Kind::Routes => each(value, ROUTES, |element, out| {
            let (to, via) = route(element)?;
            let prefix: Ipv4Net = to.parse().map_err(|_| {
                Fault::new(format!("`to` is {}, not a prefix such as \"10.0.0.0/8\"", quoted(to)))
            })?;
            if prefix.trunc() != prefix {
                return Err(Fault::new(format!(
                    "{prefix} has bits beyond its length; write {}",
                    prefix.trunc()
                )));
            }
            let significant = usize::from(prefix.prefix_len().div_ceil(8));
            out.push(prefix.prefix_len());
            out.extend(prefix.network().octets().iter().take(significant));
            out.extend(via.octets());
            Ok(())
        })?,
        Kind::HostRoutes => each(value, ROUTES, |element, out| {
            let (to, via) = route(element)?;
            let to: Ipv4Addr = to.parse().map_err(|_| {
                Fault::new(format!("`to` is {}, not an address such as \"10.0.0.1\"", quoted(to)))
            })?;
            if to.is_unspecified() {
                return Err(Fault::new(
                    "0.0.0.0 is no host (RFC 2132 section 5.8); use `routers` for a default route",
                ));
            }
            out.extend(to.octets());
            out.extend(via.octets());
            Ok(())
        })?,
    })
}

const ROUTES: &str = "an array of objects {\"to\": ..., \"via\": ...}";

fn expected(what: &str, found: &Value) -> Fault {
    let found = match found {
        Value::Null => "null".to_owned(),
        Value::Bool(on) => on.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    Fault::new(format!("expected {what}, found {found}"))
}

fn string<'v>(value: &'v Value, what: &str) -> Result<&'v str, Fault> {
    value.as_str().ok_or_else(|| expected(what, value))
}

fn number<T: TryFrom<i64>>(value: &Value, what: &str) -> Result<T, Fault> {
    value.as_i64().and_then(|n| T::try_from(n).ok()).ok_or_else(|| expected(what, value))
}

fn text(value: &Value) -> Result<Vec<u8>, Fault> {
    let text = string(value, "a string")?;
    if text.is_empty() {
        return Err(Fault::new("an empty string cannot be sent; give null to remove the option"));
    }
    if text.contains('\0') {
        return Err(Fault::new(
            "the string holds a zero character, which ends a string for clients; remove it",
        ));
    }
    Ok(text.as_bytes().to_vec())
}

fn octets(value: &Value) -> Result<Vec<u8>, Fault> {
    const WHAT: &str = "octets such as \"01:aa:bb\", \"hex:01aabb\" or \"text:abc\"";
    let written = string(value, WHAT)?;
    if let Some(text) = written.strip_prefix("text:") {
        return Ok(text.as_bytes().to_vec());
    }
    let digits = written.strip_prefix("hex:").unwrap_or(written);
    crate::config::validate::text::hex(digits).ok_or_else(|| expected(WHAT, value))
}

fn address(value: &Value) -> Result<Ipv4Addr, Fault> {
    const WHAT: &str = "an IPv4 address such as \"198.18.0.1\"";
    string(value, WHAT)?.parse().map_err(|_| expected(WHAT, value))
}

/// The octets of every element of an array, or of a value that stands alone.
fn each(
    value: &Value,
    what: &str,
    mut encode: impl FnMut(&Value, &mut Vec<u8>) -> Result<(), Fault>,
) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    match value {
        Value::Array(elements) if elements.is_empty() => {
            return Err(Fault::new("the array is empty; give null to remove the option"));
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                encode(element, &mut out).map_err(|fault| fault.at(index))?;
            }
        }
        Value::String(_) | Value::Object(_) => encode(value, &mut out)?,
        other => return Err(expected(what, other)),
    }
    Ok(out)
}

fn route(value: &Value) -> Result<(&str, Ipv4Addr), Fault> {
    const WHAT: &str = "an object {\"to\": ..., \"via\": ...} with two strings";
    let object = value.as_object().ok_or_else(|| expected(WHAT, value))?;
    if let Some(key) = object.keys().find(|key| !matches!(key.as_str(), "to" | "via")) {
        return Err(Fault::new(format!("unknown key {} in a route; it has `to` and `via`", quoted(key))));
    }
    match (object.get("to").and_then(Value::as_str), object.get("via")) {
        (Some(to), Some(via)) => Ok((to, address(via)?)),
        _ => Err(Fault::new(format!("expected {WHAT}"))),
    }
}
