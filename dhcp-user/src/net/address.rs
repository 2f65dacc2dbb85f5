//! An IPv4 address on an interface that the kernel takes away by itself when it is not renewed (rtnetlink(7),
//! `IFA_CACHEINFO`): a daemon that dies, or stands still, keeps it no longer than it said.

use std::{
    io::{self, Read as _},
    net::Ipv4Addr,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

/// `struct nlmsghdr`, octets.
const HEADER_LEN: usize = 16;
/// Every bit: the address is its own subnet, so that no route comes or goes with it.
const PREFIX_LEN: u8 = 32;
/// The kernel answers as soon as nobody else changes interfaces.
const PATIENCE: Duration = Duration::from_secs(2);
/// An acknowledgement repeats the question at most.
const ANSWER_MAX: usize = 4 << 10;

/// Puts an address on the interface with index `ifindex` for so many seconds, or renews it. At least one second.
///
/// # Errors
/// What the kernel says; without CAP_NET_ADMIN that it is not permitted.
pub fn put(ifindex: u32, address: Ipv4Addr, lifetime_secs: u32) -> io::Result<()> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let lifetime = lifetime_secs.max(1).to_ne_bytes();
    // struct ifa_cacheinfo: preferred and valid for so long, and two moments that the kernel fills in.
    let cache_info = [&lifetime[..], &lifetime, &[0; 8]].concat();
    order(&message(libc::RTM_NEWADDR, flags, ifindex, address, Some(&cache_info)))
}

/// Takes an address off an interface; whether it was there.
///
/// # Errors
/// As [`put`].
pub fn take_off(ifindex: u32, address: Ipv4Addr) -> io::Result<bool> {
    match order(&message(libc::RTM_DELADDR, 0, ifindex, address, None)) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A message about an address.
fn message(
    kind: u16,
    flags: libc::c_int,
    ifindex: u32,
    address: Ipv4Addr,
    cache_info: Option<&[u8]>,
) -> Vec<u8> {
    let mut octets = vec![0; 4];
    octets.extend_from_slice(&kind.to_ne_bytes());
    octets.extend_from_slice(&((flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    // Sequence number and port: nothing else is asked on this socket.
    octets.extend_from_slice(&[0; 8]);
    // struct ifaddrmsg: family, length of the prefix, flags, scope (everywhere), index.
    octets.extend_from_slice(&[libc::AF_INET as u8, PREFIX_LEN, 0, 0]);
    octets.extend_from_slice(&ifindex.to_ne_bytes());
    put_attribute(libc::IFA_LOCAL, &address.octets(), &mut octets);
    put_attribute(libc::IFA_ADDRESS, &address.octets(), &mut octets);
    if let Some(cache_info) = cache_info {
        put_attribute(libc::IFA_CACHEINFO, cache_info, &mut octets);
    }
    let len = (octets.len() as u32).to_ne_bytes();
    octets.splice(..4, len);
    octets
}

/// An attribute whose value is whole words long.
fn put_attribute(kind: u16, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
}

fn order(message: &[u8]) -> io::Result<()> {
    let socket =
        Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(libc::NETLINK_ROUTE)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(message)?;
    let mut answer = vec![0; ANSWER_MAX];
    let len = (&socket).read(&mut answer)?;
    answer.truncate(len);
    acknowledged(&answer).unwrap_or_else(|| Err(io::Error::other("the kernel's answer makes no sense")))
}

/// What an answer says; `None` if it is no acknowledgement.
fn acknowledged(answer: &[u8]) -> Option<io::Result<()>> {
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    if i32::from(kind) != libc::NLMSG_ERROR {
        return None;
    }
    let errno = i32::from_ne_bytes(*answer.get(HEADER_LEN..)?.first_chunk()?);
    Some(if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno.saturating_neg())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct ifaddrmsg`, octets.
    const IFADDR_LEN: usize = 8;

    #[test]
    fn a_message_says_what_the_kernel_expects() {
        let address = Ipv4Addr::new(198, 18, 0, 2);
        let put = message(libc::RTM_NEWADDR, libc::NLM_F_REPLACE, 7, address, Some(&[1; 16]));
        assert_eq!(put.len(), HEADER_LEN + IFADDR_LEN + 8 + 8 + 20);
        assert_eq!(put[..4], (put.len() as u32).to_ne_bytes());
        assert_eq!(put[16..24], [&[2, 32, 0, 0], &7_u32.to_ne_bytes()[..]].concat());
        assert_eq!(put[28..32], address.octets());
        assert_eq!(message(libc::RTM_DELADDR, 0, 7, address, None).len(), HEADER_LEN + IFADDR_LEN + 16);
    }

    #[test]
    fn an_answer_is_a_word_of_the_kernel_or_nothing() {
        let answer = |kind: u16, errno: i32| {
            let mut octets = vec![0; HEADER_LEN + 4];
            octets[4..6].copy_from_slice(&kind.to_ne_bytes());
            octets[HEADER_LEN..].copy_from_slice(&errno.to_ne_bytes());
            octets
        };
        let error = libc::NLMSG_ERROR as u16;
        assert!(acknowledged(&answer(error, 0)).unwrap().is_ok());
        let refused = acknowledged(&answer(error, -libc::EPERM)).unwrap().unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert!(acknowledged(&answer(error + 1, 0)).is_none());
        for len in 0..HEADER_LEN + 4 {
            assert!(acknowledged(&answer(error, 0)[..len]).is_none());
        }
    }

    #[test]
    fn an_interface_that_is_not_there_is_refused() {
        let nowhere = u32::MAX >> 1;
        assert!(put(nowhere, Ipv4Addr::new(198, 18, 0, 2), 1).is_err());
        assert!(take_off(nowhere, Ipv4Addr::new(198, 18, 0, 2)).is_err());
    }
}
