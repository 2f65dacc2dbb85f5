//! An XDP program that passes every frame, attached in driver mode: native `XDP_TX` on a veth end is delivered only if
//! the other end has an XDP program too. Two instructions, so they are written here and need no object file; the two
//! system calls also tell `doctor` what this kernel and user can do.

use std::{
    fmt, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// `r0 = XDP_PASS; exit`, in the encoding of the kernel's `struct bpf_insn`.
static PASS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// How a program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By the kernel's network stack, slower; every interface can.
    Generic,
    /// By the interface's driver.
    Driver,
}

/// Which step failed.
#[derive(Debug)]
pub enum Error {
    /// The program could not be loaded.
    Load(io::Error),
    /// It could not be attached.
    Attach(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(_) => write!(f, "cannot load an XDP program (bpf(2) BPF_PROG_LOAD)"),
            Self::Attach(_) => write!(f, "cannot attach an XDP program (bpf(2) BPF_LINK_CREATE)"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Load(error) | Self::Attach(error) => Some(error),
        }
    }
}

/// The program on an interface; it goes when this is dropped or the process ends.
#[derive(Debug)]
pub struct XdpPass {
    _link: OwnedFd,
}

/// The first fields of the kernel's `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The same for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

impl XdpPass {
    /// Loads the program and attaches it to the interface with number `if_index` in the namespace of this thread, by a
    /// `bpf_link`, which takes Linux 5.9.
    ///
    /// # Errors
    ///
    /// [`Error::Load`] without `CAP_BPF` and `CAP_NET_ADMIN` or BPF in the kernel; [`Error::Attach`] when the interface
    /// has an XDP program already, is not there, or its driver cannot do `mode`.
    pub fn attach(if_index: u32, mode: Mode) -> Result<Self, Error> {
        let program = load().map_err(Error::Load)?;
        let attr = LinkCreate {
            prog_fd: u32::try_from(program.as_raw_fd())
                .map_err(|error| Error::Attach(io::Error::other(error)))?,
            target_ifindex: if_index,
            attach_type: BPF_XDP,
            flags: match mode {
                Mode::Generic => 1 << 1,
                Mode::Driver => 1 << 2,
            },
        };
        let link = bpf(BPF_LINK_CREATE, &attr).map_err(Error::Attach)?;
        Ok(Self { _link: link })
    }
}

/// Whether this process can load an XDP program.
///
/// # Errors
///
/// [`Error::Load`] with the kernel's reason.
pub fn can_load() -> Result<(), Error> {
    load().map(drop).map_err(Error::Load)
}

fn load() -> io::Result<OwnedFd> {
    let attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: 2,
        insns: PASS.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        prog_name: *b"lab_pass\0\0\0\0\0\0\0\0",
        expected_attach_type: BPF_XDP,
        ..ProgLoad::default()
    };
    bpf(BPF_PROG_LOAD, &attr)
}

/// A bpf(2) command that returns a file descriptor.
fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: the pointer and the length are those of `attr`, whose pointers are to statics; the kernel copies it.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
