//! The `node` section.

use super::cursor::At;
use super::{flow_log, name};
use crate::model::{HealthView, Node, Oversized};

/// Interfaces that a node can have; the data plane's map of them has that many entries.
const MAX_INTERFACES: usize = 64;

/// What could be read of the section.
#[derive(Default)]
pub(super) struct ReadNode {
    /// The node's zone, which is its targets' default, whatever else is wrong.
    pub(super) zone: Option<String>,
    /// Whether it keeps flow logs, whatever else is wrong.
    pub(super) has_flow_log: bool,
    /// The node, if nothing is wrong.
    pub(super) node: Option<Node>,
}

pub(super) fn read(at: &At) -> ReadNode {
    let Some(fields) = at.fields(&["name", "zone", "interfaces", "oversized", "health_view", "flow_log"])
    else {
        return ReadNode::default();
    };
    let node_name = name::label(&fields.at("name"));
    let zone = name::label(&fields.at("zone"));
    let interfaces = interfaces(&fields.at("interfaces"));
    let oversized = fields.optional("oversized").map_or(Some(Oversized::default()), |at| {
        at.choice(&[("drop", Oversized::Drop), ("answer", Oversized::Answer)], &[])
    });
    let health_view = fields.optional("health_view").map_or(Some(HealthView::default()), |at| {
        at.choice(&[("own", HealthView::Own), ("majority", HealthView::Majority)], &[])
    });
    let logs = fields.optional("flow_log");
    let flow_log = logs.as_ref().map_or(Some(None), |at| flow_log::of_node(at).map(Some));
    let complete = |zone| {
        Some(Node {
            name: node_name?,
            zone,
            interfaces: interfaces?,
            oversized: oversized?,
            health_view: health_view?,
            flow_log: flow_log?,
        })
    };
    ReadNode { node: zone.clone().and_then(complete), zone, has_flow_log: logs.is_some() }
}

fn interfaces(at: &At) -> Option<Vec<String>> {
    let items = at.items("a list of 1 to 64 interface names")?;
    if items.is_empty() {
        return at.refuse("an empty list; expected 1 to 64 interface names");
    }
    if items.len() > MAX_INTERFACES {
        return at.refuse(format!("{} interfaces; expected at most {MAX_INTERFACES}", items.len()));
    }
    let mut names: Vec<Option<String>> = Vec::new();
    for item in &items {
        let name = name::interface(item);
        match names.iter().position(|earlier| earlier.is_some() && *earlier == name) {
            None => names.push(name),
            Some(earlier) => names.push(
                item.refuse(format!("the same interface as {}; name each once", items[earlier].path())),
            ),
        }
    }
    names.into_iter().collect()
}
