//! The errors of the protocol: a code that programs branch on, a message for people.

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.wire())]
pub struct ApiError {
    /// What programs branch on.
    pub code: Code,
    /// What people read: the object and the remedy.
    pub message: String,
}

macro_rules! codes {
    ($($(#[$attribute:meta])* $code:ident $status:literal $($wire:literal)?;)*) => {
        /// An error code with its HTTP status. Below 500 the sender is at fault, from 500 on this server.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$attribute])* #[doc = concat!("Status ", $status, ".")] $code,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$code),*];

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self {
                    $(Code::$code => $status,)*
                }
            }

            /// The code as it is sent.
            pub const fn wire(self) -> &'static str {
                match self {
                    $(Code::$code => codes!(@wire $code $($wire)?),)*
                }
            }
        }
    };
    (@wire $code:ident) => { stringify!($code) };
    (@wire $code:ident $wire:literal) => { $wire };
}

codes! {
    AllocationIdNotFound 400;
    AvailabilityZoneNotSupported 400;
    CapacityUnitsLimitExceeded 400;
    CertificateNotFound 400;
    DuplicateListener 400;
    DuplicateLoadBalancerName 400;
    DuplicateTagKeys 400;
    DuplicateTargetGroupName 400;
    HealthUnavailable 500;
    IncompatibleProtocols 400;
    InvalidConfigurationRequest 400;
    InvalidLoadBalancerAction 400;
    InvalidScheme 400;
    InvalidSecurityGroup 400;
    InvalidSubnet 400;
    InvalidTarget 400;
    ListenerNotFound 400;
    LoadBalancerNotFound 400;
    OperationNotPermitted 400;
    ResourceInUse 400;
    RuleNotFound 400;
    SSLPolicyNotFound 400;
    SubnetNotFound 400;
    TargetGroupAssociationLimit 400;
    TargetGroupNotFound 400;
    TooManyActions 400;
    TooManyListeners 400;
    TooManyLoadBalancers 400;
    TooManyTags 400;
    TooManyTargetGroups 400;
    TooManyTargets 400;
    TooManyUniqueTargetGroupsPerLoadBalancer 400;
    TrustStoreNotFound 400;
    UnsupportedProtocol 400;
    /// A request that its shape refuses; not in the model, and the most used of all.
    ValidationError 400;
    /// An operation that the API does not have.
    InvalidAction 400;
    /// No operation is named.
    MissingAction 400;
    /// The parameters are no form.
    MalformedQueryString 404;
    /// The credentials may not do that.
    AccessDenied 403;
    /// The request is not signed.
    MissingAuthenticationToken 403;
    /// The access key is unknown.
    InvalidClientTokenId 403;
    /// The signature lacks a part, or has a malformed one.
    IncompleteSignature 400;
    /// The signature is another request's, or another key's.
    SignatureDoesNotMatch 403;
    /// The signature is too old, from the future, or was used before.
    RequestExpired 400;
    /// More requests than this server keeps account of.
    Throttling 400;
    /// The body is longer than any valid request's.
    RequestEntityTooLarge 413;
    /// The body did not come in time.
    RequestTimeout 408;
    /// Not the path or the method that the API is served at.
    UnknownOperation 404 "UnknownOperationException";
    /// This server failed; the change was not made.
    InternalFailure 500;
    /// The state can't be kept at the moment; the change was not made.
    ServiceUnavailable 503;
}

impl Code {
    /// An error with this code.
    pub fn because(self, message: impl Into<String>) -> ApiError {
        ApiError { code: self, message: message.into() }
    }
}
