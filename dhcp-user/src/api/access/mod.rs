//! Who may do what: callers, the one table of rights, tokens, and limits on how fast anybody may ask or guess.

pub mod caller;
pub mod gate;
pub mod limits;
pub mod local_user;
pub mod rights;
pub mod tokens;
