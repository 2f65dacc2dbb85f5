//! What the daemon may do, and whom it believes: capabilities it keeps, files it trusts, and the service manager it tells.

pub mod capability;
pub mod manager;
pub mod trust;
