//! When consensus has stopped on this node, for its file could not be written: nothing more is agreed on here, and what the
//! node holds ends. The engine does not go on after that; the daemon is started anew as soon as the disk takes something.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep};

use super::pump::deliver;
use crate::{server::service::Event, site::consensus::council::Council};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the disk is tried.
const TRY_EVERY: Duration = Duration::from_secs(5);
/// More than the next writes take.
const ROOM_OCTETS: usize = 256 * 1024;

/// Ends the service with an error when consensus has stopped and its directory can be written to.
pub async fn watch(council: Arc<Council>, state_path: PathBuf, service: SyncSender<Event>) {
    let failure = loop {
        sleep(LOOK_EVERY).await;
        if let Some(failure) = council.failure() {
            break failure;
        }
    };
    let mut told = false;
    loop {
        let path = state_path.clone();
        match spawn_blocking(move || try_write(&path)).await {
            Ok(Ok(())) => break,
            Ok(Err(error)) if !told => {
                told = true;
                tracing::error!(
                    path = %state_path.display(), %error,
                    "consensus has stopped on this node and its directory cannot be written to: the daemon starts anew \
                     when it can"
                );
            }
            // Nobody waits for it any more when the daemon stops.
            Ok(Err(_)) | Err(_) => {}
        }
        sleep(TRY_EVERY).await;
    }
    deliver(&service, Event::ConsensusLost(failure)).await;
}

fn try_write(folder: &Path) -> io::Result<()> {
    let path = folder.join("is-there-room");
    let tried = fs::File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0xff; ROOM_OCTETS])?;
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    tried.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_tried_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        try_write(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(try_write(&folder.path().join("nowhere")).is_err());
    }
}
