//! Who owns the load balancers and target groups: the file, or the API if the file has a section for it. Never both.

use std::collections::BTreeMap;

use super::cursor::Fields;
use crate::announce;
use crate::model::Desired;

/// A whole configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// What is wanted; where the API owns the load balancers and target groups, it has none.
    pub desired: Desired,
    /// How the node announces its VIPs, if it does.
    pub announce: Option<announce::Configuration>,
    /// Who owns the load balancers and target groups.
    pub owner: Owner,
}

/// The owner of the load balancers and target groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The file itself.
    File,
    /// The API. This is the file's text, whose sections `api`, `inventory` and `store` are the API's to read.
    Api(String),
}

/// Whether the API owns the state; sections of the other owner are reported.
pub(super) fn is_api(fields: &Fields) -> bool {
    if fields.optional("api").is_none() {
        if let Some(inventory) = fields.optional("inventory") {
            inventory.refuse::<()>(
                "only the API has an inventory; add a section \"api\", which then owns the load balancers and target \
                 groups, or remove this one",
            );
        }
        if let Some(store) = fields.optional("store") {
            store.refuse::<()>(
                "only the API's state is kept in a store; add a section \"api\", which then owns the load balancers and \
                 target groups, or remove this one",
            );
        }
        return false;
    }
    for name in ["load_balancers", "target_groups"] {
        if let Some(section) = fields.optional(name) {
            section.refuse::<()>(
                "the API owns the load balancers and target groups, because there is a section \"api\"; remove this \
                 section, or \"api\" and \"inventory\"",
            );
        }
    }
    true
}

/// What is wanted where others own it.
pub(super) fn nothing_of_its_own(
    node: crate::model::Node,
    metrics_address: Option<std::net::SocketAddr>,
) -> Desired {
    Desired { node, metrics_address, load_balancers: BTreeMap::new(), target_groups: BTreeMap::new() }
}
