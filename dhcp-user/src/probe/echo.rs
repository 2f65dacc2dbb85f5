//! ICMP echo for addresses behind relay agents (RFC 2131 section 4.4.1), through a raw socket: opening it takes
//! CAP_NET_RAW, using it takes nothing.

use std::{
    io,
    mem::MaybeUninit,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd as _,
    time::Duration,
};

use dhcp_common::checksum;
use socket2::{Domain, Protocol, Socket, Type};

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
/// `ICMP_FILTER` of linux/icmp.h, at level `SOL_RAW`: a bit set refuses that type.
const ICMP_FILTER: libc::c_int = 1;

/// A socket that asks and hears the answers.
#[derive(Debug)]
pub struct EchoSocket {
    socket: Socket,
    /// Tells our answers from those to others on this machine.
    id: [u8; 2],
}

impl EchoSocket {
    /// Opens it.
    ///
    /// # Errors
    /// What the kernel says; without CAP_NET_RAW that it is not permitted.
    pub fn open(id: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        let refused: u32 = !(1 << ECHO_REPLY);
        // SAFETY: the value is a plain number of the length given, alive during the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_RAW,
                ICMP_FILTER,
                (&raw const refused).cast(),
                size_of::<u32>() as libc::socklen_t,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        // Nobody waits for a neighbour to be found.
        socket.set_write_timeout(Some(Duration::from_millis(1)))?;
        Ok(Self { socket, id: id.to_be_bytes() })
    }

    /// Asks for an address.
    ///
    /// # Errors
    /// What the kernel says, as when there is no way there.
    pub fn ask(&self, address: Ipv4Addr) -> io::Result<()> {
        let [id_a, id_b] = self.id;
        let mut message = [ECHO_REQUEST, 0, 0, 0, id_a, id_b, 0, 0, 0, 0, 0, 0];
        message[8..].copy_from_slice(&address.octets());
        let field = checksum::field(checksum::sum(&message));
        message[2..4].copy_from_slice(&field);
        self.socket.send_to(&message, &SocketAddrV4::new(address, 0).into()).map(drop)
    }

    /// Waits up to 200 ms for an answer; `None` if none came.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn receive(&self) -> io::Result<Option<Ipv4Addr>> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 128];
        let len = match self.socket.recv(&mut buffer) {
            Ok(len) => len,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                    _ => Err(error),
                };
            }
        };
        // SAFETY: the kernel wrote the first `len` octets of the buffer, which has no fewer.
        let octets = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), len.min(128)) };
        Ok(self.answer(octets))
    }

    /// The address an IPv4 packet is an answer from. It must be the one asked for, as the payload tells: a host may answer
    /// from another of its addresses.
    fn answer(&self, packet: &[u8]) -> Option<Ipv4Addr> {
        let header_len = usize::from(packet.first()? & 0x0f) * 4;
        let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
        let message = packet.get(header_len..)?;
        let ours = message.first() == Some(&ECHO_REPLY)
            && message.get(4..6) == Some(&self.id)
            && message.get(8..12) == Some(&source);
        ours.then(|| Ipv4Addr::from(source))
    }
}
