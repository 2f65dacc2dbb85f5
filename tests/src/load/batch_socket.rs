//! An `AF_PACKET` socket that sends and receives many frames with one system call.

use std::{
    io, mem,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Socket;

use super::message::FRAME_MAX;
use crate::{
    netns::NetNs,
    packet_socket::{bind, set, unbound},
};

/// Frames in one system call.
pub const BATCH: usize = 64;
/// The longest frame received; longer ones are cut, and found to be malformed.
const RECEIVED_MAX: usize = 2048;
/// What may wait to be received, octets.
const RECEIVE_BUFFER: usize = 64 << 20;
/// Octets beside each received frame.
const CONTROL: usize = 8;

/// A socket and its buffers.
#[derive(Debug)]
pub struct BatchSocket {
    socket: Socket,
    outgoing: Vec<([u8; FRAME_MAX], usize)>,
    queued: usize,
    incoming: Vec<[u8; RECEIVED_MAX]>,
    control: Vec<[u64; CONTROL]>,
}

/// A received frame.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The frame, without its outermost VLAN tag.
    pub frame: &'a [u8],
    /// The sender's kernel left the UDP checksum to hardware that was not there.
    pub checksum_pending: bool,
}

impl BatchSocket {
    /// Opens a socket on `interface` of `ns`.
    ///
    /// # Errors
    ///
    /// When there is no such interface, or without root.
    pub fn open(ns: &NetNs, interface: &str) -> Result<Self> {
        let index = ns.if_index(interface)?;
        ns.run(|| Self::open_here(index))?
            .with_context(|| format!("cannot open a packet socket on {interface}"))
    }

    /// Opens a socket on the interface with this number in the namespace of this thread.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn open_here(index: u32) -> io::Result<Self> {
        let socket = unbound()?;
        set(&socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
        set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER as libc::c_int)?;
        bind(&socket, index, libc::ETH_P_IP)?;
        Ok(Self {
            socket,
            outgoing: vec![([0; FRAME_MAX], 0); BATCH],
            queued: 0,
            incoming: vec![[0; RECEIVED_MAX]; BATCH],
            control: vec![[0; CONTROL]; BATCH],
        })
    }

    /// Whether another frame can be queued before [`Self::flush`].
    pub const fn has_room(&self) -> bool {
        self.queued < BATCH
    }

    /// Queues a frame that `write` writes; it says how long it is. `false` if there is no room.
    pub fn queue(&mut self, write: impl FnOnce(&mut [u8; FRAME_MAX]) -> usize) -> bool {
        let Some((frame, len)) = self.outgoing.get_mut(self.queued) else { return false };
        *len = write(frame).min(FRAME_MAX);
        self.queued += 1;
        true
    }

    /// Sends what is queued.
    ///
    /// # Errors
    ///
    /// When the interface does not take it. A full queue is no error: those frames are lost, as on a wire.
    pub fn flush(&mut self) -> io::Result<usize> {
        let queued = mem::take(&mut self.queued);
        let mut parts: [libc::iovec; BATCH] = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: mmsghdr is integers and pointers, for which all zeros are valid.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for ((part, message), (frame, len)) in parts.iter_mut().zip(&mut messages).zip(&mut self.outgoing) {
            *part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: *len };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
        }
        let mut sent = 0;
        while let Some(rest) = messages.get_mut(sent..queued).filter(|rest| !rest.is_empty()) {
            // SAFETY: `rest` are headers whose parts point to frames that outlive the call.
            let done = unsafe {
                libc::sendmmsg(self.socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0)
            };
            match usize::try_from(done) {
                Ok(done) => sent += done,
                Err(_) => {
                    let error = io::Error::last_os_error();
                    match error.raw_os_error() {
                        // One frame that found no room: the next ones may.
                        Some(libc::ENOBUFS | libc::EAGAIN) => sent += 1,
                        Some(libc::EINTR) => {}
                        _ => return Err(error),
                    }
                }
            }
        }
        Ok(queued)
    }

    /// Takes what has come in, without waiting, and returns how many frames that were.
    ///
    /// # Errors
    ///
    /// When the socket fails.
    pub fn receive(&mut self, mut take: impl FnMut(Incoming<'_>)) -> io::Result<usize> {
        let mut parts: [libc::iovec; BATCH] = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: mmsghdr is integers and pointers, for which all zeros are valid.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let buffers = self.incoming.iter_mut().zip(&mut self.control);
        for ((part, message), (frame, control)) in parts.iter_mut().zip(&mut messages).zip(buffers) {
            *part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = size_of_val(control);
        }
        // SAFETY: the headers point to buffers above, with their lengths, and all outlive the call.
        let received = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let Ok(received) = usize::try_from(received) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        };
        for (message, frame) in messages.iter().zip(&self.incoming).take(received) {
            let checksum_pending = checksum_pending(&message.msg_hdr);
            let frame = frame.get(..message.msg_len as usize).unwrap_or(frame);
            take(Incoming { frame, checksum_pending });
        }
        Ok(received)
    }

    /// Waits until a frame has come in, at most for `time`.
    ///
    /// # Errors
    ///
    /// When the socket fails.
    pub fn wait(&self, time: Duration) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Frames that came in and found no room since this was last asked.
    pub fn take_drops(&self) -> u64 {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the pointer and the length are those of `statistics`, which outlives the call.
        let done = unsafe {
            libc::getsockopt(
                self.socket.as_fd().as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut len,
            )
        };
        if done == 0 { statistics.tp_drops.into() } else { 0 }
    }
}

fn checksum_pending(message: &libc::msghdr) -> bool {
    // SAFETY: `message` was filled by recvmmsg and its control buffer is alive.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header inside the control buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_PACKET && kind == libc::PACKET_AUXDATA {
            // SAFETY: the kernel puts a tpacket_auxdata behind a header of this level and type.
            let aux = unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
            return aux.tp_status & libc::TP_STATUS_CSUMNOTREADY != 0;
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    false
}
