//! One event: its shape as programs read it, and its line as people do.
//!
//! Field names are an interface; new ones may come, none changes its meaning.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::TargetKey;
use crate::status::render::printable;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// 1 for the first one since the controller started; each is one more than the one before.
    pub sequence: u64,
    /// When it was noted, by the node's clock: `2026-11-22T05:40:12.114Z`.
    pub time: String,
    /// What is said of it.
    #[serde(flatten)]
    pub note: Note,
}

/// An event without its place in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What sort of event it is.
    pub kind: Kind,
    /// Who made it: a file's name, an API caller's access key and address, an operator's user id, `health check`, ….
    pub who: String,
    /// What it is about.
    #[serde(flatten)]
    pub object: Object,
    /// What changed: `healthy → unhealthy`.
    pub what: String,
    /// Why, in words, where there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Sorts of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The controller started.
    Controller,
    /// A configuration file was applied or refused, or what it changed.
    Configuration,
    /// A call changed the API's state, or somebody else did who shares it.
    Api,
    /// An operator ordered something here.
    Operator,
    /// A health check decided.
    Health,
    /// The way to a target changed.
    NextHop,
    /// An agent came or went.
    Agent,
    /// A target's draining ended.
    Draining,
    /// A VIP is announced to routers, or is no longer.
    Announcement,
    /// A node that shares the state came or went, or its tables are others than they should be.
    Nodes,
    /// Too few targets of a group are healthy so that all are used, or enough are again.
    FailOpen,
}

/// What an event is about: each field is there if it says something.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Object {
    /// A VIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<IpAddr>,
    /// A load balancer's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<String>,
    /// A target group's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group: Option<String>,
    /// A target's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<IpAddr>,
}

impl Object {
    /// The node as a whole.
    pub fn node() -> Object {
        Object::default()
    }

    /// A VIP, whosever it is.
    pub fn vip(vip: IpAddr) -> Object {
        Object { vip: Some(vip), ..Object::default() }
    }

    /// A load balancer.
    pub fn load_balancer(name: &str) -> Object {
        Object { load_balancer: Some(name.to_owned()), ..Object::default() }
    }

    /// A target group.
    pub fn target_group(name: &str) -> Object {
        Object { target_group: Some(name.to_owned()), ..Object::default() }
    }

    /// A target of a group.
    pub fn target(key: &TargetKey) -> Object {
        Object { target: Some(key.address), ..Object::target_group(&key.target_group) }
    }

    /// An address, in whatever groups it is.
    pub fn address(address: IpAddr) -> Object {
        Object { target: Some(address), ..Object::default() }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(vip) = self.vip {
            return write!(f, "VIP {vip}");
        }
        match (&self.load_balancer, &self.target_group, self.target) {
            (Some(name), ..) => write!(f, "load balancer {name}"),
            (None, Some(group), Some(address)) => write!(f, "target {group}/{address}"),
            (None, Some(group), None) => write!(f, "target group {group}"),
            (None, None, Some(address)) => write!(f, "target {address}"),
            (None, None, None) => f.write_str("node"),
        }
    }
}

impl Event {
    /// Whether it is about the target `wanted`: an address, or `GROUP/ADDRESS`.
    pub fn is_about(&self, wanted: &str) -> bool {
        let object = &self.note.object;
        let Some(address) = object.target else { return false };
        match wanted.rsplit_once('/') {
            // The way to an address is that of every group's target there.
            Some((group, wanted)) => {
                wanted.parse() == Ok(address)
                    && object.target_group.as_ref().is_none_or(|known| known.as_str() == group)
            }
            None => wanted.parse() == Ok(address),
        }
    }
}

impl fmt::Display for Event {
    /// One line, without control characters that came from elsewhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Note { who, object, what, why, .. } = &self.note;
        let why = why.as_ref().map_or(String::new(), |why| format!(": {}", one_line(why)));
        f.write_str(&printable(&format!("{}  {object}: {what} (by {who}{why})", self.time)))
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn unhealthy() -> Note {
        let key = TargetKey { target_group: "web".to_owned(), address: IpAddr::from([10, 0, 0, 3]) };
        Note {
            kind: Kind::Health,
            who: "health check".to_owned(),
            object: Object::target(&key),
            what: "healthy → unhealthy".to_owned(),
            why: Some("connection refused".to_owned()),
        }
    }

    fn event() -> Event {
        Event { sequence: 7, time: "2026-11-22T05:40:12.114Z".to_owned(), note: unhealthy() }
    }

    #[test]
    fn an_event_is_one_flat_json_object() {
        let json = json!({
            "sequence": 7, "time": "2026-11-22T05:40:12.114Z", "kind": "health", "who": "health check",
            "target_group": "web", "target": "10.0.0.3", "what": "healthy → unhealthy", "why": "connection refused",
        });
        assert_eq!(serde_json::to_value(event()).unwrap(), json);
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event());
    }

    #[test]
    fn a_line_says_when_what_and_why() {
        assert_eq!(
            event().to_string(),
            "2026-11-22T05:40:12.114Z  target web/10.0.0.3: healthy → unhealthy (by health check: connection refused)"
        );
        let mut event = event();
        event.note.why = Some("answered \x1b[2J\nand more".to_owned());
        assert!(!event.to_string().contains(char::is_control));
    }

    #[test]
    fn what_an_event_is_about_has_its_word() {
        let address = IpAddr::from([10, 0, 0, 3]);
        let objects = [
            Object::node(),
            Object::vip(address),
            Object::load_balancer("web"),
            Object::target_group("web"),
            Object::address(address),
        ];
        assert_eq!(
            objects.map(|object| object.to_string()),
            ["node", "VIP 10.0.0.3", "load balancer web", "target group web", "target 10.0.0.3"]
        );
    }

    #[test]
    fn a_target_is_found_by_its_address_and_by_its_group() {
        let mut event = event();
        for (wanted, is_about) in [
            ("10.0.0.3", true),
            ("web/10.0.0.3", true),
            ("api/10.0.0.3", false),
            ("10.0.0.30", false),
            ("web", false),
            ("", false),
        ] {
            assert_eq!(event.is_about(wanted), is_about, "{wanted}");
        }
        event.note.object = Object::address(IpAddr::from([10, 0, 0, 3]));
        assert!(event.is_about("api/10.0.0.3"), "a way is every group's");
    }
}
