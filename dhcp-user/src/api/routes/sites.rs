//! Sites, as the guide has them, and what an operator does with them.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{
        Api,
        problem::{Body, Problem, Segment},
    },
    site::{
        consensus::calls::MemberChange,
        driver::{
            Sites,
            orders::{OrderError, Wish},
            status::{SiteDetail, SiteList, SyncDetail},
        },
        node::View,
    },
};

/// Nodes that were told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Told {
    /// Their names.
    pub told: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeName {
    /// Its name, as in `sites[].nodes`.
    pub node: String,
}

/// What nodes were told, or why none was.
type Accepted = Result<(StatusCode, Json<Told>), Problem>;

fn sites(api: &Api) -> Result<&Arc<Sites>, Problem> {
    let none = "this daemon is a single node: dhcp.datacenter.multi_site is not enabled";
    api.sites.as_ref().ok_or_else(|| Problem::not_found(none))
}

async fn view(api: &Api) -> Result<Arc<Option<View>>, Problem> {
    api.views.sites().await
}

/// All sites: the guide's five fields. `latency` is measured, in milliseconds.
#[utoipa::path(
    get,
    path = "/api/v1/sites/status",
    tag = "sites",
    responses((status = 200, body = SiteList), (status = "default", body = Problem))
)]
pub(super) async fn status(State(api): State<Api>) -> Result<Json<SiteList>, Problem> {
    let sites = sites(&api)?;
    Ok(Json(sites.list(view(&api).await?.as_ref().as_ref())))
}

/// A site at length: why its status is what it is, and its nodes.
#[utoipa::path(
    get,
    path = "/api/v1/sites/{name}",
    tag = "sites",
    params(("name" = String, Path, description = "The site's name")),
    responses((status = 200, body = SiteDetail), (status = "default", body = Problem))
)]
pub(super) async fn site(
    State(api): State<Api>,
    Segment(name): Segment<String>,
) -> Result<Json<SiteDetail>, Problem> {
    let sites = sites(&api)?;
    let found = sites.site(&name, view(&api).await?.as_ref().as_ref());
    found.map(Json).ok_or_else(|| Problem::not_found(format!("there is no site {name}")))
}

/// How this node and the others keep in step: role, blocks, lag, bandwidth, and what is wrong.
#[utoipa::path(
    get,
    path = "/api/v1/sync",
    tag = "sites",
    responses((status = 200, body = SyncDetail), (status = "default", body = Problem))
)]
pub(super) async fn sync(State(api): State<Api>) -> Result<Json<SyncDetail>, Problem> {
    let found = sites(&api)?.sync(view(&api).await?.as_ref().as_ref());
    found.map(Json).ok_or_else(|| Problem::not_found("sites are not in use"))
}

fn refused(error: &OrderError) -> Problem {
    match error {
        OrderError::Unknown { .. } => Problem::not_found(error.to_string()),
        OrderError::Untold { .. } => Problem::unavailable(error.to_string()),
        OrderError::Unsafe(_) => Problem::new(StatusCode::CONFLICT, error.to_string()),
    }
}

/// Takes a site out of service: its nodes hand all their blocks on, and ask for none.
#[utoipa::path(
    post,
    path = "/api/v1/sites/{name}/drain",
    tag = "sites",
    params(("name" = String, Path, description = "The site's name")),
    responses((status = 202, body = Told), (status = "default", body = Problem))
)]
pub(super) async fn drain(State(api): State<Api>, Segment(name): Segment<String>) -> Accepted {
    order(&api, &name, Wish::Drain).await
}

/// Brings a drained site back: its nodes ask for blocks again.
#[utoipa::path(
    post,
    path = "/api/v1/sites/{name}/resume",
    tag = "sites",
    params(("name" = String, Path, description = "The site's name")),
    responses((status = 202, body = Told), (status = "default", body = Problem))
)]
pub(super) async fn resume(State(api): State<Api>, Segment(name): Segment<String>) -> Accepted {
    order(&api, &name, Wish::Resume).await
}

async fn order(api: &Api, site: &str, wish: Wish) -> Accepted {
    let told = sites(api)?.order(site, wish).await.map_err(|error| refused(&error))?;
    accepted(told)
}

fn accepted(told: Vec<String>) -> Accepted {
    Ok((StatusCode::ACCEPTED, Json(Told { told })))
}

/// Says that a node is down for certain: its blocks are taken over. Of two nodes at once: if it is not down, addresses will
/// be given to two clients. Of more, with `failover.enabled` off, when what it holds has ended.
#[utoipa::path(
    post,
    path = "/api/v1/sync/partner-down",
    tag = "sites",
    request_body = NodeName,
    responses((status = 202, body = Told), (status = "default", body = Problem))
)]
pub(super) async fn partner_down(
    State(api): State<Api>,
    Body(NodeName { node }): Body<NodeName>,
) -> Accepted {
    let sites = sites(&api)?;
    sites.partner_down(&node).await.map_err(|error| refused(&error))?;
    accepted(vec![sites.me().name.clone()])
}

/// Says that a whole site is down for certain: its blocks are taken over when what it holds has ended. If it is half of the nodes,
/// those that are left decide without it from then on: if it is not down, and somebody there says the same of those that are
/// left, addresses will be given to two clients.
#[utoipa::path(
    post,
    path = "/api/v1/sites/{name}/partner-down",
    tag = "sites",
    params(("name" = String, Path, description = "The site's name")),
    responses((status = 202, body = Told), (status = "default", body = Problem))
)]
pub(super) async fn site_down(State(api): State<Api>, Segment(name): Segment<String>) -> Accepted {
    let sites = sites(&api)?;
    sites.site_down(&name).await.map_err(|error| refused(&error))?;
    accepted(vec![sites.me().name.clone()])
}

/// Gives a node a vote in the cluster; it must be running and in the configuration of all nodes.
#[utoipa::path(
    post,
    path = "/api/v1/sync/members",
    tag = "sites",
    request_body = NodeName,
    responses((status = 204), (status = "default", body = Problem))
)]
pub(super) async fn add_member(
    State(api): State<Api>,
    Body(NodeName { node }): Body<NodeName>,
) -> Result<StatusCode, Problem> {
    change(&api, MemberChange::Add { name: node }).await
}

/// Takes a node out of the cluster; its blocks must have been handed on, or taken over.
#[utoipa::path(
    delete,
    path = "/api/v1/sync/members/{node}",
    tag = "sites",
    params(("node" = String, Path, description = "The node's name")),
    responses((status = 204), (status = "default", body = Problem))
)]
pub(super) async fn remove_member(
    State(api): State<Api>,
    Segment(name): Segment<String>,
) -> Result<StatusCode, Problem> {
    change(&api, MemberChange::Remove { name }).await
}

async fn change(api: &Api, change: MemberChange) -> Result<StatusCode, Problem> {
    let done = sites(api)?.change_members(change).await;
    done.map(|()| StatusCode::NO_CONTENT).map_err(|error| Problem::new(StatusCode::CONFLICT, error))
}
