//! How targets are checked.

use serde::{Deserialize, Serialize};

use super::records::Protocol;
use crate::api::protocol::{ApiError, Code};
use crate::api::shapes::{
    CreateTargetGroupInput, HealthCheckEnabled, HealthCheckIntervalSeconds, HealthCheckPort,
    HealthCheckThresholdCount, HealthCheckTimeoutSeconds, Matcher, ModifyTargetGroupInput, Path,
    ProtocolEnum,
};

/// How targets of a group are checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked.
    pub protocol: CheckProtocol,
    /// The port; none is the port that a target serves.
    pub port: Option<u16>,
    /// From check to check: 5 to 300 s.
    pub interval: u16,
    /// How long an answer may take: 2 to 120 s, at most the interval.
    pub timeout: u16,
    /// Passed checks that make an unhealthy target healthy: 2 to 10.
    pub healthy_threshold: u8,
    /// Failed checks that make a target unhealthy: 2 to 10.
    pub unhealthy_threshold: u8,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckProtocol {
    /// A connection.
    Tcp,
    /// `GET path`.
    Http {
        /// Begins with `/`.
        path: String,
        /// Status codes that pass: `200,202-399`.
        matcher: String,
    },
    /// The same within TLS; whose certificate it is plays no part.
    Https {
        /// Begins with `/`.
        path: String,
        /// Status codes that pass: `200,202-399`.
        matcher: String,
    },
}

impl CheckProtocol {
    /// As the API names it.
    pub fn shape(&self) -> ProtocolEnum {
        match self {
            CheckProtocol::Tcp => ProtocolEnum::Tcp,
            CheckProtocol::Http { .. } => ProtocolEnum::Http,
            CheckProtocol::Https { .. } => ProtocolEnum::Https,
        }
    }

    /// Path and matcher, if it has them.
    pub fn request(&self) -> Option<(&str, &str)> {
        match self {
            CheckProtocol::Tcp => None,
            CheckProtocol::Http { path, matcher } | CheckProtocol::Https { path, matcher } => {
                Some((path, matcher))
            }
        }
    }
}

/// What a request says of checks.
pub(super) struct Settings<'a> {
    protocol: Option<ProtocolEnum>,
    port: Option<&'a HealthCheckPort>,
    enabled: Option<HealthCheckEnabled>,
    path: Option<&'a Path>,
    interval: Option<HealthCheckIntervalSeconds>,
    timeout: Option<HealthCheckTimeoutSeconds>,
    healthy: Option<HealthCheckThresholdCount>,
    unhealthy: Option<HealthCheckThresholdCount>,
    matcher: Option<&'a Matcher>,
}

macro_rules! settings_from {
    ($($input:ident),*) => {$(
        impl<'a> From<&'a $input> for Settings<'a> {
            fn from(input: &'a $input) -> Self {
                Settings {
                    protocol: input.health_check_protocol,
                    port: input.health_check_port.as_ref(),
                    enabled: input.health_check_enabled,
                    path: input.health_check_path.as_ref(),
                    interval: input.health_check_interval_seconds,
                    timeout: input.health_check_timeout_seconds,
                    healthy: input.healthy_threshold_count,
                    unhealthy: input.unhealthy_threshold_count,
                    matcher: input.matcher.as_ref(),
                }
            }
        }
    )*};
}

settings_from!(CreateTargetGroupInput, ModifyTargetGroupInput);

const ALL_CODES: &str = "200-399";

impl HealthCheck {
    /// The checks of a new target group.
    pub(super) fn new(settings: &Settings, group: Protocol) -> Result<HealthCheck, ApiError> {
        let is_http = settings.protocol == Some(ProtocolEnum::Http);
        let usual = HealthCheck::usual();
        HealthCheck { timeout: if is_http { 6 } else { usual.timeout }, ..usual }.with(settings, group)
    }

    /// The checks of a target group to which nobody has said anything of them.
    pub fn usual() -> HealthCheck {
        HealthCheck {
            protocol: CheckProtocol::Tcp,
            port: None,
            interval: 30,
            timeout: 10,
            healthy_threshold: 5,
            unhealthy_threshold: 2,
        }
    }

    /// The same with what a request changes.
    pub(super) fn with(&self, settings: &Settings, group: Protocol) -> Result<HealthCheck, ApiError> {
        if settings.enabled.is_some_and(|enabled| !enabled.0) {
            return Err(Code::InvalidConfigurationRequest.because(format!(
                "Health checks cannot be disabled for target groups with the {} protocol",
                group.shape()
            )));
        }
        let check = HealthCheck {
            protocol: self.protocol_with(settings)?,
            port: settings.port.map_or(Ok(self.port), self::port)?,
            interval: settings.interval.map_or(Ok(self.interval), |value| small(value.0))?,
            timeout: settings.timeout.map_or(Ok(self.timeout), |value| small(value.0))?,
            healthy_threshold: settings.healthy.map_or(Ok(self.healthy_threshold), |value| small(value.0))?,
            unhealthy_threshold: settings
                .unhealthy
                .map_or(Ok(self.unhealthy_threshold), |value| small(value.0))?,
        };
        if check.timeout > check.interval {
            return Err(Code::ValidationError.because(format!(
                "Health check timeout '{}' must be smaller than or equal to the interval '{}'",
                check.timeout, check.interval
            )));
        }
        Ok(check)
    }

    fn protocol_with(&self, settings: &Settings) -> Result<CheckProtocol, ApiError> {
        let wanted = settings.protocol.unwrap_or_else(|| self.protocol.shape());
        let refuse = |what: &str| {
            Err(Code::InvalidConfigurationRequest
                .because(format!("{what} cannot be specified for health checks with the TCP protocol")))
        };
        if wanted == ProtocolEnum::Tcp {
            return match (settings.path, settings.matcher) {
                (Some(_), _) => refuse("A health check path"),
                (_, Some(_)) => refuse("A health check matcher"),
                (None, None) => Ok(CheckProtocol::Tcp),
            };
        }
        let (path, matcher) = self.protocol.request().unwrap_or(("/", ALL_CODES));
        let path = settings.path.map_or(Ok(path), checked_path)?.to_owned();
        let matcher = settings.matcher.map_or(Ok(matcher), |wanted| codes(wanted))?.to_owned();
        match wanted {
            ProtocolEnum::Http => Ok(CheckProtocol::Http { path, matcher }),
            ProtocolEnum::Https => Ok(CheckProtocol::Https { path, matcher }),
            other => Err(Code::InvalidConfigurationRequest
                .because(format!("Health check protocol '{other}' must be one of 'HTTP, HTTPS, TCP'"))),
        }
    }
}

fn port(port: &HealthCheckPort) -> Result<Option<u16>, ApiError> {
    if &**port == "traffic-port" {
        return Ok(None);
    }
    let number = port.parse().ok().filter(|number| *number > 0);
    number.map(Some).ok_or_else(|| {
        let port = &**port;
        Code::ValidationError
            .because(format!("Health check port '{port}' must be in the range 1-65535 or 'traffic-port'"))
    })
}

fn checked_path(path: &Path) -> Result<&str, ApiError> {
    let is_plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain {
        return Ok(path);
    }
    let path = &**path;
    Err(Code::ValidationError
        .because(format!("Health check path '{path}' must begin with a '/' character and have no spaces")))
}

fn codes(matcher: &Matcher) -> Result<&str, ApiError> {
    if matcher.grpc_code.is_some() {
        return Err(Code::InvalidConfigurationRequest
            .because("GRPC codes are not supported for target groups of network load balancers"));
    }
    let Some(codes) = matcher.http_code.as_deref() else {
        return Err(Code::ValidationError.because("A matcher must have HTTP codes"));
    };
    let range = |part: &str| -> Option<bool> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        Some(200 <= first && first <= last && last <= 599)
    };
    if codes.split(',').all(|part| range(part) == Some(true)) {
        return Ok(codes);
    }
    Err(Code::ValidationError.because(format!(
        "Health check matcher HTTP code '{codes}' must be codes or ranges of codes from 200 to 599: '200,202-399'"
    )))
}

/// A number whose range its shape has checked.
fn small<T: TryFrom<i32>>(number: i32) -> Result<T, ApiError> {
    T::try_from(number).map_err(|_| Code::InternalFailure.because(format!("{number} passed its range check")))
}
