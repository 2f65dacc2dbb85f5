//! The options that clients get, as they go on the wire, and what they mean.

use std::{collections::BTreeMap, net::Ipv4Addr};

use axum::{Extension, extract::State, response::Response};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::by_network::Page;
use crate::{
    api::{
        Api,
        access::caller::Caller,
        problem::{Parameters, Problem},
        room,
    },
    config::{
        model::{OptionValue, Subnet},
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

/// A page of the options of subnets, by address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OptionsPage {
    /// The options of each subnet.
    pub subnets: Vec<SubnetOptions>,
    /// Ask again with this as `after`; null at the end.
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub next: Option<Ipv4Addr>,
}

/// The options clients get, by subnet.
#[utoipa::path(
    get,
    path = "/api/v1/options",
    tag = "subnets",
    params(Page),
    responses((status = 200, body = OptionsPage), (status = "default", body = Problem))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Parameters(page): Parameters<Page>,
) -> Result<Response, Problem> {
    let limit = page.limit()?;
    let config = api.in_force.config();
    let network = |subnet: &Subnet| subnet.prefix.network();
    let may_see = |subnet: &Subnet| caller.may_see_all(&subnet.prefix);
    let (found, next) = page.of(limit, &config.subnets, network, may_see);
    let held = api.room_for(found.iter().map(|subnet| octets_of(subnet)).sum()).await?;
    room::json(&OptionsPage { subnets: found.into_iter().map(shown).collect(), next }, held)
}

/// About how many octets a subnet's options take, as they are shown and in the answer.
fn octets_of(subnet: &Subnet) -> usize {
    let whole = &subnet.policy.options;
    let pools = subnet.pools.iter().map(|pool| &pool.policy.options).filter(|own| *own != whole);
    let values = std::iter::once(whole).chain(pools).flat_map(|values| values.values());
    // Each octet twice as digits and once as what it means, in a string and again in the answer.
    512 + values.map(|value| 256 + 10 * value.bytes.len()).sum::<usize>()
}

fn shown(subnet: &Subnet) -> SubnetOptions {
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
