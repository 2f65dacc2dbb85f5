//! A packet socket: every DHCP frame that the kernel program passed up, whole, and raw frames out.
//!
//! Linux takes the outermost VLAN tag off before packet sockets see a frame; it is put back from the socket's auxiliary
//! data, so that the daemon parses exactly what the kernel program saw.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use libc::{
    BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET,
    BPF_W, c_int, sock_filter,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::batch::{self, ReceiveBuffers};

/// The longest frame taken: a jumbo frame and two tags.
pub const FRAME_MAX: usize = 9_022;
/// What the socket may queue, octets: a storm's worth of new clients while the disk flushes.
const RECEIVE_BUFFER: usize = 32 << 20;
/// Answers to as many questions as may be open are few.
const ARP_RECEIVE_BUFFER: usize = 1 << 20;

/// A frame as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedFrame {
    /// The frame, tags included.
    pub octets: Vec<u8>,
    /// Whether the sender's kernel left the UDP checksum to hardware that was not there (a virtual link): it is not to
    /// be checked then.
    pub checksum_pending: bool,
}

/// A packet socket on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
}

impl PacketSocket {
    /// Opens a socket for the DHCP frames of the interface with index `ifindex`.
    ///
    /// # Errors
    /// What the kernel says; without CAP_NET_RAW that it is not permitted.
    pub fn open(ifindex: u32) -> io::Result<Self> {
        Self::with_filter(ifindex, &DHCP_FILTER, RECEIVE_BUFFER)
    }

    /// Opens a socket for answers to ARP probes that come in on the interface with index `ifindex`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_for_arp(ifindex: u32) -> io::Result<Self> {
        Self::with_filter(ifindex, &ARP_FILTER, ARP_RECEIVE_BUFFER)
    }

    fn with_filter(ifindex: u32, filter: &[sock_filter], octets: usize) -> io::Result<Self> {
        // Protocol 0 receives nothing: the filter is in place before the bind below makes frames come in.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_cloexec(true)?;
        attach_filter(&socket, filter)?;
        set_flag(&socket, libc::PACKET_AUXDATA)?;
        set_flag(&socket, libc::PACKET_IGNORE_OUTGOING)?;
        force_receive_buffer(&socket, octets);
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        bind(&socket, ifindex)?;
        Ok(Self { socket })
    }

    /// Waits up to 200 ms for a frame and adds it and those that have come with it to `into`, at most
    /// [`batch::FRAMES_MAX`] of them; none if none came.
    ///
    /// # Errors
    /// What the kernel says, as when the interface goes down.
    pub fn receive(&self, buffers: &mut ReceiveBuffers, into: &mut Vec<ReceivedFrame>) -> io::Result<()> {
        buffers.receive(self.socket.as_fd(), into)
    }

    /// Sends whole frames. Returns how many the kernel did not take, and what it said of the last of them.
    pub fn send(&self, frames: &[&[u8]]) -> (u64, Option<io::Error>) {
        batch::send(self.socket.as_fd(), frames)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<PacketSocket> for OwnedFd {
    fn from(socket: PacketSocket) -> Self {
        socket.socket.into()
    }
}

/// What the kernel says beside a frame.
pub(super) struct Auxiliary {
    /// The VLAN tag it took off.
    pub tag: Option<[u8; 4]>,
    /// See [`ReceivedFrame::checksum_pending`].
    pub checksum_pending: bool,
}

/// Reads what a received message has beside its frame.
pub(super) fn auxiliary_data(message: &libc::msghdr) -> Auxiliary {
    let mut found = Auxiliary { tag: None, checksum_pending: false };
    // SAFETY: `message` was filled by `recvmsg` and its control buffer is still there.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give pointers to whole headers inside the control buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_PACKET && kind == libc::PACKET_AUXDATA {
            // SAFETY: the kernel puts a `tpacket_auxdata` behind a header of this kind; read without assuming alignment.
            let data = unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
            found.checksum_pending = data.tp_status & libc::TP_STATUS_CSUMNOTREADY != 0;
            if data.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                let ethertype = if data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0 {
                    data.tp_vlan_tpid
                } else {
                    0x8100
                };
                let ([a, b], [c, d]) = (ethertype.to_be_bytes(), data.tp_vlan_tci.to_be_bytes());
                found.tag = Some([a, b, c, d]);
            }
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    found
}

fn set_flag(socket: &Socket, option: c_int) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, option, &1i32)
}

fn set_option<T>(socket: &Socket, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is a plain value of the length given, alive during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A large buffer if we may, the largest allowed otherwise.
fn force_receive_buffer(socket: &Socket, octets: usize) {
    let forced = c_int::try_from(octets).unwrap_or(c_int::MAX);
    if set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &forced).is_err()
        && let Err(error) = socket.set_recv_buffer_size(octets)
    {
        tracing::warn!(%error, "the packet socket keeps the system's small receive buffer");
    }
}

fn bind(socket: &Socket, ifindex: u32) -> io::Result<()> {
    // SAFETY: an all-zero `sockaddr_ll` is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = i32::try_from(ifindex).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `address` is a `sockaddr_ll` of the length given.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Attaches a classic BPF filter.
///
/// # Errors
/// If the kernel refuses it.
fn attach_filter(socket: &Socket, filter: &[sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: filter.as_ptr().cast_mut(),
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

const fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

const fn jump(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// Unfragmented IPv4 UDP to port 67, behind no or one tag (the outermost is not in the frame any more).
const DHCP_FILTER: [sock_filter; 21] = [
    /* 00 */ statement(BPF_LD | BPF_H | BPF_ABS, 12),
    /* 01 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 0x0800, 0, 7),
    /* 02 */ statement(BPF_LD | BPF_B | BPF_ABS, 23),
    /* 03 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 17, 0, 16),
    /* 04 */ statement(BPF_LD | BPF_H | BPF_ABS, 20),
    /* 05 */ jump(BPF_JMP | BPF_JSET | BPF_K, 0x3fff, 14, 0),
    /* 06 */ statement(BPF_LDX | BPF_B | BPF_MSH, 14),
    /* 07 */ statement(BPF_LD | BPF_H | BPF_IND, 16),
    /* 08 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 67, 10, 11),
    /* 09 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 0x8100, 0, 10),
    /* 10 */ statement(BPF_LD | BPF_H | BPF_ABS, 16),
    /* 11 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 0x0800, 0, 8),
    /* 12 */ statement(BPF_LD | BPF_B | BPF_ABS, 27),
    /* 13 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 17, 0, 6),
    /* 14 */ statement(BPF_LD | BPF_H | BPF_ABS, 24),
    /* 15 */ jump(BPF_JMP | BPF_JSET | BPF_K, 0x3fff, 4, 0),
    /* 16 */ statement(BPF_LDX | BPF_B | BPF_MSH, 18),
    /* 17 */ statement(BPF_LD | BPF_H | BPF_IND, 20),
    /* 18 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 67, 0, 1),
    /* 19 */ statement(BPF_RET | BPF_K, FRAME_MAX as u32),
    /* 20 */ statement(BPF_RET | BPF_K, 0),
];

/// ARP replies whose target has no address, behind no or one tag: what answers a probe (RFC 5227 section 2.1.1). All the
/// other ARP of a large link never reaches us.
const ARP_FILTER: [sock_filter; 12] = [
    /* 00 */ statement(BPF_LD | BPF_H | BPF_ABS, 12),
    /* 01 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 0x0806, 0, 4),
    /* 02 */ statement(BPF_LD | BPF_H | BPF_ABS, 20),
    /* 03 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 2, 0, 7),
    /* 04 */ statement(BPF_LD | BPF_W | BPF_ABS, 38),
    /* 05 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, 5),
    /* 06 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 0x8100, 0, 4),
    /* 07 */ statement(BPF_LD | BPF_W | BPF_ABS, 42),
    /* 08 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2),
    /* 09 */ statement(BPF_LD | BPF_H | BPF_ABS, 24),
    /* 10 */ statement(BPF_RET | BPF_K, FRAME_MAX as u32),
    /* 11 */ statement(BPF_RET | BPF_K, 0),
];

/// Keeps UDP port 67 on an interface, so that the kernel sends no ICMP for requests that clients send us by unicast, and
/// no other server can start beside us. Nothing is ever read from it: its filter refuses every datagram.
///
/// # Errors
/// If the port is taken, or may not be taken.
pub fn reserve_port(interface: &str) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    attach_filter(&socket, &[statement(BPF_RET | BPF_K, 0)])?;
    socket.bind(&std::net::SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 67).into())?;
    Ok(socket.into())
}
