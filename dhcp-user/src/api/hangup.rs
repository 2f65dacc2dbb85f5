//! SIGHUP: the configuration file is taken up as by `POST /api/v1/config/reload`, and that is recorded the same way.

use std::sync::Arc;

use super::{
    changes::{ChangeRecord, Changes},
    routes::config::refusal,
};
use crate::{
    server::{clock, reload::Reloader},
    time::Timestamp,
};

/// Takes up the configuration file, and says how that went.
pub async fn reload(reloader: Arc<Reloader>, changes: Changes) {
    let done = reloader.reload().await;
    let (status, detail) = match &done {
        Ok(taken_up) => (200, taken_up.to_string()),
        Err(error) => (refusal(error).status, error.to_string()),
    };
    match done {
        Ok(taken_up) if taken_up.reloaded.changed => {}
        Ok(_) => tracing::info!("reloaded: the configuration is as it was"),
        Err(error) => tracing::error!("not reloaded, the configuration stays as it was: {error}"),
    }
    let record = ChangeRecord {
        at: Timestamp(clock::wall_ns()).to_string(),
        request_id: format!("{:x}", clock::boot_ns()),
        who: "whoever may send the daemon a signal".to_owned(),
        method: "SIGHUP".to_owned(),
        path: String::new(),
        status,
        detail,
        count: 1,
    };
    changes.add(record).await;
}
