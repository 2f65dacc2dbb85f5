//! The engine's messages as questions over links. A node that cannot be reached is tried again by the engine.

use std::sync::Arc;

use openraft::{
    BasicNode, OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot, Vote,
    error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
};
use serde::de::DeserializeOwned;

use super::{
    Types,
    calls::{CallError, Calls, Question},
};
use crate::site::{link::shared::Shared, roster::NodeKey};

/// The way to all nodes.
#[derive(Clone, Debug)]
pub struct Network {
    /// The links.
    pub links: Arc<Shared>,
    /// Questions under way.
    pub calls: Arc<Calls>,
}

/// The way to one.
#[derive(Debug)]
pub struct Target {
    network: Network,
    node: NodeKey,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Target;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> Target {
        Target { network: self.clone(), node: NodeKey(target) }
    }
}

impl Target {
    async fn ask<T: DeserializeOwned>(
        &self,
        question: &Question,
        option: &RPCOption,
    ) -> Result<T, CallError> {
        let Network { links, calls } = &self.network;
        calls.ask(links, self.node, question, option.hard_ttl()).await
    }
}

type RpcError = RPCError<u64, BasicNode, RaftError<u64>>;

fn unreachable(error: &CallError) -> Unreachable {
    Unreachable::new(error)
}

impl RaftNetwork<Types> for Target {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        let answer = self.ask(&Question::Append(rpc), &option).await;
        answer.map_err(|error| RPCError::Unreachable(unreachable(&error)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RpcError> {
        let answer = self.ask(&Question::Vote(rpc), &option).await;
        answer.map_err(|error| RPCError::Unreachable(unreachable(&error)))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        let question = Question::Snapshot { vote, meta: snapshot.meta, octets: *snapshot.snapshot };
        tokio::select! {
            answer = self.ask(&question, &option) => {
                answer.map_err(|error| StreamingError::Unreachable(unreachable(&error)))
            }
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }
}
