//! An `AF_PACKET` socket in a namespace: sends frames as given, receives them as they were on the wire, VLAN tags in
//! place (the kernel takes the outer one off and hands it over beside the frame) and UDP checksums complete.

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    ptr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use socket2::Socket;

use crate::{
    netns::NetNs,
    packet::complete_udp_checksum,
    packet_socket::{bind, unbound},
};

/// The largest frame received; longer ones are cut.
const FRAME_MAX: usize = 9216;

/// A socket that sees every frame an interface receives.
#[derive(Debug)]
pub struct RawSocket {
    socket: Socket,
}

impl AsFd for RawSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl RawSocket {
    /// Opens a socket on `interface` of `ns`.
    ///
    /// # Errors
    ///
    /// When there is no such interface, or without root.
    pub fn open(ns: &NetNs, interface: &str) -> Result<Self> {
        let index = ns.if_index(interface)?;
        ns.run(|| Self::open_here(index))?.with_context(|| format!("cannot open a raw socket on {interface}"))
    }

    fn open_here(index: u32) -> io::Result<Self> {
        let socket = unbound()?;
        bind(&socket, index, libc::ETH_P_ALL)?;
        Ok(Self { socket })
    }

    /// Sends one frame, Ethernet header and all.
    ///
    /// # Errors
    ///
    /// When the interface does not take it.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = self.socket.send(frame).context("cannot send a frame")?;
        ensure!(sent == frame.len(), "only {sent} of {} octets were sent", frame.len());
        Ok(())
    }

    /// The next frame, `None` if there is none within `timeout`.
    ///
    /// # Errors
    ///
    /// When the socket fails.
    pub fn receive(&self, timeout: Duration) -> Result<Option<Vec<u8>>> {
        // Zero would mean to wait for ever.
        self.socket.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        match self.receive_once() {
            Ok(frame) => Ok(Some(frame)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error).context("cannot receive a frame"),
        }
    }

    /// The first frame `wanted` says something about, and what it says; others are dropped.
    ///
    /// # Errors
    ///
    /// When the socket fails.
    pub fn receive_where<T>(
        &self,
        timeout: Duration,
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let end = Instant::now() + timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if let Some(frame) = self.receive(left)?
                && let Some(found) = wanted(&frame)
            {
                return Ok(Some(found));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
        }
    }

    fn receive_once(&self) -> io::Result<Vec<u8>> {
        let mut frame = vec![0_u8; FRAME_MAX];
        let mut control = [0_u64; 16];
        let mut part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        // SAFETY: msghdr is integers and pointers, for which all zeros are valid.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer in `message` is to a buffer above, with its length, and all outlive the call.
        let received = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        frame.truncate(length);
        let beside = beside(&message);
        if beside.checksum_open {
            complete_udp_checksum(&mut frame);
        }
        if let Some(tag) = beside.tag
            && frame.len() >= 12
        {
            frame.splice(12..12, tag);
        }
        Ok(frame)
    }
}

/// What the kernel says beside a frame.
#[derive(Default)]
struct Beside {
    /// The VLAN tag it took off, as the four octets it was.
    tag: Option<[u8; 4]>,
    /// The sender left the checksum to a network card, which a veth pair lacks.
    checksum_open: bool,
}

fn beside(message: &libc::msghdr) -> Beside {
    let mut found = Beside::default();
    // SAFETY: `message` was filled by recvmsg; its control buffer is alive.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header inside the control buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_PACKET && kind == libc::PACKET_AUXDATA {
            // SAFETY: the kernel puts a tpacket_auxdata behind a header of this level and type.
            let aux: libc::tpacket_auxdata =
                unsafe { ptr::read_unaligned(libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>()) };
            if aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                let [a, b] = aux.tp_vlan_tpid.to_be_bytes();
                let [c, d] = aux.tp_vlan_tci.to_be_bytes();
                found.tag = Some([a, b, c, d]);
            }
            found.checksum_open = aux.tp_status & libc::TP_STATUS_CSUMNOTREADY != 0;
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    found
}
