//! The stores behind one small trait, so that each is measured with the same batches.

use std::{fs::File, net::Ipv4Addr, os::unix::fs::FileExt, path::Path};

use anyhow::{Result, bail};
use dhcp_user::lease::{
    record::LeaseRecord,
    store::{Batch, LeaseStore, LogStore, Options, encode_lease},
};

/// A store under measurement.
pub trait Candidate {
    /// Makes the batch durable.
    fn commit(&mut self, batch: Vec<LeaseRecord>) -> Result<()>;
}

/// Called with each lease's address and horizon while a store is opened.
pub type Each<'a> = dyn FnMut(Ipv4Addr, u64) + 'a;

/// Opens the store of that name.
pub fn open(name: &str, dir: &Path, each: &mut Each<'_>) -> Result<Box<dyn Candidate>> {
    Ok(match name {
        "log" => {
            let mut hand = |lease: LeaseRecord| each(lease.address, lease.horizon.0);
            Box::new(LogStore::open(dir, &Options::default(), &mut hand)?.0)
        }
        "append" => Box::new(Append { file: File::create(dir.join("file"))?, at: 0 }),
        #[cfg(feature = "store-candidates")]
        "redb" => Box::new(others::Redb::open(dir, each)?),
        #[cfg(feature = "store-candidates")]
        "fjall" => Box::new(others::Fjall::open(dir, each)?),
        #[cfg(feature = "store-candidates")]
        "heed" => Box::new(others::Heed::open(dir, each)?),
        other => bail!("no store {other}; others than log and append need --features store-candidates"),
    })
}

impl Candidate for LogStore {
    fn commit(&mut self, batch: Vec<LeaseRecord>) -> Result<()> {
        let batch = Batch { leases: batch, ..Batch::default() };
        Ok(LeaseStore::commit(self, &batch)?)
    }
}

/// The disk itself: the same octets at the end of a growing file, and `fdatasync`.
struct Append {
    file: File,
    at: u64,
}

impl Candidate for Append {
    fn commit(&mut self, batch: Vec<LeaseRecord>) -> Result<()> {
        let mut out = Vec::new();
        for lease in &batch {
            out.extend_from_slice(&lease.address.octets());
            encode_lease(lease, &mut out)?;
        }
        self.file.write_all_at(&out, self.at)?;
        self.file.sync_data()?;
        self.at += out.len() as u64;
        Ok(())
    }
}

#[cfg(feature = "store-candidates")]
mod others {
    use anyhow::Context;
    use dhcp_user::lease::store::decode_lease;

    use super::*;

    fn encoded(lease: &LeaseRecord) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(128);
        encode_lease(lease, &mut out)?;
        Ok(out)
    }

    fn hand(each: &mut Each<'_>, key: &[u8], value: &[u8]) -> Result<()> {
        let address = Ipv4Addr::from(<[u8; 4]>::try_from(key)?);
        each(address, decode_lease(address, value)?.horizon.0);
        Ok(())
    }

    pub struct Redb(redb::Database);

    const TABLE: redb::TableDefinition<'_, u32, &[u8]> = redb::TableDefinition::new("leases");

    impl Redb {
        pub fn open(dir: &Path, each: &mut Each<'_>) -> Result<Self> {
            use redb::{ReadableDatabase, ReadableTable};
            let database = redb::Database::builder().set_cache_size(1 << 30).create(dir.join("redb"))?;
            if let Ok(table) = database.begin_read()?.open_table(TABLE) {
                for row in table.iter()? {
                    let (key, value) = row?;
                    hand(each, &key.value().to_be_bytes(), value.value())?;
                }
            }
            Ok(Self(database))
        }
    }

    impl Candidate for Redb {
        fn commit(&mut self, batch: Vec<LeaseRecord>) -> Result<()> {
            let mut sorted = batch;
            sorted.sort_by_key(|lease| lease.address);
            let write = self.0.begin_write()?;
            {
                let mut table = write.open_table(TABLE)?;
                for lease in &sorted {
                    table.insert(lease.address.to_bits(), encoded(lease)?.as_slice())?;
                }
            }
            Ok(write.commit()?)
        }
    }

    pub struct Fjall {
        database: fjall::Database,
        leases: fjall::Keyspace,
    }

    impl Fjall {
        pub fn open(dir: &Path, each: &mut Each<'_>) -> Result<Self> {
            let database = fjall::Database::builder(dir.join("fjall")).open()?;
            let leases = database.keyspace("leases", fjall::KeyspaceCreateOptions::default)?;
            for row in leases.iter() {
                let (key, value) = row.into_inner()?;
                hand(each, &key, &value)?;
            }
            Ok(Self { database, leases })
        }
    }

    impl Candidate for Fjall {
        fn commit(&mut self, batch: Vec<LeaseRecord>) -> Result<()> {
            let mut write = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
            for lease in &batch {
                write.insert(&self.leases, lease.address.octets(), encoded(lease)?);
            }
            Ok(write.commit()?)
        }
    }

    type Leases = heed::Database<heed::types::Bytes, heed::types::Bytes>;

    pub struct Heed {
        env: heed::Env,
        leases: Leases,
    }

    impl Heed {
        pub fn open(dir: &Path, each: &mut Each<'_>) -> Result<Self> {
            // SAFETY: the directory is this process's own, and nothing else maps or changes the file.
            let env = unsafe { heed::EnvOpenOptions::new().map_size(32 << 30).open(dir) }?;
            let mut write = env.write_txn()?;
            let leases: Leases = env.create_database(&mut write, None)?;
            write.commit()?;
            let read = env.read_txn()?;
            for row in leases.iter(&read)? {
                let (key, value) = row?;
                hand(each, key, value).context("a row of the store")?;
            }
            drop(read);
            Ok(Self { env, leases })
        }
    }

    impl Candidate for Heed {
        fn commit(&mut self, batch: Vec<LeaseRecord>) -> Result<()> {
            let mut sorted = batch;
            sorted.sort_by_key(|lease| lease.address);
            let mut write = self.env.write_txn()?;
            for lease in &sorted {
                self.leases.put(&mut write, &lease.address.octets(), &encoded(lease)?)?;
            }
            Ok(write.commit()?)
        }
    }
}
