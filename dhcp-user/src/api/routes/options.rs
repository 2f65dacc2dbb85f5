//! The options that clients get, as they go on the wire, and what they mean.

use std::{collections::BTreeMap, net::Ipv4Addr};

use axum::{Extension, Json, extract::State};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{Api, access::caller::Caller, problem::Problem},
    config::{
        model::OptionValue,
        options::shown::{name_of, text_of},
    },
};

/// An option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OptionView {
    /// Its code.
    pub code: u8,
    /// Its name, if it has one here.
    pub name: Option<String>,
    /// Its value for people: addresses, numbers, text; what is none of these in hexadecimal.
    pub value: String,
    /// Its value as it goes on the wire, hexadecimal.
    pub hex: String,
    /// Whether it is sent to clients that do not ask for it.
    pub always: bool,
}

/// The options of a pool that are not those of its subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolOptions {
    /// First address.
    #[schema(value_type = String, format = "ipv4")]
    pub first: Ipv4Addr,
    /// Last address.
    #[schema(value_type = String, format = "ipv4")]
    pub last: Ipv4Addr,
    /// Options that the pool has in place of its subnet's, or besides.
    pub options: Vec<OptionView>,
    /// Codes of those of its subnet that it does not have.
    pub without: Vec<u8>,
}

/// The options of a subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubnetOptions {
    /// Network and prefix length.
    #[schema(value_type = String)]
    pub subnet: Ipv4Net,
    /// All its options, what is inherited included, by code. Those made for each reply (lease time, server identifier and
    /// the like) are not in it.
    pub options: Vec<OptionView>,
    /// Pools that differ.
    pub pools: Vec<PoolOptions>,
}

type Values = BTreeMap<u8, OptionValue>;

/// The options clients get, by subnet.
#[utoipa::path(
    get,
    path = "/api/v1/options",
    tag = "subnets",
    responses((status = 200, body = [SubnetOptions]), (status = "default", body = Problem))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Json<Vec<SubnetOptions>> {
    let config = api.in_force.config();
    let seen = config.subnets.iter().filter(|subnet| caller.may_see_all(&subnet.prefix));
    let subnets = seen.map(|subnet| {
        let whole = &subnet.policy.options;
        let pools = subnet.pools.iter().filter(|pool| pool.policy.options != *whole);
        let pools = pools.map(|pool| {
            let own = &pool.policy.options;
            PoolOptions {
                first: pool.first,
                last: pool.last,
                options: views(own, |code, value| whole.get(&code) != Some(value)),
                without: whole.keys().filter(|code| !own.contains_key(code)).copied().collect(),
            }
        });
        SubnetOptions { subnet: subnet.prefix, options: views(whole, |_, _| true), pools: pools.collect() }
    });
    Json(subnets.collect())
}

fn views(options: &Values, wanted: impl Fn(u8, &OptionValue) -> bool) -> Vec<OptionView> {
    let wanted = options.iter().filter(|(code, value)| wanted(**code, value));
    wanted
        .map(|(code, value)| OptionView {
            code: *code,
            name: name_of(*code).map(str::to_owned),
            value: text_of(*code, &value.bytes),
            hex: value.bytes.iter().map(|octet| format!("{octet:02x}")).collect(),
            always: value.always,
        })
        .collect()
}
