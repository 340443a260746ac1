//! One line of the log: a request, who sent it, and what came of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::difference::difference;
use super::parameters::{shortened, told};
use crate::api::calendar::Timestamp;
use crate::api::domain::administration::Order;
use crate::api::domain::records::{LoadBalancer, TargetGroup};
use crate::api::domain::{Access, Changes, Operation, State};
use crate::api::protocol::{ApiError, Node};
use crate::api::service::Request;
use crate::api::signature::{Caller, Role};

/// The longest line, in bytes; of a longer one the values and parameters are left out.
const LONGEST_LINE: usize = 256 << 10;

/// What is known of a request: gathered while it is carried out.
#[derive(Clone)]
pub struct Account {
    time: Timestamp,
    request_id: String,
    peer: Option<SocketAddr>,
    who: Who,
    /// What the request calls itself.
    name: Option<String>,
    /// The same, if there is such an operation.
    operation: Option<&'static Operation>,
    parameters: Option<Value>,
    changed: Option<Changed>,
    /// The id of the same request that was answered before.
    repeats: Option<String>,
}

/// Who sent a request.
#[derive(Clone)]
enum Who {
    /// Nobody knows; it claims to be the owner of this access key.
    Stranger { claims: Option<String> },
    /// Somebody with this access key, or anybody where nobody is asked, in this role.
    Known { access_key: Option<String>, role: Role },
    /// An operator on this host, by the user id of the process that asked.
    Operator { user: u32 },
}

/// A line's members in their order; those without a value are left out.
#[derive(Clone, Serialize)]
struct Line<'a> {
    time: String,
    event: Event,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_access_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeats: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strangers_unlogged: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Value>,
}

/// What a call changed, by name; no record is copied before the line is made.
#[derive(Debug, Clone)]
struct Changed {
    load_balancers: Pairs<LoadBalancer>,
    target_groups: Pairs<TargetGroup>,
}

/// Records as they were and as they are.
type Pairs<T> = BTreeMap<String, (Option<Arc<T>>, Option<Arc<T>>)>;

/// Which of a call's lines it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Event {
    /// A change is about to be made.
    Asked,
    /// It was made, or refused.
    Answered,
}

impl Account {
    /// Of a request of which no more is known than where it came from.
    pub fn new(time: Timestamp, request_id: &str, request: &Request) -> Account {
        Account {
            time,
            request_id: request_id.to_owned(),
            peer: request.peer,
            who: Who::Stranger { claims: claimed_key(request).map(shortened) },
            name: claimed_action(request),
            operation: None,
            parameters: None,
            changed: None,
            repeats: None,
        }
    }

    /// Of an order of an operator on this host.
    pub fn of_operator(time: Timestamp, request_id: &str, user: u32, order: &Order) -> Account {
        Account {
            time,
            request_id: request_id.to_owned(),
            peer: None,
            who: Who::Operator { user },
            name: Some(format!("sluice target {}", order.change)),
            operation: None,
            parameters: serde_json::to_value(order).ok(),
            changed: None,
            repeats: None,
        }
    }

    /// It is the same as an earlier request, and is given the same answer.
    pub fn repeat(&mut self, request_id: &str) {
        self.repeats = Some(request_id.to_owned());
    }

    /// Of a document that an operator on this host applies.
    pub fn of_document(time: Timestamp, request_id: &str, user: u32, file: &str) -> Account {
        Account {
            time,
            request_id: request_id.to_owned(),
            peer: None,
            who: Who::Operator { user },
            name: Some("sluice apply".to_owned()),
            operation: None,
            parameters: Some(serde_json::json!({ "file": shortened(file) })),
            changed: None,
            repeats: None,
        }
    }

    /// It is this caller's.
    pub fn identify(&mut self, caller: &Caller) {
        self.who = Who::Known { access_key: caller.key_id.clone(), role: caller.role };
    }

    /// What it asks for.
    pub fn ask(&mut self, operation: &'static Operation, parameters: &Node) {
        self.operation = Some(operation);
        self.parameters = (operation.access != Access::Reads).then(|| told(parameters));
    }

    /// What it is called, where it is no operation.
    pub fn name(&mut self, name: &str) {
        self.name = Some(shortened(name));
    }

    /// What it calls itself, whether there is such an operation or not.
    pub fn name_action(&mut self, parameters: &Node) {
        self.name = parameters.child("Action").and_then(Node::text).map(shortened);
    }

    /// The operation that it asks for, once that is known.
    pub fn operation(&self) -> Option<&'static Operation> {
        self.operation
    }

    /// What it changed: the state is that of after it.
    pub fn change(&mut self, changes: &Changes, state: &State) {
        self.changed = Some(Changed {
            load_balancers: pairs(&changes.load_balancers, &state.load_balancers),
            target_groups: pairs(&changes.target_groups, &state.target_groups),
        });
    }

    /// Whether the log has lines of such requests: not of those that only read, once it is known that they may.
    pub(super) fn is_worth_a_line(&self) -> bool {
        !self.is_identified() || self.operation.is_none_or(|operation| operation.access != Access::Reads)
    }

    /// Whether the caller is known; what strangers send is told by an allowance.
    pub(super) fn is_identified(&self) -> bool {
        matches!(self.who, Who::Known { .. } | Who::Operator { .. })
    }

    /// The line, line feed included.
    pub(super) fn line(&self, event: Event, refusal: Option<&ApiError>, unlogged: u64) -> String {
        let mut short = self.head(event);
        short.strangers_unlogged = (unlogged > 0).then_some(unlogged);
        if let Some(error) = refusal {
            short.result = Some("refused");
            short.status = Some(error.code.status());
            short.code = Some(error.code.wire());
            short.message = Some(shortened(&error.message));
        } else if event == Event::Answered {
            short.result = Some("done");
            short.status = Some(200);
        }
        let mut line = short.clone();
        line.parameters = self.parameters.as_ref();
        if event == Event::Answered {
            (line.before, line.after) = self.changed.as_ref().map(Changed::values).unwrap_or_default();
        }
        let mut text = text(&line);
        if text.len() > LONGEST_LINE {
            short.omitted_bytes = Some(text.len());
            text = self::text(&short);
        }
        text
    }

    fn head(&self, event: Event) -> Line<'_> {
        let (claimed_access_key, access_key, role, user_id) = match &self.who {
            Who::Stranger { claims } => (claims.as_deref(), None, None, None),
            Who::Known { access_key, role } => (None, access_key.as_deref(), Some(role.to_string()), None),
            Who::Operator { user } => (None, None, None, Some(*user)),
        };
        Line {
            time: self.time.to_string(),
            event,
            request_id: &self.request_id,
            peer: self.peer,
            claimed_access_key,
            access_key,
            role,
            user_id,
            operation: self.operation.map(|operation| operation.name).or(self.name.as_deref()),
            result: None,
            status: None,
            code: None,
            message: None,
            repeats: self.repeats.as_deref(),
            strangers_unlogged: None,
            omitted_bytes: None,
            parameters: None,
            before: None,
            after: None,
        }
    }
}

fn text(line: &Line) -> String {
    let mut text = serde_json::to_string(line).expect("a line is data that JSON can hold");
    text.push('\n');
    text
}

/// Whoever signed the request says so; it is not known yet whether that is true.
fn claimed_key(request: &Request) -> Option<&str> {
    let field = request.headers.get("authorization").and_then(|field| field.to_str().ok());
    // In a presigned URL's parameter a slash is escaped.
    let signed = field.or(request.uri.query())?;
    signed.split("Credential=").nth(1)?.split(['/', '%', '&', ',', ' ']).next()
}

/// What a request calls itself that may be refused before it is read.
fn claimed_action(request: &Request) -> Option<String> {
    let query = request.uri.query().unwrap_or("").as_bytes();
    let mut parameters = query.split(|byte| *byte == b'&').chain(request.body.split(|byte| *byte == b'&'));
    let action = parameters.find_map(|parameter| parameter.strip_prefix(b"Action="))?;
    let shown = &action[..action.len().min(64)];
    Some(String::from_utf8_lossy(shown).into_owned())
}

fn pairs<T>(before: &BTreeMap<String, Option<Arc<T>>>, now: &BTreeMap<String, Arc<T>>) -> Pairs<T> {
    let pair =
        |(name, before): (&String, &Option<Arc<T>>)| (name.clone(), (before.clone(), now.get(name).cloned()));
    before.iter().map(pair).collect()
}

impl Changed {
    /// The differing parts of everything, as they were and as they are, by what it is and its name.
    fn values(&self) -> (Option<Value>, Option<Value>) {
        let (mut before, mut after) = (Map::new(), Map::new());
        let kinds = [
            ("load_balancers", differences(&self.load_balancers)),
            ("target_groups", differences(&self.target_groups)),
        ];
        for (kind, (left, right)) in kinds {
            for (whole, part) in [(&mut before, left), (&mut after, right)] {
                if !part.is_empty() {
                    whole.insert(kind.to_owned(), part.into());
                }
            }
        }
        let some = |whole: Map<String, Value>| (!whole.is_empty()).then_some(Value::Object(whole));
        (some(before), some(after))
    }
}

fn differences<T: Serialize>(pairs: &Pairs<T>) -> (Map<String, Value>, Map<String, Value>) {
    let value =
        |record: &Arc<T>| serde_json::to_value(&**record).expect("records are data that JSON can hold");
    let (mut left, mut right) = (Map::new(), Map::new());
    for (name, (before, after)) in pairs {
        let (before, after) = (before.as_ref().map(value), after.as_ref().map(value));
        let (before, after) = difference(before.as_ref(), after.as_ref());
        left.extend(before.map(|value| (name.clone(), value)));
        right.extend(after.map(|value| (name.clone(), value)));
    }
    (left, right)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::protocol::Code;

    fn request(headers: &[(&'static str, &str)], body: &str) -> Request {
        let header = |(name, value): &(&'static str, &str)| {
            (axum::http::HeaderName::from_static(name), value.parse().unwrap())
        };
        Request {
            method: axum::http::Method::POST,
            uri: "/".parse().unwrap(),
            headers: headers.iter().map(header).collect(),
            body: body.as_bytes().to_vec(),
            connection: 0,
            peer: Some("192.0.2.1:4711".parse().unwrap()),
        }
    }

    fn account(headers: &[(&'static str, &str)], body: &str) -> Account {
        Account::new(Timestamp(0), "id-1", &request(headers, body))
    }

    fn read(line: &str) -> Value {
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn a_line_is_one_json_object_whatever_the_request_says() {
        let mut account = account(&[], "");
        account.name("Create\nLoadBalancer");
        let line = account.line(Event::Answered, Some(&Code::ValidationError.because("no\n\"}")), 3);
        let line = read(&line);
        assert_eq!(line["operation"], "Create\nLoadBalancer");
        assert_eq!(
            (&line["time"], &line["peer"]),
            (&json!("1970-01-01T00:00:00.000Z"), &json!("192.0.2.1:4711"))
        );
        assert_eq!((&line["status"], &line["strangers_unlogged"]), (&json!(400), &json!(3)));
        assert_eq!(line["message"], "no\n\"}");
    }

    #[test]
    fn a_line_that_is_too_long_keeps_who_and_what() {
        let mut account = account(&[], "");
        let pairs = (0..1000).map(|at| (format!("Targets.member.{at}.Id"), "x".repeat(500)));
        let register = Operation::named("RegisterTargets").unwrap();
        account.ask(register, &Node::from_pairs(pairs).unwrap());
        let line = account.line(Event::Answered, None, 0);
        assert!(line.len() < 1000, "{line}");
        let line = read(&line);
        assert_eq!(line["operation"], "RegisterTargets");
        assert!(line["omitted_bytes"].as_u64().unwrap() > LONGEST_LINE as u64);
    }

    #[test]
    fn what_a_stranger_claims_is_told_as_a_claim() {
        let field = "AWS4-HMAC-SHA256 Credential=EVE/20150830/local/elasticloadbalancing/aws4_request, SignedHeaders=host";
        let account = account(&[("authorization", field)], "Version=1&Action=DeleteLoadBalancer&Name=web");
        let line = read(&account.line(Event::Answered, None, 0));
        assert_eq!((&line["claimed_access_key"], line.get("access_key")), (&json!("EVE"), None));
        assert_eq!((&line["operation"], line.get("parameters")), (&json!("DeleteLoadBalancer"), None));
        assert!(account.is_worth_a_line());
        let presigned = Request {
            uri: "/?Action=AddTags&X-Amz-Credential=EVE%2F20150830%2Flocal&X-Amz-Signature=ab"
                .parse()
                .unwrap(),
            ..request(&[], "")
        };
        let line = read(&Account::new(Timestamp(0), "id-1", &presigned).line(Event::Answered, None, 0));
        assert_eq!((&line["claimed_access_key"], &line["operation"]), (&json!("EVE"), &json!("AddTags")));
    }
}
