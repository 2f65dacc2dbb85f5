//! What a holder's update makes of the record a standby has of that lease.

use super::codec::Update;
use crate::{
    lease::record::{LeaseRecord, LeaseState},
    time::Timestamp,
};

/// The record after an update of the block's holder, converted to this node's clock before; `None` if it tells only the
/// times of a lease that is not known, so that the sender's notion of what we know is wrong: begin again.
///
/// The kernel's knowledge of renewals is this node's own and stays, as long as client and lease time do.
pub fn updated(update: Update, known: Option<&LeaseRecord>) -> Option<LeaseRecord> {
    let Update { address, granted_at, expires, horizon, identity, .. } = update;
    let kept_until = if update.kept_until > horizon { update.kept_until } else { Timestamp::ZERO };
    let Some(identity) = identity else {
        let known = known?.clone();
        let kept = known.state == LeaseState::Bound
            && known.expires.since(known.granted_at) == expires.since(granted_at);
        let forms = if kept { known.forms } else { [None, None] };
        return Some(LeaseRecord { granted_at, expires, horizon, kept_until, forms, ..known });
    };
    let forms = known
        .filter(|known| known.state == LeaseState::Bound && identity.state == LeaseState::Bound)
        .filter(|known| known.client == identity.client && known.hardware == identity.hardware)
        .filter(|known| known.expires.since(known.granted_at) == expires.since(granted_at))
        .map_or([None, None], |known| known.forms);
    Some(LeaseRecord {
        address,
        state: identity.state,
        client: identity.client,
        hardware: identity.hardware,
        hostname: identity.hostname,
        relay_information: identity.relay_information,
        granted_at,
        expires,
        horizon,
        kept_until,
        forms,
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        lease::record::{ClientKey, HardwareAddress, KnownForm},
        time::Span,
    };

    fn lease(host: u8, granted_secs: u64, lease_secs: u64) -> LeaseRecord {
        let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, host]);
        let granted_at = Timestamp::ZERO + Span::from_secs(granted_secs);
        LeaseRecord {
            address: Ipv4Addr::new(198, 18, 0, 9),
            state: LeaseState::Bound,
            client: ClientKey::Hardware(hardware),
            hardware,
            hostname: (*b"host").into(),
            relay_information: Box::default(),
            granted_at,
            expires: granted_at + Span::from_secs(lease_secs),
            horizon: granted_at + Span::from_secs(lease_secs * 2),
            kept_until: Timestamp::ZERO,
            forms: [None, None],
        }
    }

    #[test]
    fn becomes_what_the_holder_has_and_keeps_its_own_forms() {
        let forms =
            [Some(KnownForm { fingerprint: std::num::NonZeroU64::MIN, answer: 2, echo_sum: 3 }), None];
        let mine = LeaseRecord { forms, ..lease(1, 100, 60) };
        for anew in [false, true] {
            let renewed = updated(Update::of(&lease(1, 130, 60), 4, anew), Some(&mine));
            assert_eq!(renewed, Some(LeaseRecord { forms, ..lease(1, 130, 60) }));
            let longer = updated(Update::of(&lease(1, 130, 90), 4, anew), Some(&mine));
            assert_eq!(longer, Some(lease(1, 130, 90)), "the kernel would grant 60 s");
        }
        let other = updated(Update::of(&lease(2, 130, 60), 4, true), Some(&mine));
        assert_eq!(other, Some(lease(2, 130, 60)));
        let free = LeaseRecord { state: LeaseState::Free, ..lease(1, 100, 60) };
        assert_eq!(updated(Update::of(&free, 4, true), Some(&mine)), Some(free));
        assert_eq!(updated(Update::of(&lease(1, 1, 1), 4, true), None), Some(lease(1, 1, 1)));
        assert_eq!(updated(Update::of(&lease(1, 1, 1), 4, false), None), None);
    }
}
