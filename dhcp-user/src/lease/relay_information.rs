//! What a relay agent says of a client in option 82 (RFC 3046), as far as it changes what the server does. The option
//! itself is echoed as it came; this is only a reading of it.

use std::net::Ipv4Addr;

/// The sub-options the server acts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayInformation<'a> {
    /// Sub-option 1, the circuit the client is on.
    pub circuit_id: Option<&'a [u8]>,
    /// Sub-option 5: the link to allocate for, in place of giaddr's (RFC 3527).
    pub link_selection: Option<Ipv4Addr>,
    /// Sub-option 11: the server identifier the client is to see (RFC 5107).
    pub server_override: Option<Ipv4Addr>,
    /// Sub-option 19: replies go to the port the relay sent from (RFC 8357).
    pub source_port: bool,
}

impl<'a> RelayInformation<'a> {
    /// Reads the value of option 82; a sub-option that is cut short ends it, one of a wrong length is passed over.
    pub fn parse(value: &'a [u8]) -> Self {
        let mut found = Self::default();
        let mut rest = value;
        while let Some((&code, after)) = rest.split_first() {
            let Some((value, after)) = split_value(after) else { break };
            rest = after;
            let usable = || address(value).filter(|address| !address.is_unspecified());
            match code {
                1 if !value.is_empty() => found.circuit_id = Some(value),
                5 => found.link_selection = usable(),
                11 => found.server_override = usable(),
                19 => found.source_port = true,
                _ => {}
            }
        }
        found
    }
}

/// Splits off a length octet and as many octets.
pub(crate) fn split_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(len))
}

/// The address that four octets are.
pub(crate) fn address(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}
