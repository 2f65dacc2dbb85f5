//! The two questions `doctor` asks a driver by the ethtool ioctl, so that the ethtool program is not needed.

use std::{io, os::fd::AsRawFd as _, os::unix::net::UnixDatagram};

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x3;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq` with a pointer.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut libc::c_void,
    // The kernel copies the whole union.
    rest: [u8; 16],
}

/// The name of the interface's driver.
///
/// # Errors
///
/// When the interface or its driver does not answer.
pub fn driver(interface: &str) -> io::Result<String> {
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    ask(interface, &mut info)?;
    let name = info.driver.split(|octet| *octet == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Whether the card takes VLAN tags off received frames, so that XDP does not see them.
///
/// # Errors
///
/// When the interface or its driver does not answer.
pub fn strips_vlan(interface: &str) -> io::Result<bool> {
    let mut value = Value { command: ETHTOOL_GFLAGS, data: 0 };
    ask(interface, &mut value)?;
    Ok(value.data & ETH_FLAG_RXVLAN != 0)
}

fn ask<T>(interface: &str, question: &mut T) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    if interface.len() >= name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in name.iter_mut().zip(interface.bytes()) {
        *to = from;
    }
    let socket = UnixDatagram::unbound()?;
    let mut request = Request { name, data: std::ptr::from_mut(question).cast(), rest: [0; 16] };
    // SAFETY: `request` is at least as large as the kernel's ifreq and points to a structure of the command's own
    // layout, which the kernel fills and no more; both outlive the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layouts_are_the_kernels() {
        assert_eq!(size_of::<DriverInfo>(), 196);
        assert_eq!(size_of::<Request>(), 40);
    }

    #[test]
    fn an_interface_that_is_not_there_does_not_answer() {
        assert!(driver("nosuchif").is_err());
        assert!(driver("a-name-longer-than-any").is_err());
    }
}
