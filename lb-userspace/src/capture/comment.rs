//! What a captured packet's comment says.

use lb_common::TargetId;
use lb_common::listener::Listener;
use lb_common::trace::{Step, Trace};
use lb_common::{ChainWord, Slot, SlotState};

use crate::controller::names::Names;

/// The verdict, with reason, listener, slot and target as far as the packet got; one `key=value` for each, so that
/// a display filter finds it: `frame.comment contains "target=10.0.0.3"`.
pub(crate) fn comment(trace: &Trace, names: &Names) -> String {
    let mut parts = vec![match trace.reason() {
        Some(reason) => format!("verdict={} reason={}", reason.verdict().as_str(), reason.name()),
        None => "verdict=forwarded".to_owned(),
    }];
    if trace.has(Step::Fragment) {
        parts.push(format!("fragment={:#x}@{}", trace.identification, trace.fragment_offset));
    }
    if trace.has(Step::Listener) {
        let listener = names.listeners.get(&Listener::from_word(trace.listener).counter);
        parts.push(listener.map_or_else(
            || "listener=unknown".to_owned(),
            |part| format!("listener={}:{}/{}", part.load_balancer, part.port, part.protocol),
        ));
    }
    if trace.has(Step::Slot) {
        let slot = Slot(trace.slot_word);
        let state = match slot.state() {
            _ if is_chained(trace) => "chained",
            SlotState::Stable => "stable",
            SlotState::Changing => "changing",
            SlotState::Exceptions => "exceptions",
        };
        parts.push(format!("slot={} ({state})", trace.slot));
    }
    if trace.has(Step::Target) {
        let id = TargetId(trace.target);
        let group = names.targets.get(&id).map(|key| format!(" target_group={}", key.target_group));
        parts.push(format!("target={}{}", names.target(id), group.unwrap_or_default()));
    }
    if is_chained(trace) {
        let slot = Slot(trace.slot_word);
        let former = [slot.previous(), ChainWord(trace.chain).oldest(slot)];
        let former: Vec<String> =
            former.into_iter().filter(|id| !id.is_none()).map(|id| names.target(id)).collect();
        parts.push(format!("chain={}", former.join(",")));
    }
    if trace.has(Step::Exception) {
        parts.push("exception: the flow began on this target".to_owned());
    }
    parts.join(" ")
}

fn is_chained(trace: &Trace) -> bool {
    trace.has(Step::Chain) && ChainWord(trace.chain).is_chain_of(Slot(trace.slot_word))
}

/// Whether the names are older than something that the packet met.
pub(crate) fn outdates(trace: &Trace, names: &Names) -> bool {
    (trace.has(Step::Target) && !names.targets.contains_key(&TargetId(trace.target)))
        || (trace.has(Step::Listener)
            && !names.listeners.contains_key(&Listener::from_word(trace.listener).counter))
}

#[cfg(test)]
mod tests {
    use lb_common::Reason;
    use lb_common::encapsulation::Way;

    use super::*;
    use crate::model::TargetKey;

    #[test]
    fn a_comment_says_as_much_as_the_stages_saw() {
        let mut names = Names::default();
        let mut trace = Trace::default();
        trace.ends(Reason::NotOurs as u8);
        assert_eq!(comment(&trace, &names), "verdict=passed reason=not_ours");
        trace.identification = 0xbeef;
        trace.fragment_offset = 1480;
        trace.steps |= Step::Fragment as u32;
        assert_eq!(comment(&trace, &names), "verdict=passed reason=not_ours fragment=0xbeef@1480");
        let mut trace = Trace::default();
        trace.target(TargetId(7), Way(0));
        assert!(outdates(&trace, &names));
        let key = TargetKey { target_group: "web".to_owned(), address: [10, 0, 0, 3].into() };
        names.targets.insert(TargetId(7), key);
        assert!(!outdates(&trace, &names));
        assert_eq!(comment(&trace, &names), "verdict=forwarded target=10.0.0.3 target_group=web");
        let slot = Slot::changing(TargetId(7), TargetId(8));
        trace.slot(lb_common::listener::Forward::new(0, 8), 5, slot);
        trace.chain(ChainWord::ends(TargetId(7)));
        let key = TargetKey { target_group: "web".to_owned(), address: [10, 0, 0, 4].into() };
        names.targets.insert(TargetId(8), key);
        let expected = "verdict=forwarded slot=5 (chained) target=10.0.0.3 target_group=web chain=10.0.0.4";
        assert_eq!(comment(&trace, &names), expected);
    }
}
