//! The control socket, made so that two daemons never share one. What is asked on it is the API's to answer.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A daemon is answering there.
    #[error("a daemon is answering on {}: stop it, or give this one its own dhcp.control.socket", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("the control socket {} cannot be made ({call}): {error}{}", path.display(), privileges(error))]
    Io {
        /// The socket.
        path: PathBuf,
        /// The call.
        call: &'static str,
        /// Why.
        error: io::Error,
    },
}

fn privileges(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (run as root, or set dhcp.control.socket to a path this user may write)"
        }
        _ => "",
    }
}

/// Makes the socket, readable and writable by owner and group. One that no daemon answers on any more is replaced.
///
/// # Errors
/// If a daemon answers there, or it cannot be made.
pub fn bind(path: &Path) -> Result<UnixListener, ControlError> {
    let failed = |call| move |error| ControlError::Io { path: path.to_owned(), call, error };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed("mkdir"))?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(ControlError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let found = fs::symlink_metadata(path).map_err(failed("lstat"))?;
            if error.kind() != io::ErrorKind::ConnectionRefused || !found.file_type().is_socket() {
                return Err(failed("connect")(error));
            }
            fs::remove_file(path).map_err(failed("unlink"))?;
        }
    }
    let listener = UnixListener::bind(path).map_err(failed("bind"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed("chmod"))?;
    listener.set_nonblocking(true).map_err(failed("fcntl"))?;
    Ok(listener)
}
