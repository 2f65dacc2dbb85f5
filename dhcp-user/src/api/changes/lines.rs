//! A file of records, a line each, appended to and never changed, with so many old ones beside it: `changes.ndjson`,
//! `changes.1` (the newest of the old ones), `changes.2`, and on.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::ChangeRecord;

/// The longest line taken back; the daemon's are far shorter.
const LINE_MAX: u64 = 64 << 10;

/// Such a file, and its bounds.
#[derive(Debug)]
pub(super) struct Lines {
    pub path: PathBuf,
    /// The size at which it is put aside, octets.
    pub octets_max: u64,
    /// How many old ones are kept.
    pub old_max: u32,
    /// Whether a line is on the disk when [`Self::append`] returns.
    pub flushed: bool,
}

impl Lines {
    /// Appends a record as a line of its own, whatever the one before ended in.
    pub fn append(&self, record: &ChangeRecord) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let full = fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() >= self.octets_max);
        if full {
            self.put_aside()?;
        }
        let mut file = File::options().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        let octets = file.metadata()?.len();
        if octets != 0 {
            let mut last = *b"\n";
            file.read_exact_at(&mut last, octets - 1)?;
            if last != *b"\n" {
                // Torn by a power cut or a full disk: this record is not to be lost with it.
                line.insert(0, b'\n');
            }
        }
        file.write_all(&line)?;
        if self.flushed {
            file.sync_data()?;
            if octets == 0
                && let Some(directory) = self.path.parent()
            {
                File::open(directory)?.sync_all()?;
            }
        }
        Ok(())
    }

    fn put_aside(&self) -> io::Result<()> {
        for number in (1..self.old_max).rev() {
            match fs::rename(self.old(number), self.old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.old(1))
    }

    fn old(&self, number: u32) -> PathBuf {
        self.path.with_extension(number.to_string())
    }

    /// Hands out all records, the oldest first. Lines that are no records, as a torn one, are passed over.
    pub fn read(&self, mut take: impl FnMut(ChangeRecord)) -> io::Result<()> {
        for number in (1..=self.old_max).rev() {
            read(&self.old(number), &mut take)?;
        }
        read(&self.path, &mut take)
    }
}

fn read(path: &Path, take: &mut impl FnMut(ChangeRecord)) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if file.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Ok(record) = serde_json::from_slice(&line) {
            take(record);
        }
    }
}
