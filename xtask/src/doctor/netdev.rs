//! What a driver can do with XDP, by the kernel's `netdev` generic netlink family (Linux 6.3): asking does not touch the
//! interface, where attaching a program for a try would make some drivers reset it.

use std::io;

const NETLINK_GENERIC: libc::c_int = 16;
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;

/// Drop, pass and send back, which is all our program does.
const XDP_ACT_BASIC: u64 = 1;

/// Netlink header and generic header.
const HEADERS: usize = 16 + 4;

/// Whether the driver of interface `if_index` runs XDP programs itself.
///
/// # Errors
///
/// `NotFound` where the kernel is older than 6.3, else the kernel's reason.
pub fn driver_has_xdp(if_index: u32) -> io::Result<bool> {
    let family = ask(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"netdev\0")?;
    let id = attribute(&family, CTRL_ATTR_FAMILY_ID)
        .and_then(|value| value.first_chunk::<2>())
        .map(|octets| u16::from_ne_bytes(*octets))
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let device = ask(id, NETDEV_CMD_DEV_GET, NETDEV_A_DEV_IFINDEX, &if_index.to_ne_bytes())?;
    let features = attribute(&device, NETDEV_A_DEV_XDP_FEATURES)
        .and_then(|value| value.first_chunk::<8>())
        .map(|octets| u64::from_ne_bytes(*octets))
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(features & XDP_ACT_BASIC != 0)
}

/// Sends one request with one attribute and returns the attributes of the answer.
fn ask(family: u16, command: u8, kind: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    let socket = open_socket()?;
    let request = request(family, command, kind, value);
    // SAFETY: the pointer and the length are those of `request`.
    let sent = unsafe { libc::send(socket.fd, request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut answer = vec![0; 8192];
    // SAFETY: the pointer and the length are those of `answer`.
    let received = unsafe { libc::recv(socket.fd, answer.as_mut_ptr().cast(), answer.len(), 0) };
    answer.truncate(usize::try_from(received).map_err(|_| io::Error::last_os_error())?);
    unwrap_answer(&answer)
}

fn request(family: u16, command: u8, kind: u16, value: &[u8]) -> Vec<u8> {
    const NLM_F_REQUEST: u16 = 1;
    let attribute_len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut out = vec![0; 4];
    out.extend(family.to_ne_bytes());
    out.extend(NLM_F_REQUEST.to_ne_bytes());
    out.extend([0; 8]);
    out.extend([command, 1, 0, 0]);
    out.extend(attribute_len.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    out.splice(..4, length.to_ne_bytes());
    out
}

/// The attributes of an answer, or the error it carries.
fn unwrap_answer(answer: &[u8]) -> io::Result<Vec<u8>> {
    const NLMSG_ERROR: u16 = 2;
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = answer.get(4..).and_then(<[u8]>::first_chunk::<2>).ok_or_else(invalid)?;
    if u16::from_ne_bytes(*kind) == NLMSG_ERROR {
        let code = answer.get(16..).and_then(<[u8]>::first_chunk::<4>).ok_or_else(invalid)?;
        return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(*code)));
    }
    answer.get(HEADERS..).map(<[u8]>::to_vec).ok_or_else(invalid)
}

/// The value of the first attribute of `kind`.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let [a, b, c, d] = *attributes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = attributes.get(4..length)?;
        // The upper two bits are flags.
        if u16::from_ne_bytes([c, d]) & 0x3fff == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// A socket that closes itself.
struct Socket {
    fd: libc::c_int,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and closed once.
        unsafe { libc::close(self.fd) };
    }
}

fn open_socket() -> io::Result<Socket> {
    // SAFETY: socket takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, NETLINK_GENERIC) };
    if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(Socket { fd }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_padding_and_broken_ones_are_not_read() {
        let two = [5, 0, 9, 0, 1, 0, 0, 0, 8, 0, 3, 0, 1, 2, 3, 4];
        assert_eq!(attribute(&two, 3), Some(&[1, 2, 3, 4][..]));
        assert_eq!(attribute(&two, 9), Some(&[1][..]));
        assert_eq!(attribute(&two, 4), None);
        assert_eq!(attribute(&[0, 0, 1, 0], 3), None);
        assert_eq!(attribute(&[200, 0, 3, 0, 1], 3), None);
    }

    #[test]
    fn an_error_answer_is_an_error() {
        let mut answer = vec![0; 36];
        answer.splice(4..6, 2_u16.to_ne_bytes());
        answer.splice(16..20, (-libc::ENOENT).to_ne_bytes());
        assert_eq!(unwrap_answer(&answer).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
