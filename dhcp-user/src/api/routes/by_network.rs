//! Pages of what there is of each subnet: by network address, which is the cursor.

use std::net::Ipv4Addr;

use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::problem::{Problem, within};

/// The most subnets one answer is about.
pub const SUBNETS_MAX: usize = 1_000;

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// The cursor: subnets whose network address is after this one.
    #[param(value_type = Option<String>, format = "ipv4")]
    after: Option<Ipv4Addr>,
    /// The most to give, 1 to 1000; 1000 if left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl Page {
    /// The most to give.
    pub(super) fn limit(self) -> Result<usize, Problem> {
        within("limit", self.limit.unwrap_or(SUBNETS_MAX), 1..=SUBNETS_MAX)
    }

    /// What is on the page of all that there is, which is in order, and the cursor of the next one. `network` tells of
    /// each where it is.
    pub(super) fn of<'a, T>(
        self,
        limit: usize,
        all: &'a [T],
        network: impl Fn(&T) -> Ipv4Addr,
        may_see: impl Fn(&T) -> bool,
    ) -> (Vec<&'a T>, Option<Ipv4Addr>) {
        let before = self.after.map_or(0, |after| all.partition_point(|one| network(one) <= after));
        let rest = all.get(before..).unwrap_or_default();
        let mut seen = rest.iter().filter(|one| may_see(one)).peekable();
        let page: Vec<_> = seen.by_ref().take(limit).collect();
        let next = page.last().filter(|_| seen.peek().is_some()).map(|last| network(last));
        (page, next)
    }
}
