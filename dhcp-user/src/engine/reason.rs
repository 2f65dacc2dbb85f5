//! What became of a message that userspace handled: one reason each, and the one list of them that counters, logs and
//! the command line are made from.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What became of one message: exactly one of these per message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum SlowReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl SlowReason {
            /// Every reason, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name in counters and logs; it never changes.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means, for whoever reads a counter.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

reasons! {
    /// A DISCOVER was answered with an OFFER.
    Offered = "offered",
    /// A DISCOVER waits until it is known whether the address for it is in use; it is counted again when it is.
    Probing = "probing",
    /// A DISCOVER with option 80 was answered with an ACK at once (RFC 4039).
    AckedRapid = "acked_rapid",
    /// A REQUEST in SELECTING was granted.
    AckedNew = "acked_new",
    /// A REQUEST in INIT-REBOOT was granted.
    AckedReboot = "acked_reboot",
    /// A renewal (unicast to us) of a lease we hold was granted.
    AckedRenewal = "acked_renewal",
    /// A rebinding (broadcast or relayed) of a lease we hold was granted.
    AckedRebinding = "acked_rebinding",
    /// A renewal or rebinding was granted though we held no lease, for the address was free.
    AckedRecreated = "acked_recreated",
    /// An INFORM was answered.
    AckedInform = "acked_inform",
    /// A client gave its address back.
    Released = "released",
    /// A client found its address in use; the address is quarantined.
    Declined = "declined",
    /// NAK: the address is wrong for the link the client is on.
    NakWrongLink = "nak_wrong_link",
    /// NAK: the client asked for an address other than the one we hold for it.
    NakWrongAddress = "nak_wrong_address",
    /// NAK: the address is another client's, is offered to one, or is quarantined.
    NakTaken = "nak_taken",
    /// NAK: the address is in no pool and not this client's reservation.
    NakNotEntitled = "nak_not_entitled",
    /// NAK: a reservation elsewhere waits for this client.
    NakReservedElsewhere = "nak_reserved_elsewhere",
    /// Shorter than a BOOTP header and the magic cookie.
    IgnoredTooShort = "ignored_too_short",
    /// Longer than any message we take.
    IgnoredTooLong = "ignored_too_long",
    /// Not a BOOTREQUEST.
    IgnoredNotRequest = "ignored_not_request",
    /// The hardware address claims more than 16 octets.
    IgnoredHardwareLength = "ignored_hardware_length",
    /// More than 16 hops.
    IgnoredHops = "ignored_hops",
    /// The magic cookie is not DHCP's.
    IgnoredCookie = "ignored_cookie",
    /// An option runs beyond its area.
    IgnoredTruncatedOption = "ignored_truncated_option",
    /// An option the protocol stands on has a length or value that makes no sense.
    IgnoredBadOption = "ignored_bad_option",
    /// BOOTP: no message type.
    IgnoredBootp = "ignored_bootp",
    /// A message type that is not for a server, or not served.
    IgnoredMessageType = "ignored_message_type",
    /// Neither a client identifier nor a hardware address.
    IgnoredNoIdentity = "ignored_no_identity",
    /// It came in where no server address is known.
    IgnoredNoServerAddress = "ignored_no_server_address",
    /// No configured subnet is on the client's link.
    IgnoredNoSubnet = "ignored_no_subnet",
    /// A REQUEST whose addresses fit none of the four states of RFC 2131.
    IgnoredContradictory = "ignored_contradictory",
    /// For another server.
    IgnoredOtherServer = "ignored_other_server",
    /// INIT-REBOOT of a client of which we have no record: we must be silent.
    IgnoredNoRecord = "ignored_no_record",
    /// We hold nothing for this client there and are not authoritative.
    IgnoredNotAuthoritative = "ignored_not_authoritative",
    /// No address is left for the client.
    IgnoredNoFreeAddress = "ignored_no_free_address",
    /// RELEASE or DECLINE of an address the client does not hold.
    IgnoredNotHolder = "ignored_not_holder",
    /// The address is in a block this node does not hold, or has just taken over: it neither grants it nor refuses it.
    IgnoredNotOurBlock = "ignored_not_our_block",
    /// INFORM without an address to answer to, or with one that is not its sender's.
    IgnoredInformAddress = "ignored_inform_address",
}

impl std::fmt::Display for SlowReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
