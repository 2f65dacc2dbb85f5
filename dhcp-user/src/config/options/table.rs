//! The options that have a name: their codes by the IANA registry of BOOTP and DHCP parameters, how their values are
//! written, and what the RFCs say a value must be.

/// How an option's value is written and what becomes of it on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Octets as they are.
    Hex,
    /// One octet.
    U8,
    /// Two octets, network order.
    U16,
    /// Four octets, network order.
    U32,
    /// Four octets, two's complement, network order.
    I32,
    /// One octet, 0 or 1.
    Bool,
    /// Text without an end mark.
    String,
    /// An address.
    Ipv4,
    /// One address or more.
    Ipv4List,
    /// Domain names in DNS wire format; compressed in option 119 alone, as RFC 3397 has it.
    FqdnList,
    /// Prefixes and routers in the format of RFC 3442.
    Routes,
    /// Pairs of a host and a router (RFC 2132 section 5.8).
    HostRoutes,
}

impl Kind {
    /// All kinds by the name they have in a file.
    pub(super) const ALL: [(&'static str, Self); 12] = [
        ("hex", Self::Hex),
        ("u8", Self::U8),
        ("u16", Self::U16),
        ("u32", Self::U32),
        ("i32", Self::I32),
        ("bool", Self::Bool),
        ("string", Self::String),
        ("ipv4", Self::Ipv4),
        ("ipv4-list", Self::Ipv4List),
        ("fqdn-list", Self::FqdnList),
        ("routes", Self::Routes),
        ("host-routes", Self::HostRoutes),
    ];
}

/// What else must hold of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Nothing.
    Any,
    /// A number of at least this.
    Min(u32),
    /// One of these numbers.
    OneOf(&'static [u32]),
    /// Ones, then zeros, in binary.
    Mask,
}

/// An option that has a name.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) code: u8,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    rule: Rule,
}

impl Known {
    /// Whether the value, encoded by this option's own kind, is one the RFC allows.
    pub(super) fn check(&self, octets: &[u8]) -> Result<(), String> {
        let number = octets.iter().fold(0_u32, |n, &b| n << 8 | u32::from(b));
        match self.rule {
            Rule::Min(least) if number < least => {
                Err(format!("{number} is below {least}, the least allowed"))
            }
            Rule::OneOf(numbers) if !numbers.contains(&number) => {
                let list: Vec<String> = numbers.iter().map(u32::to_string).collect();
                Err(format!("{number} is not one of {}", list.join(", ")))
            }
            Rule::Mask if number.leading_ones() + number.trailing_zeros() != 32 => {
                Err("not a subnet mask (ones, then zeros, in binary)".into())
            }
            _ => Ok(()),
        }
    }
}

const fn known(code: u8, name: &'static str, kind: Kind) -> Known {
    Known { code, name, kind, rule: Rule::Any }
}

const fn ruled(code: u8, name: &'static str, kind: Kind, rule: Rule) -> Known {
    Known { code, name, kind, rule }
}

/// The options that have a name, by code. RFC 2132 where no other is given.
pub(super) static KNOWN: &[Known] = &[
    ruled(1, "subnet-mask", Kind::Ipv4, Rule::Mask),
    known(2, "time-offset", Kind::I32),
    known(3, "routers", Kind::Ipv4List),
    known(4, "time-servers", Kind::Ipv4List),
    known(5, "name-servers", Kind::Ipv4List),
    known(6, "domain-name-servers", Kind::Ipv4List),
    known(7, "log-servers", Kind::Ipv4List),
    known(8, "cookie-servers", Kind::Ipv4List),
    known(9, "lpr-servers", Kind::Ipv4List),
    known(10, "impress-servers", Kind::Ipv4List),
    known(11, "resource-location-servers", Kind::Ipv4List),
    known(12, "host-name", Kind::String),
    known(13, "boot-file-size", Kind::U16),
    known(14, "merit-dump-file", Kind::String),
    known(15, "domain-name", Kind::String),
    known(16, "swap-server", Kind::Ipv4),
    known(17, "root-path", Kind::String),
    known(18, "extensions-path", Kind::String),
    known(19, "ip-forwarding", Kind::Bool),
    known(20, "non-local-source-routing", Kind::Bool),
    ruled(22, "max-datagram-reassembly-size", Kind::U16, Rule::Min(576)),
    ruled(23, "default-ip-ttl", Kind::U8, Rule::Min(1)),
    known(24, "path-mtu-aging-timeout", Kind::U32),
    ruled(26, "interface-mtu", Kind::U16, Rule::Min(68)),
    known(27, "all-subnets-local", Kind::Bool),
    known(28, "broadcast-address", Kind::Ipv4),
    known(29, "perform-mask-discovery", Kind::Bool),
    known(30, "mask-supplier", Kind::Bool),
    known(31, "perform-router-discovery", Kind::Bool),
    known(32, "router-solicitation-address", Kind::Ipv4),
    known(33, "static-routes", Kind::HostRoutes),
    known(34, "trailer-encapsulation", Kind::Bool),
    known(35, "arp-cache-timeout", Kind::U32),
    known(36, "ethernet-encapsulation", Kind::Bool),
    ruled(37, "default-tcp-ttl", Kind::U8, Rule::Min(1)),
    known(38, "tcp-keepalive-interval", Kind::U32),
    known(39, "tcp-keepalive-garbage", Kind::Bool),
    known(40, "nis-domain", Kind::String),
    known(41, "nis-servers", Kind::Ipv4List),
    known(42, "ntp-servers", Kind::Ipv4List),
    known(43, "vendor-specific", Kind::Hex),
    known(44, "netbios-name-servers", Kind::Ipv4List),
    known(45, "netbios-datagram-servers", Kind::Ipv4List),
    ruled(46, "netbios-node-type", Kind::U8, Rule::OneOf(&[1, 2, 4, 8])),
    known(47, "netbios-scope", Kind::String),
    known(48, "font-servers", Kind::Ipv4List),
    known(49, "x-display-managers", Kind::Ipv4List),
    known(60, "vendor-class-identifier", Kind::String),
    known(64, "nisplus-domain", Kind::String),
    known(65, "nisplus-servers", Kind::Ipv4List),
    known(66, "tftp-server-name", Kind::String),
    known(67, "boot-file-name", Kind::String),
    known(69, "smtp-servers", Kind::Ipv4List),
    known(70, "pop3-servers", Kind::Ipv4List),
    known(71, "nntp-servers", Kind::Ipv4List),
    known(72, "www-servers", Kind::Ipv4List),
    known(73, "finger-servers", Kind::Ipv4List),
    known(74, "irc-servers", Kind::Ipv4List),
    // RFC 4833.
    known(100, "posix-timezone", Kind::String),
    known(101, "tzdb-timezone", Kind::String),
    // RFC 8925: seconds; clients take less than 300 as 300. dhcproto 0.15 numbers it 106.
    known(108, "ipv6-only-preferred", Kind::U32),
    // RFC 8910.
    known(114, "captive-portal", Kind::String),
    // RFC 3397.
    known(119, "domain-search", Kind::FqdnList),
    // RFC 3442.
    known(121, "classless-static-routes", Kind::Routes),
    // RFC 3925.
    known(124, "vendor-identifying-class", Kind::Hex),
    known(125, "vendor-identifying-options", Kind::Hex),
    // RFC 5417.
    known(138, "capwap-controllers", Kind::Ipv4List),
    // RFC 6011.
    known(141, "sip-configuration-domains", Kind::FqdnList),
    // RFC 5859.
    known(150, "tftp-server-addresses", Kind::Ipv4List),
    // RFC 5071.
    known(209, "pxelinux-config-file", Kind::String),
    known(210, "pxelinux-path-prefix", Kind::String),
    known(211, "pxelinux-reboot-secs", Kind::U32),
    // Private use, but with one meaning everywhere: the routes of RFC 3442 for older Microsoft clients, and the web
    // proxy's configuration.
    known(249, "ms-classless-static-routes", Kind::Routes),
    known(252, "web-proxy-auto-discovery", Kind::String),
];
