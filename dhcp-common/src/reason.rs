//! Why a frame was answered or passed: the one list that feeds the kernel's counters, the command line and the metrics.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:ident,)+) => {
        /// What became of a frame. Exactly one is counted for each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        /// One processor's counters; a field for each [`Reason`], in the same order, so that `bpftool` prints names.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(C)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Reason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The counter's name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($name),)+ }
            }

            /// What it means, for people.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }

        impl Counters {
            /// The count of one reason.
            pub const fn get(&self, reason: Reason) -> u64 {
                match reason { $(Reason::$variant => self.$name,)+ }
            }
        }
    };
}

reasons! {
    /// Answered in the kernel.
    Answered answered,
    /// Not IPv4.
    NotIpv4 not_ipv4,
    /// IPv4, but not UDP to the DHCP server port.
    NotDhcp not_dhcp,
    /// More than two VLAN tags.
    TooManyTags too_many_tags,
    /// An IPv4 header with options.
    Ipv4Options ipv4_options,
    /// A fragment.
    Fragment fragment,
    /// Shorter than its headers say, or than a DHCP message can be.
    Truncated truncated,
    /// More options than the kernel looks at.
    OptionsTooLong options_too_long,
    /// The Ethernet destination is another host's.
    OtherMac other_mac,
    /// The IPv4 destination is not an address of ours.
    OtherAddress other_address,
    /// A BOOTP reply, or neither request nor reply.
    NotRequest not_request,
    /// Not Ethernet hardware.
    Hardware hardware,
    /// Relayed more than 16 times.
    Hops hops,
    /// No DHCP magic cookie.
    NotCookie not_cookie,
    /// No client address: a DISCOVER, or a REQUEST that selects an offer or asks for a remembered address.
    NotRenewal not_renewal,
    /// The sname or file field carries something.
    NamesInUse names_in_use,
    /// A direct renewal whose IPv4 source is not the client's address.
    SourceMismatch source_mismatch,
    /// The address is in no pool of ours.
    UnknownAddress unknown_address,
    /// No lease is published for the address.
    NoLease no_lease,
    /// The lease is another hardware address's.
    OtherClient other_client,
    /// The lease was published under an older configuration.
    OldGeneration old_generation,
    /// The kernel does not know this form (direct or relayed) of the client's renewal.
    UnknownForm unknown_form,
    /// The request is not the one the answer was rendered for.
    Fingerprint fingerprint,
    /// The answer is not there or not of this configuration.
    NoAnswer no_answer,
    /// Granting the lease time would reach beyond the horizon.
    Horizon horizon,
    /// The daemon has not renewed the kernel's authority.
    Authority authority,
    /// No room in the frame's buffer for a longer answer.
    NoTailroom no_tailroom,
    /// A frame was dropped because writing the answer failed half-way; always zero.
    WriteFailed write_failed,
    /// Dropped: the client asks faster than the limit for one client.
    LimitedClient limited_client,
    /// Dropped: the relay agent's clients ask faster than the limit for one relay.
    LimitedRelay limited_relay,
    /// Dropped: more clients ask for the first time than the overall limit lets through.
    LimitedNew limited_new,
    /// Dropped: more clients ask again than the overall limit lets through.
    LimitedAgain limited_again,
    /// Dropped: more REQUESTs come in than the overall limit lets through.
    LimitedRequest limited_request,
    /// Dropped: more holders of known leases send what only the daemon can answer than the overall limit lets through.
    LimitedKnown limited_known,
}

impl Reason {
    /// The number of reasons.
    pub const COUNT: usize = Self::ALL.len();
}

impl Counters {
    /// Adds another processor's counters.
    pub fn add(&mut self, other: &Self) {
        for &reason in Reason::ALL {
            *self.get_mut(reason) += other.get(reason);
        }
    }

    fn get_mut(&mut self, reason: Reason) -> &mut u64 {
        // SAFETY: `Counters` is `repr(C)`, holds one `u64` per reason and nothing else (asserted below), and
        // `reason as usize` is below the number of reasons.
        unsafe { &mut *core::ptr::from_mut(self).cast::<u64>().add(reason as usize) }
    }
}

const _: () = assert!(size_of::<Counters>() == Reason::COUNT * size_of::<u64>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_follow_the_order_of_the_reasons() {
        let mut total = Counters::default();
        for (i, &reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason as usize, i);
            *total.get_mut(reason) = i as u64 + 1;
        }
        assert_eq!(total.answered, 1);
        assert_eq!(total.limited_known, Reason::COUNT as u64);
        let mut twice = total;
        twice.add(&total);
        for &reason in Reason::ALL {
            assert_eq!(twice.get(reason), 2 * total.get(reason));
        }
    }
}
