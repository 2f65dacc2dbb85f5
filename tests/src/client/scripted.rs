//! A client made of frames: sends what a test says, on any VLAN, and waits for the reply to exactly that.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    lab::{SERVER, SERVER_MAC},
    packet::Frame,
    parse::Message,
    raw::RawSocket,
};

/// How long a reply may take, on a busy machine and with a flush to disk.
pub const REPLY: Duration = Duration::from_secs(3);

/// How long to listen before silence is believed.
pub const SILENCE: Duration = Duration::from_millis(300);

/// Transactions of this process so far; each gets a number of its own.
static TRANSACTION: AtomicU32 = AtomicU32::new(1);

/// A client and what it puts into every message.
#[derive(Clone, Debug)]
pub struct Scripted<'a> {
    socket: &'a RawSocket,
    mac: [u8; 6],
    tags: Vec<(u16, u16)>,
    options: Vec<(u8, Vec<u8>)>,
}

/// A lease got by the four messages of RFC 2131.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The OFFER.
    pub offer: Message,
    /// The ACK.
    pub ack: Message,
    /// The ACK's frame.
    pub ack_frame: Vec<u8>,
}

impl<'a> Scripted<'a> {
    /// A client with hardware address `02:00:00:00:01:number`, asking for mask, router and name servers.
    pub fn new(socket: &'a RawSocket, number: u8) -> Self {
        let options = vec![(55, vec![1, 3, 6])];
        Self { socket, mac: [2, 0, 0, 0, 1, number], tags: Vec::new(), options }
    }

    /// Its hardware address.
    pub const fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The same client behind VLAN tags, the outer one first.
    #[must_use]
    pub fn on(mut self, tags: &[(u16, u16)]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    /// The same client with one more option in every message.
    #[must_use]
    pub fn with(mut self, code: u8, value: &[u8]) -> Self {
        self.options.push((code, value.to_vec()));
        self
    }

    /// A broadcast of its own of a type, with `first` before the options of every message.
    pub fn message(&self, kind: u8, first: &[(u8, &[u8])]) -> Frame {
        let mut frame = Frame::request(kind, self.mac);
        for &(tpid, tci) in &self.tags {
            frame = frame.tag(tpid, tci);
        }
        for (code, value) in first {
            frame = frame.option(*code, value);
        }
        for (code, value) in &self.options {
            frame = frame.option(*code, value);
        }
        frame
    }

    /// Its renewal sent straight to the server.
    pub fn renewal(&self, address: Ipv4Addr) -> Frame {
        self.rebinding(address).dst(SERVER).dst_mac(SERVER_MAC)
    }

    /// Its rebinding: the renewal as a broadcast.
    pub fn rebinding(&self, address: Ipv4Addr) -> Frame {
        self.message(3, &[]).ciaddr(address).src(address)
    }

    /// Sends a frame in a transaction of its own and waits for the reply to it; `None` if none comes in `patience`.
    ///
    /// # Errors
    ///
    /// When the socket fails.
    pub fn ask_for(&self, frame: &Frame, patience: Duration) -> Result<Option<(Message, Vec<u8>)>> {
        let xid = (std::process::id() << 16) ^ TRANSACTION.fetch_add(1, Ordering::Relaxed);
        self.socket.send(&frame.clone().xid(xid).build())?;
        self.socket.receive_where(patience, |frame| {
            let reply = Message::parse(frame).ok()?;
            (reply.op == 2 && reply.xid == xid).then(|| (reply, frame.to_vec()))
        })
    }

    /// Sends a frame and waits for the reply.
    ///
    /// # Errors
    ///
    /// When none comes.
    pub fn ask(&self, frame: &Frame) -> Result<(Message, Vec<u8>)> {
        self.ask_for(frame, REPLY)?.with_context(|| format!("no reply to {frame:?}"))
    }

    /// Sends a frame that nobody is to answer.
    ///
    /// # Errors
    ///
    /// When somebody does.
    pub fn ask_in_vain(&self, frame: &Frame) -> Result<()> {
        let reply = self.ask_for(frame, SILENCE)?;
        ensure!(reply.is_none(), "{frame:?} was answered: {reply:?}");
        Ok(())
    }

    /// DISCOVER, OFFER, REQUEST, ACK.
    ///
    /// # Errors
    ///
    /// When it gets no lease.
    pub fn dora(&self) -> Result<Lease> {
        let (offer, _) = self.ask(&self.message(1, &[]))?;
        ensure!(offer.kind() == 2, "no OFFER: {offer:?}");
        let request = [(50, &offer.yiaddr.octets()[..]), (54, &SERVER.octets()[..])];
        let (ack, ack_frame) = self.ask(&self.message(3, &request))?;
        ensure!(ack.kind() == 5 && ack.yiaddr == offer.yiaddr, "no ACK of {}: {ack:?}", offer.yiaddr);
        Ok(Lease { address: ack.yiaddr, offer, ack, ack_frame })
    }

    /// The same with patience: each message again and again, `tries` times at most, after `again` without a reply. The
    /// address, and how many messages it took.
    ///
    /// # Errors
    ///
    /// When it gets no lease.
    pub fn dora_patiently(&self, again: Duration, tries: u32) -> Result<(Ipv4Addr, u32)> {
        let persist = |frame: &Frame, kind| -> Result<(Message, u32)> {
            for sent in 1..=tries {
                if let Some((reply, _)) = self.ask_for(frame, again)? {
                    ensure!(reply.kind() == kind, "not of type {kind}: {reply:?}");
                    return Ok((reply, sent));
                }
            }
            bail!("no reply to {tries} messages {frame:?}")
        };
        let (offer, discovers) = persist(&self.message(1, &[]), 2)?;
        let wanted = [(50, &offer.yiaddr.octets()[..]), (54, &SERVER.octets()[..])];
        let (ack, requests) = persist(&self.message(3, &wanted), 5).context("after an OFFER")?;
        Ok((ack.yiaddr, discovers + requests))
    }

    /// Sends a RELEASE, which is never answered.
    ///
    /// # Errors
    ///
    /// When it cannot be sent.
    pub fn release(&self, address: Ipv4Addr) -> Result<()> {
        let release = self.message(7, &[(54, &SERVER.octets())]).ciaddr(address).src(address);
        self.socket.send(&release.dst(SERVER).dst_mac(SERVER_MAC).build())
    }
}
