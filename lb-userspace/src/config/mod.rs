//! The configuration file: JSON text in, [`Desired`] or every problem of the file out.
//!
//! Nothing of a bad file is taken: there is either a whole desired state or a list of problems, each with its
//! path inside the file, what was found and what would be right. The readers collect: one that returns
//! nothing has reported why, and its neighbours are still read.
//!
//! ```text
//!   text --json--> Json (members in order, duplicates kept) --cursor + one reader a section--> Desired
//! ```
//!
//! Only [`load`] touches a file; nothing here looks at the machine (an interface may be missing, say), knows
//! what is in force, or watches for changes.

mod address;
mod allow;
mod announce;
mod cursor;
mod error;
mod flow_log;
mod health_check;
mod json;
mod listener;
mod load_balancer;
mod minimum_healthy;
mod name;
mod nearest;
mod new_flows;
mod node;
mod owner;
mod quic_server_id;
mod summary;
mod target_group;
#[cfg(test)]
mod tests;
mod warnings;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use error::{ConfigError, Problem};
pub use json::SyntaxError;
pub(crate) use nearest::nearest;
pub use owner::{Content, Owner};
pub use summary::summary;
pub use warnings::warnings;

use crate::model::Desired;
use cursor::Report;
pub(crate) use cursor::{At, Fields};

/// The longest file that is read, in bytes: more than ten times what the largest valid one needs.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Reads and parses the file at `path`; errors name it as `path` does. Of a file that leaves the load balancers to the
/// API this is the rest.
///
/// Besides a bad content, a file that can't be opened, is not UTF-8 or is longer than 64 MiB is an error.
pub fn load(path: &Path) -> Result<Desired, ConfigError> {
    load_content(path).map(|content| content.desired)
}

/// The same with who owns the load balancers and target groups. The sections `api`, `inventory` and `store` are not looked into.
pub fn load_content(path: &Path) -> Result<Content, ConfigError> {
    let file = path.display().to_string();
    match read(path) {
        Ok(text) => parse_content(&file, text),
        Err(cause) => Err(ConfigError::Unreadable { file, cause }),
    }
}

fn read(path: &Path) -> Result<String, std::io::Error> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other("longer than 64 MiB"));
    }
    Ok(text)
}

/// Parses the content of a configuration file; `file_name` is only for messages.
pub fn parse(file_name: &str, text: &str) -> Result<Desired, ConfigError> {
    parse_content(file_name, text.to_owned()).map(|content| content.desired)
}

/// The same as [`load_content`] of a text.
pub(crate) fn parse_content(file_name: &str, text: String) -> Result<Content, ConfigError> {
    let Sections { desired, announce, is_api } = read_document(file_name, &text, sections)?;
    Ok(Content { desired, announce, owner: if is_api { Owner::Api(text) } else { Owner::File } })
}

/// Reads a JSON text of any kind with `reader`, which reports why where it returns nothing.
pub(crate) fn read_document<T>(
    file_name: &str,
    text: &str,
    reader: impl FnOnce(&At) -> Option<T>,
) -> Result<T, ConfigError> {
    let json =
        json::parse(text).map_err(|error| ConfigError::Syntax { file: file_name.to_owned(), error })?;
    let report = Report::default();
    let read = reader(&At::root(&json, &report));
    let problems = report.into_problems();
    if !problems.is_empty() {
        return Err(ConfigError::Invalid { file: file_name.to_owned(), problems });
    }
    Ok(read.expect("a reader that returns nothing has reported a problem"))
}

/// All sections but the API's.
struct Sections {
    desired: Desired,
    announce: Option<crate::announce::Configuration>,
    /// Whether the API owns the rest of what is desired.
    is_api: bool,
}

fn sections(root: &At) -> Option<Sections> {
    let fields = root.fields(&[
        "node",
        "metrics_address",
        "load_balancers",
        "target_groups",
        "announce",
        "api",
        "inventory",
        "store",
    ])?;
    let node = node::read(&fields.at("node"));
    let metrics_address =
        fields.optional("metrics_address").map_or(Some(None), |at| address::socket(&at).map(Some));
    let announce = fields.optional("announce").map_or(Some(None), |at| announce::read(&at).map(Some));
    if owner::is_api(&fields) {
        let desired = owner::nothing_of_its_own(node.node?, metrics_address?);
        return Some(Sections { desired, announce: announce?, is_api: true });
    }
    let groups = target_group::read_all(&fields.at("target_groups"), node.zone.as_deref());
    let load_balancers =
        load_balancer::read_all(&fields.at("load_balancers"), groups.as_ref(), node.has_flow_log);
    if let (Some(groups), Some(load_balancers)) = (&groups, &load_balancers) {
        groups.refuse_vips(&load_balancers.vips, root);
    }
    let desired = Desired {
        node: node.node?,
        metrics_address: metrics_address?,
        load_balancers: load_balancers?.complete?,
        target_groups: groups?.complete()?,
    };
    Some(Sections { desired, announce: announce?, is_api: false })
}
