//! Attributes of listeners.

use super::attributes::Given;
use super::context::Context;
use super::listeners;
use super::records::{Listener, Protocol};
use super::transaction::Transaction;
use crate::api::protocol::ApiError;
use crate::api::shapes::{
    DescribeListenerAttributesInput, DescribeListenerAttributesOutput, ListenerAttribute, ListenerAttributes,
    ModifyListenerAttributesInput, ModifyListenerAttributesOutput,
};

const IDLE_TIMEOUT: &str = "tcp.idle_timeout.seconds";

impl Listener {
    /// Its attributes: one, where it has TCP.
    pub fn pairs(&self) -> Option<(&'static str, String)> {
        (self.protocol == Protocol::Tcp).then(|| (IDLE_TIMEOUT, self.tcp_idle_timeout.to_string()))
    }

    /// Those of a TCP listener to which nobody has said anything.
    pub fn usual_pairs() -> Option<(&'static str, String)> {
        Some((IDLE_TIMEOUT, listeners::IDLE_TIMEOUT.to_string()))
    }
}

fn shapes(listener: &Listener) -> ListenerAttributes {
    let attribute =
        |(key, value): (&str, String)| ListenerAttribute { key: Some(key.into()), value: Some(value.into()) };
    listener.pairs().into_iter().map(attribute).collect()
}

fn set(listener: &mut Listener, given: &Given) -> Result<(), ApiError> {
    match given.key {
        IDLE_TIMEOUT if listener.protocol == Protocol::Tcp => {
            let seconds = given.number(60..=6000)?;
            listener.tcp_idle_timeout = seconds.try_into().map_err(|_| given.refuse("at most 6000"))?;
        }
        IDLE_TIMEOUT => return Err(given.refuse("none: it is an attribute of TCP listeners")),
        key if key.starts_with("routing.http.") || key.starts_with("send_tcp_reset.") => {
            return Err(given.elsewhere());
        }
        _ => return Err(given.unknown()),
    }
    Ok(())
}

pub(super) fn describe(
    state: &mut Transaction,
    input: &DescribeListenerAttributesInput,
    context: &Context,
) -> Result<DescribeListenerAttributesOutput, ApiError> {
    let (.., listener) = state.listener(context.identity, &input.listener_arn)?;
    Ok(DescribeListenerAttributesOutput { attributes: Some(shapes(listener)) })
}

pub(super) fn modify(
    state: &mut Transaction,
    input: &ModifyListenerAttributesInput,
    context: &Context,
) -> Result<ModifyListenerAttributesOutput, ApiError> {
    let (name, _, id, listener) = state.listener(context.identity, &input.listener_arn)?;
    let (name, mut listener) = (name.to_owned(), listener.clone());
    for attribute in input.attributes.iter() {
        let (key, value) = (attribute.key.as_deref().unwrap_or(""), attribute.value.as_deref().unwrap_or(""));
        set(&mut listener, &Given { owner: "Listener", key, value })?;
    }
    let output = ModifyListenerAttributesOutput { attributes: Some(shapes(&listener)) };
    if let Some(record) = state.load_balancer_mut(&name) {
        record.listeners.insert(id, listener);
    }
    Ok(output)
}
