//! Capacity reservations. The nodes are the operator's own: there is nothing to reserve, and nothing is reserved.

use super::context::Context;
use super::transaction::Transaction;
use crate::api::protocol::{ApiError, Code};
use crate::api::shapes::{
    DescribeCapacityReservationInput, DescribeCapacityReservationOutput, ModifyCapacityReservationInput,
    ModifyCapacityReservationOutput,
};

pub(super) fn describe(
    state: &mut Transaction,
    input: &DescribeCapacityReservationInput,
    context: &Context,
) -> Result<DescribeCapacityReservationOutput, ApiError> {
    state.load_balancer(context.identity, &input.load_balancer_arn)?;
    let capacity_reservation_state = Some([].into_iter().collect());
    Ok(DescribeCapacityReservationOutput { capacity_reservation_state, ..Default::default() })
}

pub(super) fn modify(
    state: &mut Transaction,
    input: &ModifyCapacityReservationInput,
    context: &Context,
) -> Result<ModifyCapacityReservationOutput, ApiError> {
    state.load_balancer(context.identity, &input.load_balancer_arn)?;
    let resets = input.reset_capacity_reservation.is_some_and(|reset| reset.0);
    match (&input.minimum_load_balancer_capacity, resets) {
        (None, true) => {
            let capacity_reservation_state = Some([].into_iter().collect());
            Ok(ModifyCapacityReservationOutput { capacity_reservation_state, ..Default::default() })
        }
        (Some(_), false) => Err(Code::OperationNotPermitted
            .because("Capacity cannot be reserved: the load balancer's capacity is that of your nodes")),
        _ => Err(Code::InvalidConfigurationRequest
            .because("Specify either a minimum capacity or a reset of the capacity reservation")),
    }
}
