//! The rules for QUIC server ids: who has one, how it is written, and that no two targets of a group or a listener
//! share one.

use std::collections::BTreeMap;

use super::cursor::{At, Fields};
use super::target_group::Group;
use crate::model::{Protocol, QuicServerId};

const RULE: &str = "\"0x\" and 16 hexadecimal digits in lower case, such as \"0x0123456789abcdef\"";

/// A target's server id: `Some(None)` where it needs none. `all` are those of its group so far, with their paths.
pub(super) fn read(
    fields: &Fields,
    protocol: Option<Protocol>,
    all: &mut BTreeMap<QuicServerId, String>,
) -> Option<Option<QuicServerId>> {
    match (protocol, fields.optional("quic_server_id")) {
        (Some(Protocol::Quic), None) => fields.at("quic_server_id").refuse_expecting(RULE),
        (_, None) => Some(None),
        (Some(Protocol::Quic) | None, Some(at)) => own(&at, all).map(Some),
        (Some(protocol), Some(at)) => at.refuse(format!(
            "this target group is {protocol}, only targets of QUIC ones have a server id; leave it out"
        )),
    }
}

fn own(at: &At, all: &mut BTreeMap<QuicServerId, String>) -> Option<QuicServerId> {
    let Some(id) = parse(at.text(RULE)?) else {
        return at.refuse_expecting(RULE);
    };
    if let Some(earlier) = all.get(&id) {
        return at.refuse(format!("{id} is {earlier} already; every target has a server id of its own"));
    }
    all.insert(id, at.path().to_owned());
    Some(id)
}

/// One spelling an id, so that two that differ to the eye differ: `from_str_radix` alone would take `+` and
/// capitals.
fn parse(text: &str) -> Option<QuicServerId> {
    let digits = text.strip_prefix("0x")?;
    let right = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number = u64::from_str_radix(digits, 16).ok().filter(|_| right)?;
    Some(QuicServerId(number.to_be_bytes()))
}

/// Reports the first server id that two target groups of one listener share: a packet that names it would have two
/// targets.
pub(super) fn refuse_shared(at: &At, groups: &[&Group]) -> Option<()> {
    let mut owners: BTreeMap<QuicServerId, &str> = BTreeMap::new();
    for (id, path) in groups.iter().flat_map(|group| &group.quic_server_ids) {
        if let Some(earlier) = owners.insert(*id, path) {
            return at.refuse(format!(
                "{earlier} and {path} are both {id}, and packets of this listener that name it could be for \
                 either; give each target a server id of its own"
            ));
        }
    }
    Some(())
}
