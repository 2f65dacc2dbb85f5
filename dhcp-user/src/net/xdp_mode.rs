//! Which XDP program runs on an interface, and in which mode: the interface itself tells (rtnetlink(7), `IFLA_XDP`), whatever
//! links say. So a program that was swapped in behind an earlier daemon's link is shown as what it is, and one that somebody
//! took away is missed.

use std::{
    io::{self, Read as _},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

/// `struct nlmsghdr` and `struct ifinfomsg`, octets.
const HEADER_LEN: usize = 16;
const IFINFO_LEN: usize = 16;
/// An interface with all it has to tell is a few KiB.
const ANSWER_MAX: usize = 64 << 10;
/// The kernel answers at once.
const PATIENCE: Duration = Duration::from_secs(1);
/// From `enum` in linux/if_link.h.
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
/// Flag of an attribute's type: it holds others.
const NESTED: u16 = 0x8000;

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Driver,
    /// In the network stack.
    Generic,
    /// On the card.
    Offloaded,
    /// In several of these.
    Several,
}

/// What runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// How.
    pub mode: XdpMode,
    /// The program's identifier; `None` if there are several.
    pub id: Option<u32>,
}

impl XdpMode {
    /// As `stats` names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
            Self::Several => "several",
        }
    }

    /// The mode on the interface with index `ifindex`; `None` without a program.
    ///
    /// # Errors
    /// When the kernel does not answer or not understandably.
    pub fn of(ifindex: u32) -> io::Result<Option<Self>> {
        Ok(XdpProgram::on(ifindex)?.map(|program| program.mode))
    }
}

impl XdpProgram {
    /// What runs on the interface with index `ifindex`; `None` if nothing does.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface; when the kernel does not answer or not understandably.
    pub fn on(ifindex: u32) -> io::Result<Option<Self>> {
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::RAW,
            Some(Protocol::from(libc::NETLINK_ROUTE)),
        )?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(&question(ifindex))?;
        let mut answer = vec![0; ANSWER_MAX];
        let len = (&socket).read(&mut answer)?;
        answer.truncate(len);
        program(&answer)
            .ok_or_else(|| io::Error::other("the kernel's answer about the interface makes no sense"))?
    }
}

/// `RTM_GETLINK` of one interface.
fn question(ifindex: u32) -> Vec<u8> {
    let len = (HEADER_LEN + IFINFO_LEN) as u32;
    let mut octets = len.to_ne_bytes().to_vec();
    octets.extend_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    octets.extend_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Sequence number and port: nothing else is asked on this socket.
    octets.extend_from_slice(&[0; 8]);
    // struct ifinfomsg: family, type, index, flags, change.
    octets.extend_from_slice(&[0; 4]);
    octets.extend_from_slice(&ifindex.to_ne_bytes());
    octets.extend_from_slice(&[0; 8]);
    octets
}

/// What an answer says, or the kernel's refusal; `None` if it is cut off or of another kind.
fn program(answer: &[u8]) -> Option<io::Result<Option<XdpProgram>>> {
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    let body = answer.get(HEADER_LEN..)?;
    if i32::from(kind) == libc::NLMSG_ERROR {
        let errno = i32::from_ne_bytes(*body.first_chunk()?);
        return Some(Err(io::Error::from_raw_os_error(errno.saturating_neg())));
    }
    if kind != libc::RTM_NEWLINK {
        return None;
    }
    let xdp = attribute(body.get(IFINFO_LEN..)?, libc::IFLA_XDP)?;
    let attached = attribute(xdp, IFLA_XDP_ATTACHED).and_then(|value| value.first());
    let mode = match attached {
        Some(1) => XdpMode::Driver,
        Some(2) => XdpMode::Generic,
        Some(3) => XdpMode::Offloaded,
        Some(4) => XdpMode::Several,
        _ => return Some(Ok(None)),
    };
    let id = attribute(xdp, IFLA_XDP_PROG_ID).and_then(|value| value.first_chunk());
    Some(Ok(Some(XdpProgram { mode, id: id.copied().map(u32::from_ne_bytes) })))
}

/// The value of the first attribute of a type.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        let value = attributes.get(4..len)?;
        if kind & !NESTED == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use nix::net::if_::if_nametoindex;

    use super::*;

    #[test]
    fn an_interface_without_a_program_says_so_and_one_that_is_not_there_is_refused() {
        let loopback = if_nametoindex("lo").unwrap();
        assert_eq!(XdpMode::of(loopback).unwrap(), None);
        let error = XdpMode::of(u32::MAX >> 1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error}");
    }

    #[test]
    fn an_answer_is_read_as_far_as_it_is_whole() {
        let attribute = |kind: u16, value: &[u8]| {
            let mut octets = (value.len() as u16 + 4).to_ne_bytes().to_vec();
            octets.extend_from_slice(&kind.to_ne_bytes());
            octets.extend_from_slice(value);
            octets.resize(octets.len().next_multiple_of(4), 0);
            octets
        };
        let inner = [attribute(IFLA_XDP_ATTACHED, &[2]), attribute(IFLA_XDP_PROG_ID, &77_u32.to_ne_bytes())];
        let xdp = attribute(libc::IFLA_XDP | NESTED, &inner.concat());
        let mut answer = vec![0; HEADER_LEN + IFINFO_LEN];
        answer[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
        answer.extend(attribute(libc::IFLA_IFNAME, b"eth0\0"));
        answer.extend(xdp);
        let whole = XdpProgram { mode: XdpMode::Generic, id: Some(77) };
        assert_eq!(program(&answer).unwrap().unwrap(), Some(whole));
        for len in 0..answer.len() - 4 {
            assert!(
                program(&answer[..len]).is_none_or(|said| said.is_ok_and(|said| said.is_none())),
                "{len}"
            );
        }
        answer[4] ^= 0x80;
        assert!(program(&answer).is_none());
    }
}
