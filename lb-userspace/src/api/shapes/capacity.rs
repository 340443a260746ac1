//! Shapes of capacity reservations.

use super::basics::{StateReason, ZoneName};
use super::declare::{enumerations, lists, scalars, structures, timestamps};
use super::load_balancers::LoadBalancerArn;

scalars! {
    CapacityUnits(i32) Integer;
    CapacityUnitsDouble(f64) Double;
    DecreaseRequestsRemaining(i32) Integer;
    ResetCapacityReservation(bool) Boolean;
}

timestamps! {
    LastModifiedTime;
}

enumerations! {
    CapacityReservationStateEnum {
        Provisioned "provisioned",
        Pending "pending",
        Rebalancing "rebalancing",
        Failed "failed",
    }
}

lists! {
    ZonalCapacityReservationStates of ZonalCapacityReservationState;
}

structures! {
    #[derive(Default)]
    CapacityReservationStatus {
        code "Code" CapacityReservationStateEnum,
        reason "Reason" StateReason,
    }

    DescribeCapacityReservationInput {
        load_balancer_arn "LoadBalancerArn" LoadBalancerArn required,
    }

    #[derive(Default)]
    DescribeCapacityReservationOutput {
        last_modified_time "LastModifiedTime" LastModifiedTime,
        decrease_requests_remaining "DecreaseRequestsRemaining" DecreaseRequestsRemaining,
        minimum_load_balancer_capacity "MinimumLoadBalancerCapacity" MinimumLoadBalancerCapacity,
        capacity_reservation_state "CapacityReservationState" ZonalCapacityReservationStates,
    }

    #[derive(Default)]
    MinimumLoadBalancerCapacity {
        capacity_units "CapacityUnits" CapacityUnits,
    }

    ModifyCapacityReservationInput {
        load_balancer_arn "LoadBalancerArn" LoadBalancerArn required,
        minimum_load_balancer_capacity "MinimumLoadBalancerCapacity" MinimumLoadBalancerCapacity,
        reset_capacity_reservation "ResetCapacityReservation" ResetCapacityReservation,
    }

    #[derive(Default)]
    ModifyCapacityReservationOutput {
        last_modified_time "LastModifiedTime" LastModifiedTime,
        decrease_requests_remaining "DecreaseRequestsRemaining" DecreaseRequestsRemaining,
        minimum_load_balancer_capacity "MinimumLoadBalancerCapacity" MinimumLoadBalancerCapacity,
        capacity_reservation_state "CapacityReservationState" ZonalCapacityReservationStates,
    }

    #[derive(Default)]
    ZonalCapacityReservationState {
        state "State" CapacityReservationStatus,
        availability_zone "AvailabilityZone" ZoneName,
        effective_capacity_units "EffectiveCapacityUnits" CapacityUnitsDouble,
    }
}
