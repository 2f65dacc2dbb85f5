//! Bearer tokens: 256 random bits each, of which only a hash is kept. Whoever reads the file learns no token; a fast hash
//! is right because there is nothing to guess.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Mutex, PoisonError, RwLock},
};

use ipnet::Ipv4Net;
use rand::{TryRngCore as _, rngs::OsRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::caller::{Caller, Proof};
use crate::{config::model::ApiRole, whole_file};

/// The most tokens there can be.
pub const TOKENS_MAX: usize = 1_024;
/// What every token begins with, so that scanners for secrets find lost ones.
const PREFIX: &str = "sdd_";
/// Octets of the file that are read at most: far more than [`TOKENS_MAX`] tokens take.
const FILE_MAX: u64 = 4 << 20;

/// Why tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not what was written.
    #[error("{} is not a list of tokens: {error}; move it away and make new tokens", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// There are as many as there can be.
    #[error("there are {TOKENS_MAX} tokens already: revoke some")]
    TooMany,
    /// There is no such token.
    #[error("there is no token {0}")]
    Unknown(String),
    /// The system gives no randomness.
    #[error("the kernel gives no random octets: {0}")]
    Random(String),
}

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// Its identifier, which is no secret.
    pub id: String,
    /// What it is for, for people.
    pub name: String,
    /// What its holder may do.
    pub role: ApiRole,
    /// The only subnets its holder may see and change; empty for all.
    pub subnets: Vec<Ipv4Net>,
    /// When it was made, seconds since the Unix epoch.
    pub created_secs: u64,
    /// When it ends, seconds since the Unix epoch.
    pub expires_secs: u64,
    /// SHA-256 of the whole token, hexadecimal.
    pub sha256: String,
}

impl TokenRecord {
    fn holder(&self, now_secs: u64) -> Option<Caller> {
        (self.expires_secs > now_secs).then(|| Caller {
            name: format!("token {} ({})", self.id, self.name),
            role: Some(self.role),
            subnets: self.subnets.clone(),
            proof: Proof::Token(self.id.clone()),
        })
    }
}

/// All tokens, in memory and in their file.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    list: RwLock<Vec<TokenRecord>>,
    /// Held while the file changes.
    changing: Mutex<()>,
}

impl Tokens {
    /// Reads the tokens of the file at `path`; none if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or is something else.
    pub fn open(path: PathBuf) -> Result<Self, TokenError> {
        let read = |error| TokenError::Io { action: "read", path: path.clone(), error };
        let damaged = |error: String| TokenError::Damaged { path: path.clone(), error };
        let list = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(read(error)),
            Ok(metadata) if metadata.len() > FILE_MAX => return Err(damaged("it is too large".to_owned())),
            Ok(_) => {
                let octets = fs::read(&path).map_err(read)?;
                serde_json::from_slice(&octets).map_err(|error| damaged(error.to_string()))?
            }
        };
        Ok(Self { path, list: RwLock::new(list), changing: Mutex::new(()) })
    }

    /// All tokens, those that ended among them.
    pub fn list(&self) -> Vec<TokenRecord> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a token; the secret is returned this once. Durable when this returns.
    ///
    /// # Errors
    /// If there are too many, or it cannot be written.
    pub fn create(
        &self,
        name: String,
        role: ApiRole,
        subnets: Vec<Ipv4Net>,
        now_secs: u64,
        lasts_secs: u64,
    ) -> Result<(TokenRecord, String), TokenError> {
        let (mut id, mut secret) = ([0; 8], [0; 32]);
        OsRng
            .try_fill_bytes(&mut id)
            .and_then(|()| OsRng.try_fill_bytes(&mut secret))
            .map_err(|error| TokenError::Random(error.to_string()))?;
        let id = hex(&id);
        let token = format!("{PREFIX}{id}_{}", hex(&secret));
        let record = TokenRecord {
            id,
            name,
            role,
            subnets,
            created_secs: now_secs,
            expires_secs: now_secs.saturating_add(lasts_secs),
            sha256: hex(&Sha256::digest(token.as_bytes())),
        };
        self.change(|list| {
            // Ended ones make room of their own accord.
            if list.len() >= TOKENS_MAX {
                list.retain(|token| token.expires_secs > now_secs);
            }
            if list.len() >= TOKENS_MAX {
                return Err(TokenError::TooMany);
            }
            list.push(record.clone());
            Ok(())
        })?;
        Ok((record, token))
    }

    /// Revokes a token: it is worth nothing from now on.
    ///
    /// # Errors
    /// If there is none, or it cannot be written: then it is still worth something.
    pub fn revoke(&self, id: &str) -> Result<(), TokenError> {
        self.change(|list| {
            let before = list.len();
            list.retain(|token| token.id != id);
            if list.len() == before { Err(TokenError::Unknown(id.to_owned())) } else { Ok(()) }
        })
    }

    /// Whose a token is. Takes as long for a wrong one as for a right one, but for what its length tells.
    pub fn caller(&self, token: &str, now_secs: u64) -> Option<Caller> {
        let hash = hex(&Sha256::digest(token.as_bytes()));
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        // All of them are compared, whichever fits: the time tells nothing of which.
        for record in list.iter() {
            let same: Choice = record.sha256.as_bytes().ct_eq(hash.as_bytes());
            if bool::from(same) {
                found = Some(record);
            }
        }
        found.and_then(|record| record.holder(now_secs))
    }

    /// The holder of the token with this identifier, as long as it is worth anything.
    pub fn holder(&self, id: &str, now_secs: u64) -> Option<Caller> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.iter().find(|record| record.id == id)?.holder(now_secs)
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Vec<TokenRecord>) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = self.list();
        change(&mut list)?;
        let text = serde_json::to_vec_pretty(&list)
            .map_err(|error| TokenError::Damaged { path: self.path.clone(), error: error.to_string() })?;
        whole_file::replace(&self.path, &text, 0o600).map_err(|error| TokenError::Io {
            action: "write",
            path: self.path.clone(),
            error,
        })?;
        *self.list.write().unwrap_or_else(PoisonError::into_inner) = list;
        Ok(())
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn tokens_survive_end_and_are_revoked_and_the_file_tells_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        let tokens = Tokens::open(path.clone()).unwrap();
        let subnets = vec!["198.18.1.0/24".parse().unwrap()];
        let (record, token) =
            tokens.create("backup".into(), ApiRole::Operator, subnets.clone(), 1_000, 60).unwrap();
        let caller = tokens.caller(&token, 1_059).unwrap();
        assert_eq!((caller.role, caller.subnets), (Some(ApiRole::Operator), subnets));
        assert_eq!(tokens.caller(&token, 1_060), None, "it has ended");
        assert_eq!(tokens.caller(&token[..token.len() - 1], 1_000), None);
        assert_eq!(tokens.caller("", 1_000), None);

        let text = fs::read_to_string(&path).unwrap();
        let secret = token.rsplit('_').next().unwrap();
        assert!(secret.len() == 64 && !text.contains(secret));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Tokens::open(path.clone()).unwrap();
        assert!(again.caller(&token, 1_000).is_some());
        again.revoke(&record.id).unwrap();
        assert_eq!(again.caller(&token, 1_000), None);
        assert!(matches!(again.revoke(&record.id), Err(TokenError::Unknown(_))));
        assert_eq!(Tokens::open(path.clone()).unwrap().list(), []);

        fs::write(&path, "[{}]").unwrap();
        assert!(matches!(Tokens::open(path), Err(TokenError::Damaged { .. })));
    }

    #[test]
    fn there_are_never_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(folder.path().join("tokens.json")).unwrap();
        let (record, _) = tokens.create("x".into(), ApiRole::Viewer, Vec::new(), 0, 10).unwrap();
        *tokens.list.write().unwrap() = vec![record; TOKENS_MAX];
        let create = |now| tokens.create("y".into(), ApiRole::Viewer, Vec::new(), now, 10);
        assert!(matches!(create(5), Err(TokenError::TooMany)));
        create(11).unwrap();
        assert_eq!(tokens.list().len(), 1, "those that ended made room");
    }
}
