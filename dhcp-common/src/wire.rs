//! Where things are in a frame, and the numbers that name them.
//!
//! ```text
//! Ethernet 14 | VLAN 4 (0 to 2 times) | IPv4 20 | UDP 8 | BOOTP 236 | cookie 4 | options ...
//!
//! BOOTP (RFC 951, RFC 2131 section 2), octets from its start:
//!  0 op  1 htype  2 hlen  3 hops  4 xid  8 secs  10 flags  12 ciaddr  16 yiaddr  20 siaddr  24 giaddr
//!  28 chaddr(16)  44 sname(64)  108 file(128)  236 cookie(4)  240 options
//! ```

/// Octets of an Ethernet header without tags.
pub const ETHERNET_LEN: usize = 14;
/// Octets of one VLAN tag.
pub const VLAN_LEN: usize = 4;
/// Octets of an IPv4 header without options: the only kind answered in the kernel.
pub const IPV4_LEN: usize = 20;
/// Octets of a UDP header.
pub const UDP_LEN: usize = 8;
/// Octets of the IPv4 and UDP headers.
pub const IPV4_UDP_LEN: usize = IPV4_LEN + UDP_LEN;
/// Octets of the fixed BOOTP header and the magic cookie: where the options begin.
pub const BOOTP_OPTIONS: usize = 240;
/// Octets from the IPv4 header to the options.
pub const HEADERS_LEN: usize = IPV4_UDP_LEN + BOOTP_OPTIONS;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
/// EtherType of an 802.1Q tag.
pub const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0x00];
/// EtherType of an 802.1ad service tag.
pub const ETHERTYPE_QINQ: [u8; 2] = [0x88, 0xa8];
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// The server's and the relay's port.
pub const PORT_SERVER: u16 = 67;
/// The client's port.
pub const PORT_CLIENT: u16 = 68;
/// The limited broadcast address.
pub const BROADCAST: [u8; 4] = [255; 4];
/// The unspecified address.
pub const UNSPECIFIED: [u8; 4] = [0; 4];
/// The Ethernet broadcast address.
pub const BROADCAST_MAC: [u8; 6] = [255; 6];

/// BOOTP `op` of a request.
pub const BOOTREQUEST: u8 = 1;
/// BOOTP `op` of a reply.
pub const BOOTREPLY: u8 = 2;
/// `htype` of Ethernet.
pub const HTYPE_ETHERNET: u8 = 1;
/// `hlen` of Ethernet.
pub const HLEN_ETHERNET: u8 = 6;
/// A relay discards a message that has come this far (RFC 1542 section 4.1.1); so do we.
pub const HOPS_MAX: u8 = 16;
/// The magic cookie before the options.
pub const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// A BOOTP message is at least this long (RFC 1542 section 2.1).
pub const BOOTP_MIN_LEN: usize = 300;

/// The time to live of our replies.
pub const REPLY_TTL: u8 = 64;
/// Octets of `sname` and `file` together.
pub const NAMES_LEN: usize = 192;

/// The longest option area of a request that the kernel will look at, octets, padding included: room for the longest
/// client identifier beside what clients send.
pub const REQUEST_OPTIONS_MAX: usize = 288;
/// A bound on where an option can begin in it that a mask can express.
pub const REQUEST_OPTIONS_MASK: usize = REQUEST_OPTIONS_MAX.next_power_of_two() - 1;
/// The longest option area of an answer that the kernel can hold, octets.
pub const ANSWER_OPTIONS_MAX: usize = 320;
/// Octets from the start of a frame to its options, with the most tags that are answered.
pub const HEAD_MAX: usize = ETHERNET_LEN + 2 * VLAN_LEN + HEADERS_LEN;
/// The longest option echoed from the request (code and length octets included).
pub const ECHO_MAX: usize = 255;
