//! Shapes of the actions of layer 7: described so that they are refused by name, not by accident.

use super::declare::{enumerations, lists, maps, scalars, structures, texts};
use super::patterns::{FIXED_RESPONSE_ACTION_STATUS_CODE, REDIRECT_ACTION_PROTOCOL};

texts! {
    AuthenticateCognitoActionAuthenticationRequestParamName;
    AuthenticateCognitoActionAuthenticationRequestParamValue;
    AuthenticateCognitoActionScope;
    AuthenticateCognitoActionSessionCookieName;
    AuthenticateCognitoActionUserPoolArn;
    AuthenticateCognitoActionUserPoolClientId;
    AuthenticateCognitoActionUserPoolDomain;
    AuthenticateOidcActionAuthenticationRequestParamName;
    AuthenticateOidcActionAuthenticationRequestParamValue;
    AuthenticateOidcActionAuthorizationEndpoint;
    AuthenticateOidcActionClientId;
    AuthenticateOidcActionClientSecret;
    AuthenticateOidcActionIssuer;
    AuthenticateOidcActionScope;
    AuthenticateOidcActionSessionCookieName;
    AuthenticateOidcActionTokenEndpoint;
    AuthenticateOidcActionUserInfoEndpoint;
    FixedResponseActionContentType: at_least(0), at_most(32);
    FixedResponseActionMessage: at_least(0), at_most(1024);
    FixedResponseActionStatusCode: like(&FIXED_RESPONSE_ACTION_STATUS_CODE);
    JwtValidationActionAdditionalClaimName;
    JwtValidationActionAdditionalClaimValue;
    JwtValidationActionIssuer;
    JwtValidationActionJwksEndpoint;
    RedirectActionHost: at_least(1), at_most(128);
    RedirectActionPath: at_least(1), at_most(128);
    RedirectActionPort;
    RedirectActionProtocol: like(&REDIRECT_ACTION_PROTOCOL);
    RedirectActionQuery: at_least(0), at_most(128);
}

scalars! {
    AuthenticateCognitoActionSessionTimeout(i64) Long;
    AuthenticateOidcActionSessionTimeout(i64) Long;
    AuthenticateOidcActionUseExistingClientSecret(bool) Boolean;
}

enumerations! {
    AuthenticateCognitoActionConditionalBehaviorEnum {
        Deny "deny",
        Allow "allow",
        Authenticate "authenticate",
    }
    AuthenticateOidcActionConditionalBehaviorEnum {
        Deny "deny",
        Allow "allow",
        Authenticate "authenticate",
    }
    JwtValidationActionAdditionalClaimFormatEnum {
        SingleString "single-string",
        StringArray "string-array",
        SpaceSeparatedValues "space-separated-values",
    }
    RedirectActionStatusCodeEnum { Http301 "HTTP_301", Http302 "HTTP_302", }
}

lists! {
    JwtValidationActionAdditionalClaimValues of JwtValidationActionAdditionalClaimValue;
    JwtValidationActionAdditionalClaims of JwtValidationActionAdditionalClaim;
}

maps! {
    AuthenticateCognitoActionAuthenticationRequestExtraParams of AuthenticateCognitoActionAuthenticationRequestParamName to AuthenticateCognitoActionAuthenticationRequestParamValue;
    AuthenticateOidcActionAuthenticationRequestExtraParams of AuthenticateOidcActionAuthenticationRequestParamName to AuthenticateOidcActionAuthenticationRequestParamValue;
}

structures! {
    AuthenticateCognitoActionConfig {
        user_pool_arn "UserPoolArn" AuthenticateCognitoActionUserPoolArn required,
        user_pool_client_id "UserPoolClientId" AuthenticateCognitoActionUserPoolClientId required,
        user_pool_domain "UserPoolDomain" AuthenticateCognitoActionUserPoolDomain required,
        session_cookie_name "SessionCookieName" AuthenticateCognitoActionSessionCookieName,
        scope "Scope" AuthenticateCognitoActionScope,
        session_timeout "SessionTimeout" AuthenticateCognitoActionSessionTimeout,
        authentication_request_extra_params "AuthenticationRequestExtraParams" AuthenticateCognitoActionAuthenticationRequestExtraParams,
        on_unauthenticated_request "OnUnauthenticatedRequest" AuthenticateCognitoActionConditionalBehaviorEnum,
    }

    AuthenticateOidcActionConfig {
        issuer "Issuer" AuthenticateOidcActionIssuer required,
        authorization_endpoint "AuthorizationEndpoint" AuthenticateOidcActionAuthorizationEndpoint required,
        token_endpoint "TokenEndpoint" AuthenticateOidcActionTokenEndpoint required,
        user_info_endpoint "UserInfoEndpoint" AuthenticateOidcActionUserInfoEndpoint required,
        client_id "ClientId" AuthenticateOidcActionClientId required,
        client_secret "ClientSecret" AuthenticateOidcActionClientSecret,
        session_cookie_name "SessionCookieName" AuthenticateOidcActionSessionCookieName,
        scope "Scope" AuthenticateOidcActionScope,
        session_timeout "SessionTimeout" AuthenticateOidcActionSessionTimeout,
        authentication_request_extra_params "AuthenticationRequestExtraParams" AuthenticateOidcActionAuthenticationRequestExtraParams,
        on_unauthenticated_request "OnUnauthenticatedRequest" AuthenticateOidcActionConditionalBehaviorEnum,
        use_existing_client_secret "UseExistingClientSecret" AuthenticateOidcActionUseExistingClientSecret,
    }

    FixedResponseActionConfig {
        message_body "MessageBody" FixedResponseActionMessage,
        status_code "StatusCode" FixedResponseActionStatusCode required,
        content_type "ContentType" FixedResponseActionContentType,
    }

    JwtValidationActionAdditionalClaim {
        format "Format" JwtValidationActionAdditionalClaimFormatEnum required,
        name "Name" JwtValidationActionAdditionalClaimName required,
        values "Values" JwtValidationActionAdditionalClaimValues required,
    }

    JwtValidationActionConfig {
        jwks_endpoint "JwksEndpoint" JwtValidationActionJwksEndpoint required,
        issuer "Issuer" JwtValidationActionIssuer required,
        additional_claims "AdditionalClaims" JwtValidationActionAdditionalClaims,
    }

    RedirectActionConfig {
        protocol "Protocol" RedirectActionProtocol,
        port "Port" RedirectActionPort,
        host "Host" RedirectActionHost,
        path "Path" RedirectActionPath,
        query "Query" RedirectActionQuery,
        status_code "StatusCode" RedirectActionStatusCodeEnum required,
    }
}
