//! Shapes of targets and their health.

use super::basics::{Description, Port, ZoneName};
use super::declare::{enumerations, lists, structures, texts};
use super::target_groups::{HealthCheckPort, TargetGroupArn};

texts! {
    QuicServerId: at_least(1), at_most(256);
    TargetId;
}

enumerations! {
    AnomalyResultEnum { Anomalous "anomalous", Normal "normal", }
    DescribeTargetHealthInputIncludeEnum { AnomalyDetection "AnomalyDetection", All "All", }
    MitigationInEffectEnum { Yes "yes", No "no", }
    TargetAdministrativeOverrideReasonEnum {
        Unknown "AdministrativeOverride.Unknown",
        NoOverride "AdministrativeOverride.NoOverride",
        ZonalShiftActive "AdministrativeOverride.ZonalShiftActive",
        ZonalShiftDelegatedToDns "AdministrativeOverride.ZonalShiftDelegatedToDns",
    }
    TargetAdministrativeOverrideStateEnum {
        Unknown "unknown",
        NoOverride "no_override",
        ZonalShiftActive "zonal_shift_active",
        ZonalShiftDelegatedToDns "zonal_shift_delegated_to_dns",
    }
    TargetHealthReasonEnum {
        ElbRegistrationInProgress "Elb.RegistrationInProgress",
        ElbInitialHealthChecking "Elb.InitialHealthChecking",
        TargetResponseCodeMismatch "Target.ResponseCodeMismatch",
        TargetTimeout "Target.Timeout",
        TargetFailedHealthChecks "Target.FailedHealthChecks",
        TargetNotRegistered "Target.NotRegistered",
        TargetNotInUse "Target.NotInUse",
        TargetDeregistrationInProgress "Target.DeregistrationInProgress",
        TargetInvalidState "Target.InvalidState",
        TargetIpUnusable "Target.IpUnusable",
        TargetHealthCheckDisabled "Target.HealthCheckDisabled",
        ElbInternalError "Elb.InternalError",
    }
    TargetHealthStateEnum {
        Initial "initial",
        Healthy "healthy",
        Unhealthy "unhealthy",
        UnhealthyDraining "unhealthy.draining",
        Unused "unused",
        Draining "draining",
        Unavailable "unavailable",
    }
}

lists! {
    ListOfDescribeTargetHealthIncludeOptions of DescribeTargetHealthInputIncludeEnum;
    TargetDescriptions of TargetDescription;
    TargetHealthDescriptions of TargetHealthDescription;
}

structures! {
    #[derive(Default)]
    AdministrativeOverride {
        state "State" TargetAdministrativeOverrideStateEnum,
        reason "Reason" TargetAdministrativeOverrideReasonEnum,
        description "Description" Description,
    }

    #[derive(Default)]
    AnomalyDetection {
        result "Result" AnomalyResultEnum,
        mitigation_in_effect "MitigationInEffect" MitigationInEffectEnum,
    }

    DescribeTargetHealthInput {
        target_group_arn "TargetGroupArn" TargetGroupArn required,
        targets "Targets" TargetDescriptions,
        include "Include" ListOfDescribeTargetHealthIncludeOptions,
    }

    #[derive(Default)]
    DescribeTargetHealthOutput {
        target_health_descriptions "TargetHealthDescriptions" TargetHealthDescriptions,
    }

    RegisterTargetsInput {
        target_group_arn "TargetGroupArn" TargetGroupArn required,
        targets "Targets" TargetDescriptions required,
    }

    #[derive(Default)]
    RegisterTargetsOutput {}

    TargetDescription {
        id "Id" TargetId required,
        port "Port" Port,
        availability_zone "AvailabilityZone" ZoneName,
        quic_server_id "QuicServerId" QuicServerId,
    }

    #[derive(Default)]
    TargetHealth {
        state "State" TargetHealthStateEnum,
        reason "Reason" TargetHealthReasonEnum,
        description "Description" Description,
    }

    #[derive(Default)]
    TargetHealthDescription {
        target "Target" TargetDescription,
        health_check_port "HealthCheckPort" HealthCheckPort,
        target_health "TargetHealth" TargetHealth,
        anomaly_detection "AnomalyDetection" AnomalyDetection,
        administrative_override "AdministrativeOverride" AdministrativeOverride,
    }
}
