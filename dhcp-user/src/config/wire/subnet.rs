//! `dhcp.subnets`, with pools and reservations, as written.

use super::{Object, settings::with_settings};

with_settings! {
    /// A subnet: one link's worth of addresses.
    pub(in crate::config) struct Subnet {
        /// Network and prefix length, for example "198.18.0.0/16".
        pub(in crate::config) subnet: String,
        /// The interface its clients are attached to, one of `dhcp.interfaces`. Left out, the subnet is served through
        /// relay agents only.
        #[serde(default)]
        pub(in crate::config) interface: Option<String>,
        /// The VLAN its clients' frames are tagged with (802.1Q).
        #[serde(default)]
        #[schemars(range(min = 1, max = 4094))]
        pub(in crate::config) vlan: Option<u16>,
        /// In place of `vlan`: the VLAN tags from the outermost in, at most two (QinQ).
        #[serde(default)]
        #[schemars(length(min = 1, max = 2), inner(range(min = 1, max = 4094)))]
        pub(in crate::config) vlans: Option<Vec<u16>>,
        /// Addresses of relay agents outside of `subnet` whose clients belong here. A relay agent inside of `subnet`
        /// need not be named.
        #[serde(default)]
        #[schemars(with = "Vec<std::net::Ipv4Addr>")]
        pub(in crate::config) relays: Vec<String>,
        /// The ranges addresses are given from.
        #[serde(default)]
        pub(in crate::config) pools: Vec<Object<Pool>>,
        /// Addresses kept for one client each.
        #[serde(default)]
        pub(in crate::config) reservations: Vec<Object<Reservation>>,
    }
}

with_settings! {
    /// A range of addresses given to clients.
    pub(in crate::config) struct Pool {
        /// First and last address, for example "198.18.1.0-198.18.1.255", or a prefix, for example "198.18.1.0/24".
        pub(in crate::config) range: String,
    }
}

with_settings! {
    /// An address kept for one client, named by exactly one of `hw_address`, `client_id` and `circuit_id`. Inside a
    /// pool it takes on the pool's settings.
    #[schemars(extend("oneOf" = [
        {"required": ["hw_address"], "properties": {"hw_address": {"type": "string"}}},
        {"required": ["client_id"], "properties": {"client_id": {"type": "string"}}},
        {"required": ["circuit_id"], "properties": {"circuit_id": {"type": "string"}}}
    ]))]
    pub(in crate::config) struct Reservation {
        /// The client's Ethernet address, for example "02:00:00:00:00:01".
        #[serde(default)]
        pub(in crate::config) hw_address: Option<String>,
        /// The client's option 61, whole: "hex:01020000000001" or "text:name".
        #[serde(default)]
        pub(in crate::config) client_id: Option<String>,
        /// The circuit the relay agent says the client is on (option 82, sub-option 1): "hex:0a0b" or "text:ge-0/0/1".
        #[serde(default)]
        pub(in crate::config) circuit_id: Option<String>,
        /// The address, inside the subnet.
        #[schemars(extend("format" = "ipv4"))]
        pub(in crate::config) address: String,
        /// The client's host name, sent in option 12 and shown in listings.
        #[serde(default)]
        #[schemars(length(min = 1, max = 253))]
        pub(in crate::config) hostname: Option<String>,
    }
}
