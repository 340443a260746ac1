//! How much there may be, as the API tells it.

use super::context::Context;
use super::pages::page;
use super::transaction::Transaction;
use crate::api::protocol::ApiError;
use crate::api::shapes::{DescribeAccountLimitsInput, DescribeAccountLimitsOutput, Limit};

pub(super) fn describe(
    _: &mut Transaction,
    input: &DescribeAccountLimitsInput,
    context: &Context,
) -> Result<DescribeAccountLimitsOutput, ApiError> {
    let quotas = context.quotas;
    // In the order of their names, which are the markers.
    let limits = [
        ("listeners-per-network-load-balancer", quotas.listeners),
        ("network-load-balancers", quotas.load_balancers),
        ("target-groups", quotas.target_groups),
        ("target-groups-per-action-on-network-load-balancer", quotas.groups_of_action),
        ("targets-per-network-load-balancer", quotas.targets_of_load_balancer),
        ("targets-per-target-group", quotas.targets_of_group),
    ];
    let limits = limits.map(|(name, max)| {
        (name.to_owned(), Limit { name: Some(name.into()), max: Some(max.to_string().into()) })
    });
    let (page, next_marker) = page(limits, input.marker.as_ref(), input.page_size.as_ref());
    Ok(DescribeAccountLimitsOutput { limits: Some(page.into_iter().collect()), next_marker })
}
