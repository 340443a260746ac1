//! The rules for names that people give: to load balancers and target groups, nodes and zones, interfaces.

use super::cursor::At;
use super::json::Quoted;

/// A load balancer's or target group's name (the rule is the ELBv2 API's).
pub(super) fn object_name(at: &At) -> Option<String> {
    const RULE: &str = "a name of 1 to 32 letters, digits and hyphens, without a hyphen at either end";
    let name = at.text(RULE)?;
    let right = (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if right { Some(name.to_owned()) } else { at.refuse_expecting(RULE) }
}

/// A node's or zone's name: it stands in messages, metrics and tables of the terminal.
pub(super) fn label(at: &At) -> Option<String> {
    const RULE: &str = "a name of 1 to 64 characters, without control characters and outer spaces";
    let name = at.text(RULE)?;
    let right = (1..=64).contains(&name.chars().count())
        && !name.chars().any(char::is_control)
        && name.trim().len() == name.len();
    if right { Some(name.to_owned()) } else { at.refuse_expecting(RULE) }
}

/// A network interface's name, by the rule of Linux's `dev_valid_name`.
pub(super) fn interface(at: &At) -> Option<String> {
    const RULE: &str = "an interface name such as \"eth0\"";
    let name = at.text(RULE)?;
    if name.len() > 15 {
        return at.refuse(format!(
            "{} is {} bytes long; an interface name of Linux has at most 15",
            Quoted(name),
            name.len()
        ));
    }
    let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name == "." || name == ".." || name.chars().any(forbidden) {
        return at.refuse_expecting("an interface name such as \"eth0\", without '/', ':' and spaces");
    }
    Some(name.to_owned())
}
