//! The renewals a client is going to send, from the request it has just sent.
//!
//! udhcpc 1.35, dhcpcd 9.4, systemd-networkd 252 and dhclient 4.4 renew with the REQUEST they selected with, without
//! options 50 and 54 and with their address in `ciaddr`; the same request goes out by unicast at T1 and by broadcast at
//! T2. A relayed client renews directly, without what its relay added, and rebinds through the relay. A prediction that
//! is wrong costs nothing: its fingerprint never matches, and the renewal teaches the right one.

use std::net::Ipv4Addr;

use dhcp_common::{
    abi::Form,
    wire::{BOOTP_OPTIONS, COOKIE},
};

use crate::engine::options::code;

/// A renewal to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// How it will come.
    pub form: Form,
    /// Its BOOTP message, with the `xid`, `secs` and `flags` of the request it was predicted from.
    pub payload: Vec<u8>,
}

/// The renewals to expect of a client that sent the REQUEST `payload` and was granted `address`: the direct one, and if
/// the request was relayed the relayed one. Empty if the request is not one to predict from.
pub fn renewals(payload: &[u8], address: Ipv4Addr) -> Vec<Prediction> {
    let relayed = payload.get(24..28).is_some_and(|giaddr| giaddr != [0; 4]);
    let mut predictions = Vec::with_capacity(2);
    if let Some(payload) = rewrite(payload, address, Form::Direct) {
        predictions.push(Prediction { form: Form::Direct, payload });
    }
    if relayed && let Some(payload) = rewrite(payload, address, Form::Relayed) {
        predictions.push(Prediction { form: Form::Relayed, payload });
    }
    predictions
}

fn rewrite(payload: &[u8], address: Ipv4Addr, form: Form) -> Option<Vec<u8>> {
    let (header, options) = payload.split_at_checked(BOOTP_OPTIONS)?;
    if !header.ends_with(&COOKIE) {
        return None;
    }
    // What is a renewal already comes again as it is, options 50 and 54 included if the client is of that kind.
    let renews = header.get(12..16) != Some(&[0; 4]);
    let mut renewal = header.to_vec();
    set(&mut renewal, 12, &address.octets())?;
    if form == Form::Direct {
        set(&mut renewal, 3, &[0])?;
        set(&mut renewal, 24, &[0; 4])?;
    }
    let mut rest = options;
    loop {
        match *rest {
            [code::END, ..] => break,
            [code::PAD, ref next @ ..] => {
                renewal.push(code::PAD);
                rest = next;
            }
            [code::OVERLOAD, ..] => return None,
            [code, len, ref next @ ..] => {
                let (value, next) = next.split_at_checked(usize::from(len))?;
                let left_out = match code {
                    code::REQUESTED_ADDRESS | code::SERVER_IDENTIFIER => !renews,
                    code::RELAY_INFORMATION => form == Form::Direct,
                    _ => false,
                };
                if !left_out {
                    renewal.extend_from_slice(&[code, len]);
                    renewal.extend_from_slice(value);
                }
                rest = next;
            }
            [] | [_] => return None,
        }
    }
    renewal.push(code::END);
    // The client's own padding: how much there is of it changes no fingerprint.
    renewal.resize(renewal.len().max(payload.len()), code::PAD);
    Some(renewal)
}

fn set(message: &mut [u8], at: usize, octets: &[u8]) -> Option<()> {
    message.get_mut(at..at + octets.len())?.copy_from_slice(octets);
    Some(())
}
