//! The settings that may stand at every level (global, subnet, pool, reservation). One list of them, put into each
//! level's struct by a macro: serde's `flatten` would let unknown keys through and lose paths.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

use super::Object;
use crate::config::options;

/// The settings written at one level.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Settings<'a> {
    pub(in crate::config) lease_secs: Option<u32>,
    pub(in crate::config) lease_min_secs: Option<u32>,
    pub(in crate::config) lease_max_secs: Option<u32>,
    pub(in crate::config) t1_percent: Option<f64>,
    pub(in crate::config) t2_percent: Option<f64>,
    pub(in crate::config) rapid_commit: Option<bool>,
    pub(in crate::config) next_server: Option<&'a str>,
    pub(in crate::config) server_name: Option<&'a str>,
    pub(in crate::config) boot_file: Option<&'a str>,
    pub(in crate::config) options: &'a [Object<OptionEntry>],
}

impl Settings<'_> {
    /// Whether nothing at all is written.
    pub(in crate::config) fn is_empty(&self) -> bool {
        let Self {
            lease_secs: None,
            lease_min_secs: None,
            lease_max_secs: None,
            t1_percent: None,
            t2_percent: None,
            rapid_commit: None,
            next_server: None,
            server_name: None,
            boot_file: None,
            options: [],
        } = self
        else {
            return false;
        };
        true
    }
}

macro_rules! with_settings {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident { $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty,)* }
    ) => {
        #[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)*
            /// The lease time of a client that asks for none, seconds. Default 7200.
            #[serde(default)]
            #[schemars(range(min = 4, max = 315_360_000))]
            pub(in crate::config) lease_secs: Option<u32>,
            /// The shortest lease time a client may ask for, seconds. Default: `lease_secs`.
            #[serde(default)]
            #[schemars(range(min = 4, max = 315_360_000))]
            pub(in crate::config) lease_min_secs: Option<u32>,
            /// The longest lease time a client may ask for, seconds. Default: `lease_secs`.
            #[serde(default)]
            #[schemars(range(min = 4, max = 315_360_000))]
            pub(in crate::config) lease_max_secs: Option<u32>,
            /// When a client begins to renew (T1), percent of its lease time, up to one decimal. Default 50.
            #[serde(default)]
            #[schemars(range(min = 0.1, max = 99.8))]
            pub(in crate::config) t1_percent: Option<f64>,
            /// When a client begins to ask any server (T2), percent of its lease time, up to one decimal, above
            /// `t1_percent`. Default 87.5.
            #[serde(default)]
            #[schemars(range(min = 0.2, max = 99.9))]
            pub(in crate::config) t2_percent: Option<f64>,
            /// Whether a DISCOVER with option 80 is answered by an ACK at once (RFC 4039). Default true; false where
            /// several servers share a link without sharing their leases.
            #[serde(default)]
            pub(in crate::config) rapid_commit: Option<bool>,
            /// The address of the boot server (the `siaddr` field). Default 0.0.0.0, none.
            #[serde(default)]
            #[schemars(extend("format" = "ipv4"))]
            pub(in crate::config) next_server: Option<String>,
            /// The boot server's name (the `sname` field), at most 63 octets. Default empty.
            #[serde(default)]
            #[schemars(length(max = 63))]
            pub(in crate::config) server_name: Option<String>,
            /// The boot file (the `file` field), at most 127 octets. Default empty.
            #[serde(default)]
            #[schemars(length(max = 127))]
            pub(in crate::config) boot_file: Option<String>,
            /// DHCP options sent to clients that ask for them.
            #[serde(default)]
            pub(in crate::config) options: Vec<$crate::config::wire::Object<$crate::config::wire::OptionEntry>>,
        }

        impl $name {
            /// What this level says about leases and replies.
            pub(in crate::config) fn settings(&self) -> $crate::config::wire::Settings<'_> {
                $crate::config::wire::Settings {
                    lease_secs: self.lease_secs,
                    lease_min_secs: self.lease_min_secs,
                    lease_max_secs: self.lease_max_secs,
                    t1_percent: self.t1_percent,
                    t2_percent: self.t2_percent,
                    rapid_commit: self.rapid_commit,
                    next_server: self.next_server.as_deref(),
                    server_name: self.server_name.as_deref(),
                    boot_file: self.boot_file.as_deref(),
                    options: &self.options,
                }
            }
        }
    };
}
pub(super) use with_settings;

/// A DHCP option: by `name`, whose type is known, or by `code`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Option", extend("oneOf" = [
    {"required": ["name"], "properties": {"name": {"type": "string"}}},
    {"required": ["code"], "properties": {"code": {"type": "integer"}}}
]))]
pub(in crate::config) struct OptionEntry {
    /// The option's name.
    #[serde(default)]
    #[schemars(schema_with = "names")]
    pub(in crate::config) name: Option<String>,
    /// The option's number.
    #[serde(default)]
    #[schemars(range(min = 1, max = 254))]
    pub(in crate::config) code: Option<u8>,
    /// How the value of an option given by `code` is written and sent. May be left out if the code has a name.
    #[serde(default, rename = "type")]
    #[schemars(schema_with = "types")]
    pub(in crate::config) kind: Option<String>,
    /// The value; `null` takes away what an outer level gives.
    pub(in crate::config) value: Value,
    /// Send it also to clients that do not ask for it. Default false.
    #[serde(default)]
    pub(in crate::config) always: bool,
}

fn names(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<Value> = options::names().map(Value::from).chain([Value::Null]).collect();
    json_schema!({ "type": ["string", "null"], "enum": names })
}

fn types(_: &mut SchemaGenerator) -> Schema {
    let types: Vec<Value> = options::type_names().into_iter().map(Value::from).chain([Value::Null]).collect();
    json_schema!({ "type": ["string", "null"], "enum": types })
}
