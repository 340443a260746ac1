//! A step: one of the API's own operations, with names where a request has ARNs. They are looked up when it is carried
//! out: what an earlier step makes has no ARN before.

use std::fmt;

use crate::api::domain::arn::{Identity, ResourceId};
use crate::api::domain::records::Protocol;
use crate::api::domain::{Operation, State};
use crate::api::protocol::{ApiError, Code, Node};

/// A listener's name: its load balancer, protocol and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListenerName {
    pub(super) load_balancer: String,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

impl ListenerName {
    /// The listener of that name.
    pub(super) fn find(&self, state: &State) -> Option<ResourceId> {
        let record = state.load_balancers.get(&self.load_balancer)?;
        let mut listeners = record.listeners.iter();
        let is_it = |(_, listener): &(&ResourceId, &crate::api::domain::records::Listener)| {
            (listener.protocol, listener.port) == (self.protocol, self.port)
        };
        listeners.find(is_it).map(|(id, _)| *id)
    }
}

/// What a parameter is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    LoadBalancer(String),
    Listener(ListenerName),
    TargetGroup(String),
}

/// An operation with its parameters.
#[derive(Clone)]
pub(super) struct Step {
    /// The place of the document that it comes from; empty for what the document does not name.
    pub(super) place: String,
    pub(super) operation: &'static Operation,
    parameters: Vec<(String, Value)>,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.operation.name, self.parameters)
    }
}

impl Step {
    /// The operation of that name, without parameters yet.
    pub(super) fn new(name: &str, place: &str) -> Step {
        let operation = Operation::named(name).expect("steps are operations of the API");
        Step { place: place.to_owned(), operation, parameters: Vec::new() }
    }

    /// With a text.
    pub(super) fn with(self, name: &str, text: impl ToString) -> Step {
        self.add(name, Value::Text(text.to_string()))
    }

    /// With a text, where there is one.
    pub(super) fn with_some(self, name: &str, text: Option<impl ToString>) -> Step {
        match text {
            Some(text) => self.with(name, text),
            None => self,
        }
    }

    /// With the ARN of a load balancer.
    pub(super) fn with_load_balancer(self, parameter: &str, name: &str) -> Step {
        self.add(parameter, Value::LoadBalancer(name.to_owned()))
    }

    /// With the ARN of a listener.
    pub(super) fn with_listener(self, parameter: &str, name: &ListenerName) -> Step {
        self.add(parameter, Value::Listener(name.clone()))
    }

    /// With the ARN of a target group.
    pub(super) fn with_target_group(self, parameter: &str, name: &str) -> Step {
        self.add(parameter, Value::TargetGroup(name.to_owned()))
    }

    /// With texts as `name.member.1.first` and `name.member.1.second`, and so on.
    pub(super) fn with_pairs<'a>(
        mut self,
        name: &str,
        (first, second): (&str, &str),
        pairs: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Step {
        for (at, (key, value)) in (1..).zip(pairs) {
            self = self.with(&format!("{name}.member.{at}.{first}"), key);
            self = self.with(&format!("{name}.member.{at}.{second}"), value);
        }
        self
    }

    /// With texts as `name.member.1`, and so on.
    pub(super) fn with_list<'a>(mut self, name: &str, texts: impl IntoIterator<Item = &'a String>) -> Step {
        for (at, text) in (1..).zip(texts) {
            self = self.with(&format!("{name}.member.{at}"), text);
        }
        self
    }

    fn add(mut self, name: &str, value: Value) -> Step {
        self.parameters.push((name.to_owned(), value));
        self
    }

    /// Its parameters as a request has them.
    ///
    /// # Errors
    /// When what it names is not there.
    pub(super) fn parameters(&self, state: &State, identity: &Identity) -> Result<Node, ApiError> {
        let pairs: Vec<(String, String)> = self
            .parameters
            .iter()
            .map(|(name, value)| Ok((name.clone(), value.text(state, identity)?)))
            .collect::<Result<_, ApiError>>()?;
        Node::from_pairs(pairs)
            .map_err(|error| Code::InternalFailure.because(format!("A step is no request: {error}")))
    }
}

impl Value {
    fn text(&self, state: &State, identity: &Identity) -> Result<String, ApiError> {
        match self {
            Value::Text(text) => Ok(text.clone()),
            Value::LoadBalancer(name) => {
                let found = state.load_balancers.get(name);
                let gone = || Code::LoadBalancerNotFound.because(format!("Load balancer '{name}' not found"));
                found.map(|record| identity.load_balancer(name, record.id)).ok_or_else(gone)
            }
            Value::TargetGroup(name) => {
                let found = state.target_groups.get(name);
                let gone = || Code::TargetGroupNotFound.because(format!("Target group '{name}' not found"));
                found.map(|record| identity.target_group(name, record.id)).ok_or_else(gone)
            }
            Value::Listener(name) => {
                let record = state.load_balancers.get(&name.load_balancer);
                let found = record.zip(name.find(state));
                let gone = || {
                    let (protocol, port) = (name.protocol.shape(), name.port);
                    let of = &name.load_balancer;
                    Code::ListenerNotFound.because(format!("Listener {protocol} {port} of '{of}' not found"))
                };
                found
                    .map(|(record, id)| identity.listener(&name.load_balancer, record.id, id))
                    .ok_or_else(gone)
            }
        }
    }
}
