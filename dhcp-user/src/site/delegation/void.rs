//! Why what was agreed on changes nothing.

use serde::{Deserialize, Serialize};

use crate::site::replication::RECEIVERS_MAX;

/// Why a command had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Void {
    /// There is a cluster already.
    #[error("the cluster is founded already")]
    Founded,
    /// No such node, or block.
    #[error("no such node or block")]
    Unknown,
    /// The node is not in.
    #[error("the node is out: it must join first")]
    NotIn,
    /// The node is in or joining already.
    #[error("the node is in already")]
    NotOut,
    /// Something happened between the decision and now.
    #[error("overtaken by another command")]
    Overtaken,
    /// The node is not out.
    #[error("the node is not out: stop it, and wait until the others have put it out (`site show` says so)")]
    NotGone,
    /// The only node that is in cannot be put out: nobody would have what it promised.
    #[error("the last node that is in cannot be put out")]
    LastOne,
    /// There is no number left for another node.
    #[error(
        "this cluster has given out all its {} numbers, and none twice: start the machine under the name of a node that is \
         gone for good (`site member add` with that name), which keeps its number",
        RECEIVERS_MAX
    )]
    NoNumber,
}
