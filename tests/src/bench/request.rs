//! The renewals that are measured: recorded from real clients, with another client put in, and the answers to them.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};

use super::abi::{self, TEMPLATE_MAX, Template};
use crate::{fixture::Fixture, packet::Frame};

/// The server's address, as in the recordings.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The server's hardware address, as in the recordings.
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
/// The lease time granted, seconds.
pub const LEASE_SECS: u32 = 3600;

const ETHERNET_SOURCE: usize = 6;
const IPV4_SOURCE: usize = 14 + 12;
const UDP_CHECKSUM: usize = 40;
const BOOTP: usize = 42;
const CIADDR: usize = BOOTP + 12;
const CHADDR: usize = BOOTP + 28;
const OPTIONS: usize = BOOTP + 240;

/// A recorded renewal.
#[derive(Clone, Debug)]
pub struct Request {
    frame: Vec<u8>,
    /// Where option 61 holds the hardware address, if it is there.
    client_id_at: Option<usize>,
}

impl Request {
    /// udhcpc's: 300 octets of BOOTP, with option 61.
    ///
    /// # Errors
    ///
    /// When the recording is not what it was.
    pub fn udhcpc() -> Result<Self> {
        let this = Self::recorded(include_str!("../../fixtures/clients/udhcpc/3-renew.hex"))?;
        ensure!(this.client_id_at.is_some(), "the recorded renewal of udhcpc has no option 61");
        Ok(this)
    }

    /// dhclient's: 300 octets of BOOTP, without option 61.
    ///
    /// # Errors
    ///
    /// When the recording is not what it was.
    pub fn dhclient() -> Result<Self> {
        let this = Self::recorded(include_str!("../../fixtures/clients/dhclient/3-renew.hex"))?;
        ensure!(this.client_id_at.is_none(), "the recorded renewal of dhclient has option 61");
        Ok(this)
    }

    /// The same with its UDP checksum left out (zero): the one recorded is wrong for every other client.
    #[must_use]
    pub fn without_checksum(mut self) -> Self {
        put(&mut self.frame, UDP_CHECKSUM, &[0, 0]);
        self
    }

    /// dhclient's DISCOVER, 300 octets of BOOTP, without option 61.
    ///
    /// # Errors
    ///
    /// When the recording is not what it was.
    pub fn dhclient_discover() -> Result<Self> {
        Self::recorded(include_str!("../../fixtures/clients/dhclient/1-discover.hex"))
    }

    fn recorded(text: &str) -> Result<Self> {
        let frame = Fixture::parse(text)?.frame;
        ensure!(frame.len() == BOOTP + 300, "the recorded request has {} octets, not 342", frame.len());
        let chaddr = frame.get(CHADDR..CHADDR + 6).context("no hardware address")?;
        let client_id: Vec<u8> = [61, 7, 1].iter().chain(chaddr).copied().collect();
        let found = frame.windows(client_id.len()).skip(OPTIONS).position(|window| window == client_id);
        Ok(Self { client_id_at: found.map(|at| OPTIONS + at + 3), frame })
    }

    /// The renewal of client `number` for `address`.
    pub fn of(&self, number: u32, address: Ipv4Addr) -> Vec<u8> {
        let mut frame = self.frame.clone();
        let mac = abi::mac(number);
        put(&mut frame, ETHERNET_SOURCE, &mac);
        put(&mut frame, IPV4_SOURCE, &address.octets());
        put(&mut frame, CIADDR, &address.octets());
        put(&mut frame, CHADDR, &mac);
        if let Some(at) = self.client_id_at {
            put(&mut frame, at, &mac);
        }
        frame
    }

    /// For the bench-only programs.
    pub fn template(&self) -> Template {
        let mut frame = [0; TEMPLATE_MAX];
        put(&mut frame, 0, &self.frame);
        // Lengths and offsets of a frame of 342 octets.
        Template { len: self.frame.len() as u32, client_id_at: self.client_id_at.unwrap_or(0) as u32, frame }
    }

    /// The frame that answers the renewal of client `number` for `address`.
    pub fn reply(&self, number: u32, address: Ipv4Addr) -> Vec<u8> {
        let mac = abi::mac(number);
        let xid = self.frame.get(BOOTP + 4..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        let mut reply = Frame::ack(mac, address, (SERVER_MAC, SERVER), LEASE_SECS, [255, 224, 0, 0])
            .xid(u32::from_be_bytes(xid))
            .option(3, &SERVER.octets())
            .option(6, &[198, 18, 0, 53, 198, 18, 0, 54])
            .option(15, b"example.org");
        if self.client_id_at.is_some() {
            let [a, b, c, d, e, f] = mac;
            reply = reply.option(61, &[1, a, b, c, d, e, f]);
        }
        reply.build()
    }
}

fn put(frame: &mut [u8], at: usize, octets: &[u8]) {
    for (to, from) in frame.iter_mut().skip(at).zip(octets) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_client_is_put_everywhere() {
        let address = Ipv4Addr::new(198, 18, 7, 7);
        let request = Request::udhcpc().unwrap();
        let frame = request.of(0x0102_0304, address);
        let mac = abi::mac(0x0102_0304);
        assert_eq!(frame.windows(6).filter(|window| *window == mac).count(), 3);
        assert_eq!(frame.windows(4).filter(|window| *window == address.octets()).count(), 2);
        let changed = frame.iter().zip(&request.frame).filter(|(a, b)| a != b).count();
        assert!(changed <= 3 * 6 + 2 * 4, "{changed} octets changed");
    }
}
