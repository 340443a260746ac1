//! Shapes of the actions of listeners and rules.

use super::declare::{enumerations, lists, scalars, structures};
use super::layer7_actions::{
    AuthenticateCognitoActionConfig, AuthenticateOidcActionConfig, FixedResponseActionConfig,
    JwtValidationActionConfig, RedirectActionConfig,
};
use super::target_groups::TargetGroupArn;

scalars! {
    ActionOrder(i32) Integer: at_least(1), at_most(50000);
    TargetGroupStickinessDurationSeconds(i32) Integer;
    TargetGroupStickinessEnabled(bool) Boolean;
    TargetGroupWeight(i32) Integer;
}

enumerations! {
    ActionTypeEnum {
        Forward "forward",
        AuthenticateOidc "authenticate-oidc",
        AuthenticateCognito "authenticate-cognito",
        Redirect "redirect",
        FixedResponse "fixed-response",
        JwtValidation "jwt-validation",
    }
}

lists! {
    Actions of Action;
    TargetGroupList of TargetGroupTuple;
}

structures! {
    Action {
        kind "Type" ActionTypeEnum required,
        target_group_arn "TargetGroupArn" TargetGroupArn,
        authenticate_oidc_config "AuthenticateOidcConfig" AuthenticateOidcActionConfig,
        authenticate_cognito_config "AuthenticateCognitoConfig" AuthenticateCognitoActionConfig,
        order "Order" ActionOrder,
        redirect_config "RedirectConfig" RedirectActionConfig,
        fixed_response_config "FixedResponseConfig" FixedResponseActionConfig,
        forward_config "ForwardConfig" ForwardActionConfig,
        jwt_validation_config "JwtValidationConfig" JwtValidationActionConfig,
    }

    #[derive(Default)]
    ForwardActionConfig {
        target_groups "TargetGroups" TargetGroupList,
        target_group_stickiness_config "TargetGroupStickinessConfig" TargetGroupStickinessConfig,
    }

    #[derive(Default)]
    TargetGroupStickinessConfig {
        enabled "Enabled" TargetGroupStickinessEnabled,
        duration_seconds "DurationSeconds" TargetGroupStickinessDurationSeconds,
    }

    #[derive(Default)]
    TargetGroupTuple {
        target_group_arn "TargetGroupArn" TargetGroupArn,
        weight "Weight" TargetGroupWeight,
    }
}
