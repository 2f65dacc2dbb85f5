//! Whether this network namespace has an interface. sysfs would answer for the namespace it was mounted in.

use std::ffi::CString;

/// The interface's number, if there is one of that name.
pub fn index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the string ends with a zero and lives until the call returns.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}
