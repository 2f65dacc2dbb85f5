//! What can go wrong with the store: each error names the thing, the place and the way out.

use std::{io, net::Ipv4Addr, path::PathBuf};

use super::codec::CodecError;
use crate::privilege::trust::Untrusted;

/// Why the store cannot be opened or a batch cannot be made durable.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A lease breaks a bound of the codec, or a stored one cannot be read by this version.
    #[error("lease of {address}: {source}")]
    Codec {
        /// The lease's address.
        address: Ipv4Addr,
        /// What is wrong with it.
        source: CodecError,
    },
    /// An answer or a bookkeeping value is too long.
    #[error("{what} has {bytes} octets, the store keeps at most {bytes_max}")]
    TooLong {
        /// Which one.
        what: String,
        /// Its length in octets.
        bytes: usize,
        /// The most allowed, in octets.
        bytes_max: usize,
    },
    /// The batch does not fit into one segment.
    #[error("a batch of {bytes} octets is more than one flush can carry ({bytes_max}): commit it in parts")]
    BatchTooLarge {
        /// The batch's size in octets.
        bytes: usize,
        /// The most allowed, in octets.
        bytes_max: usize,
    },
    /// The disk has no room for the next segment; nothing was written.
    #[error(
        "no room for the next segment of the lease store, {path}: {source}; \
         free some space, nothing is lost and the store goes on by itself"
    )]
    Full {
        /// The segment that could not be made.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system failed an operation on a file of the store.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier commit failed half way.
    #[error(
        "the lease store {path} takes no more changes since an earlier flush failed and may have lost data; \
         see that error, mend the disk and start again"
    )]
    Poisoned {
        /// The store's directory.
        path: PathBuf,
    },
    /// Another process has the store open.
    #[error("the lease store {path} is open in {holder}: stop that one first, or use another directory")]
    Locked {
        /// The store's directory.
        path: PathBuf,
        /// Who has it, as far as known.
        holder: String,
    },
    /// The directory would let others change leases.
    #[error("the lease store {0}")]
    Untrusted(#[source] Untrusted),
    /// The path is there, but is no directory.
    #[error("the lease store {path} is not a directory: name another path or move it away")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The store was written by another version of this program.
    #[error(
        "{path} has schema version {found}, this program reads version {supported}: \
         run the version that wrote it, or move the directory away to start empty"
    )]
    Schema {
        /// The file that says so.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The version this program reads and writes.
        supported: u32,
    },
    /// Acknowledged data is damaged or missing.
    #[error(
        "{path}, at octet {offset}: {what}. Acknowledged leases are lost or in doubt, so the store is refused: \
         restore the directory from a copy, or move it away to start empty and wait out the longest lease time"
    )]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// Where in it, in octets from its start.
        offset: u64,
        /// What was found.
        what: String,
    },
}

impl StoreError {
    /// An [`StoreError::Io`] from its parts, for `map_err`.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
