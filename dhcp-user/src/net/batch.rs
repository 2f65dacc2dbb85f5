//! Many frames to a system call: what a storm of clients costs is mostly crossing into the kernel and back.

use std::{
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

use super::packet_socket::{FRAME_MAX, ReceivedFrame, auxiliary_data};

/// Frames to a system call.
pub const FRAMES_MAX: usize = 64;
/// Octets of auxiliary data beside a frame, in words as `cmsghdr` is aligned.
const CONTROL_WORDS: usize = 16;

/// Buffers that frames are received into, used again and again.
#[derive(Debug)]
pub struct ReceiveBuffers {
    frames: Vec<u8>,
    control: Vec<[u64; CONTROL_WORDS]>,
}

impl Default for ReceiveBuffers {
    fn default() -> Self {
        Self { frames: vec![0; FRAMES_MAX * FRAME_MAX], control: vec![[0; CONTROL_WORDS]; FRAMES_MAX] }
    }
}

impl ReceiveBuffers {
    /// Waits for a frame as long as `socket` does, and adds it and those that have come with it to `into`.
    ///
    /// # Errors
    /// What the kernel says; that no frame came is none.
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        into: &mut Vec<ReceivedFrame>,
    ) -> io::Result<()> {
        let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; FRAMES_MAX];
        // SAFETY: an all-zero `mmsghdr` is one without name, parts, control data and flags.
        let mut messages: [libc::mmsghdr; FRAMES_MAX] = unsafe { mem::zeroed() };
        let buffers = self.frames.chunks_exact_mut(FRAME_MAX).zip(&mut self.control);
        for ((part, message), (frame, control)) in parts.iter_mut().zip(&mut messages).zip(buffers) {
            *part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = size_of_val(control) as _;
        }
        // SAFETY: every header points to buffers that live until the call returns, with their lengths.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                FRAMES_MAX as libc::c_uint,
                libc::MSG_WAITFORONE,
                ptr::null_mut(),
            )
        };
        let Ok(received) = usize::try_from(received) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            };
        };
        for (message, octets) in messages.iter().zip(self.frames.chunks_exact(FRAME_MAX)).take(received) {
            let octets = octets.get(..message.msg_len as usize).unwrap_or_default();
            if message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 || octets.is_empty() {
                continue;
            }
            let auxiliary = auxiliary_data(&message.msg_hdr);
            let mut frame = Vec::with_capacity(octets.len() + 4);
            match (auxiliary.tag, octets.split_at_checked(12)) {
                (Some(tag), Some((addresses, rest))) => {
                    frame.extend_from_slice(addresses);
                    frame.extend_from_slice(&tag);
                    frame.extend_from_slice(rest);
                }
                _ => frame.extend_from_slice(octets),
            }
            into.push(ReceivedFrame { octets: frame, checksum_pending: auxiliary.checksum_pending });
        }
        Ok(())
    }
}

/// Sends frames; returns how many the kernel did not take, and why it did not take the last of those.
pub(super) fn send(socket: BorrowedFd<'_>, frames: &[&[u8]]) -> (u64, Option<io::Error>) {
    let (mut refused, mut why) = (0, None);
    for some in frames.chunks(FRAMES_MAX) {
        let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; FRAMES_MAX];
        // SAFETY: as in `receive`.
        let mut messages: [libc::mmsghdr; FRAMES_MAX] = unsafe { mem::zeroed() };
        for ((part, message), frame) in parts.iter_mut().zip(&mut messages).zip(some) {
            *part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
        }
        let mut done = 0;
        while let Some(rest) = messages.get_mut(done..some.len()).filter(|rest| !rest.is_empty()) {
            // SAFETY: every header points to a frame that is borrowed until the call returns; sending only reads it.
            let sent = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0)
            };
            match usize::try_from(sent) {
                Ok(sent) => done += sent,
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() == io::ErrorKind::Interrupted {
                        continue;
                    }
                    // The first of the rest is refused; the next ones may be taken.
                    done += 1;
                    refused += 1;
                    why = Some(error);
                }
            }
        }
    }
    (refused, why)
}
