//! Making `AF_PACKET` sockets: options and the interface they are bound to.

use std::{io, mem, os::fd::AsRawFd as _, ptr};

use socket2::{Domain, Protocol, Socket, Type};

/// A raw packet socket that hears nothing before [`bind`] names an interface: no frame of another one slips in. It says
/// what the kernel knows beside each frame, and does not hear what leaves this machine.
///
/// # Errors
///
/// What the kernel says.
pub fn unbound() -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None::<Protocol>)?;
    set(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
    set(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
    Ok(socket)
}

/// Has it hear frames of an EtherType (`ETH_P_...`) that come in by the interface with this number.
///
/// # Errors
///
/// What the kernel says.
pub fn bind(socket: &Socket, index: u32, protocol: libc::c_int) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain integers, for which all zeros are valid.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (protocol as u16).to_be();
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    // SAFETY: the pointer and the length are those of `address`, which outlives the call.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets an option that is a number.
///
/// # Errors
///
/// What the kernel says.
pub fn set(socket: &Socket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `value`, which outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
