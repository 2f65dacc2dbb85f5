//! The option codes the protocol itself uses, in one place: for the engine, and for what is rendered and foreseen for
//! the kernel.

/// Codes of RFC 2132 and of the RFCs named.
pub mod code {
    pub const PAD: u8 = 0;
    pub const SUBNET_MASK: u8 = 1;
    pub const HOST_NAME: u8 = 12;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_IDENTIFIER: u8 = 54;
    pub const PARAMETER_REQUEST_LIST: u8 = 55;
    pub const MESSAGE_MAX: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const CLIENT_IDENTIFIER: u8 = 61;
    /// RFC 4039.
    pub const RAPID_COMMIT: u8 = 80;
    /// RFC 3046.
    pub const RELAY_INFORMATION: u8 = 82;
    /// RFC 8925.
    pub const IPV6_ONLY_PREFERRED: u8 = 108;
    /// RFC 3011.
    pub const SUBNET_SELECTION: u8 = 118;
    pub const END: u8 = 255;
}
