//! Listeners: made, told, changed, deleted.

use super::actions;
use super::arn::ResourceId;
use super::context::Context;
use super::pages::page;
use super::records::{Listener as Record, LoadBalancer, Protocol};
use super::tags;
use super::transaction::{State, Transaction};
use crate::api::protocol::{ApiError, Code};
use crate::api::shapes::{
    AlpnPolicyName, CertificateList, CreateListenerInput, CreateListenerOutput, DeleteListenerInput,
    DeleteListenerOutput, DescribeListenersInput, DescribeListenersOutput, Listener, ModifyListenerInput,
    ModifyListenerOutput, MutualAuthenticationAttributes, Port, ProtocolEnum, SslPolicyName,
};

/// The idle time-out of a new listener, in seconds.
pub(super) const IDLE_TIMEOUT: u16 = 350;

/// The UDP port of GUE, which carries packets to targets.
const GUE_PORT: u16 = 6080;

pub(super) fn create(
    state: &mut Transaction,
    input: &CreateListenerInput,
    context: &Context,
) -> Result<CreateListenerOutput, ApiError> {
    let (name, record) = state.load_balancer(context.identity, &input.load_balancer_arn)?;
    let (name, record) = (name.to_owned(), record.clone());
    let Some(protocol) = input.protocol else {
        return Err(Code::ValidationError.because("A listener protocol must be specified"));
    };
    let Some(port) = input.port else {
        return Err(Code::ValidationError.because("A listener port must be specified"));
    };
    let protocol = served(protocol)?;
    refuse_tls(
        &input.ssl_policy,
        &input.certificates,
        &input.alpn_policy,
        &input.mutual_authentication,
        protocol,
    )?;
    let action = actions::read(&input.default_actions, state, context)?;
    let wanted = Record {
        protocol,
        port: number(port)?,
        forward: action.forward,
        order: action.order,
        tcp_idle_timeout: IDLE_TIMEOUT,
        tags: tags::from_list(input.tags.as_ref(), context)?,
    };
    actions::check(&name, &record, &wanted, state, context)?;
    let is_same = |listener: &Record| Record { tcp_idle_timeout: IDLE_TIMEOUT, ..listener.clone() } == wanted;
    let id = match record.listeners.iter().find(|(_, listener)| is_same(listener)) {
        Some((id, _)) => *id,
        None => add(&name, &record, wanted, state, context)?,
    };
    Ok(CreateListenerOutput { listeners: Some(told(&name, id, state, context)) })
}

fn add(
    name: &str,
    record: &LoadBalancer,
    listener: Record,
    state: &mut Transaction,
    context: &Context,
) -> Result<ResourceId, ApiError> {
    check_port(record, &listener, None)?;
    let max = context.quotas.listeners;
    if record.listeners.len() >= max {
        return Err(
            Code::TooManyListeners.because(format!("A load balancer can have at most {max} listeners"))
        );
    }
    let id = (context.fresh_id)();
    put(name, id, listener, state, context)?;
    Ok(id)
}

fn put(
    name: &str,
    id: ResourceId,
    listener: Record,
    state: &mut Transaction,
    context: &Context,
) -> Result<(), ApiError> {
    if let Some(record) = state.load_balancer_mut(name) {
        record.listeners.insert(id, listener);
    }
    actions::check_numbers(name, state, context)
}

/// The protocol, if it is served.
fn served(protocol: ProtocolEnum) -> Result<Protocol, ApiError> {
    Protocol::of(protocol).ok_or_else(|| match protocol {
        ProtocolEnum::Tls | ProtocolEnum::TcpQuic => {
            Code::UnsupportedProtocol.because(format!("Protocol {protocol} is not supported yet"))
        }
        _ => Code::ValidationError.because(format!(
            "Listener protocol '{protocol}' must be one of 'UDP, TCP, TLS, TCP_UDP, QUIC, TCP_QUIC'"
        )),
    })
}

/// What belongs to TLS listeners can't be given to others.
fn refuse_tls(
    policy: &Option<SslPolicyName>,
    certificates: &Option<CertificateList>,
    alpn: &Option<AlpnPolicyName>,
    mutual: &Option<MutualAuthenticationAttributes>,
    protocol: Protocol,
) -> Result<(), ApiError> {
    let is_off = |mutual: &MutualAuthenticationAttributes| mutual.mode.as_deref() == Some("off");
    let given = [
        ("An SSL policy", policy.is_some()),
        ("Certificates", certificates.as_ref().is_some_and(|list| !list.is_empty())),
        ("An ALPN policy", alpn.as_ref().is_some_and(|list| !list.is_empty())),
        ("Mutual authentication", mutual.as_ref().is_some_and(|mutual| !is_off(mutual))),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((what, _)) => Err(Code::InvalidConfigurationRequest
            .because(format!("{what} cannot be specified for {} listeners", protocol.shape()))),
        None => Ok(()),
    }
}

fn number(port: Port) -> Result<u16, ApiError> {
    u16::try_from(port.0).map_err(|_| Code::InternalFailure.because("A port passed its range check"))
}

/// No two listeners of a load balancer take the same packets.
fn check_port(record: &LoadBalancer, listener: &Record, but: Option<ResourceId>) -> Result<(), ApiError> {
    if listener.port == GUE_PORT && listener.protocol.has_udp() {
        return Err(Code::InvalidConfigurationRequest.because(format!(
            "The UDP port {GUE_PORT} carries packets to targets and cannot be a listener's"
        )));
    }
    let mut others = record.listeners.iter().filter(|(id, _)| Some(**id) != but);
    let overlaps = |other: &Record| {
        other.port == listener.port && other.protocol.of_model().overlaps(listener.protocol.of_model())
    };
    if others.any(|(_, other)| overlaps(other)) {
        return Err(
            Code::DuplicateListener.because("A listener already exists on this port for this load balancer")
        );
    }
    Ok(())
}

pub(super) fn modify(
    state: &mut Transaction,
    input: &ModifyListenerInput,
    context: &Context,
) -> Result<ModifyListenerOutput, ApiError> {
    let (name, record, id, listener) = state.listener(context.identity, &input.listener_arn)?;
    let (name, record, mut listener) = (name.to_owned(), record.clone(), listener.clone());
    if let Some(protocol) = input.protocol {
        listener.protocol = served(protocol)?;
    }
    if let Some(port) = input.port {
        listener.port = number(port)?;
    }
    refuse_tls(
        &input.ssl_policy,
        &input.certificates,
        &input.alpn_policy,
        &input.mutual_authentication,
        listener.protocol,
    )?;
    if let Some(wanted) = &input.default_actions {
        let action = actions::read(wanted, state, context)?;
        (listener.forward, listener.order) = (action.forward, action.order);
    }
    actions::check(&name, &record, &listener, state, context)?;
    check_port(&record, &listener, Some(id))?;
    put(&name, id, listener, state, context)?;
    Ok(ModifyListenerOutput { listeners: Some(told(&name, id, state, context)) })
}

fn told(name: &str, id: ResourceId, state: &State, context: &Context) -> crate::api::shapes::Listeners {
    let record = state.load_balancers.get(name);
    let listener = record.and_then(|record| record.listeners.get(&id).map(|listener| (record, listener)));
    listener.into_iter().map(|(record, listener)| shape(name, record, id, listener, state, context)).collect()
}

fn shape(
    name: &str,
    record: &LoadBalancer,
    id: ResourceId,
    listener: &Record,
    state: &State,
    context: &Context,
) -> Listener {
    Listener {
        listener_arn: Some(context.identity.listener(name, record.id, id).into()),
        load_balancer_arn: Some(context.identity.load_balancer(name, record.id).into()),
        port: Some(Port(listener.port.into())),
        protocol: Some(listener.protocol.shape()),
        default_actions: Some(actions::shape(listener, state, context)),
        ..Listener::default()
    }
}

pub(super) fn describe(
    state: &mut Transaction,
    input: &DescribeListenersInput,
    context: &Context,
) -> Result<DescribeListenersOutput, ApiError> {
    let arns = input.listener_arns.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    match (&input.load_balancer_arn, arns) {
        (Some(arn), []) => {
            let (name, record) = state.load_balancer(context.identity, arn)?;
            found.extend(record.listeners.iter().map(|(id, listener)| (name, &**record, *id, listener)));
        }
        (None, [_, ..]) => {
            for arn in arns {
                let listener = state.listener(context.identity, arn).map_err(|error| match error.code {
                    Code::ListenerNotFound => error.code.because("One or more listeners not found"),
                    _ => error,
                })?;
                found.push(listener);
            }
        }
        (None, []) => {
            let why = "You must specify either listener ARNs or a load balancer ARN";
            return Err(Code::ValidationError.because(why));
        }
        (Some(_), [_, ..]) => {
            let why = "Listener ARNs and a load balancer ARN cannot be specified at the same time";
            return Err(Code::ValidationError.because(why));
        }
    }
    found.sort_by_key(|(name, _, id, _)| (*name, *id));
    found.dedup_by_key(|(name, _, id, _)| (*name, *id));
    let keyed = found.into_iter().map(|found| (format!("{}/{}", found.0, found.2), found));
    let (page, next_marker) = page(keyed, input.marker.as_ref(), input.page_size.as_ref());
    let shapes = page
        .into_iter()
        .map(|(name, record, id, listener)| shape(name, record, id, listener, state, context));
    Ok(DescribeListenersOutput { listeners: Some(shapes.collect()), next_marker })
}

pub(super) fn delete(
    state: &mut Transaction,
    input: &DeleteListenerInput,
    context: &Context,
) -> Result<DeleteListenerOutput, ApiError> {
    let (name, _, id, _) = state.listener(context.identity, &input.listener_arn)?;
    let name = name.to_owned();
    if let Some(record) = state.load_balancer_mut(&name) {
        record.listeners.remove(&id);
    }
    Ok(DeleteListenerOutput {})
}
