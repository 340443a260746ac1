//! What stands around an IP packet on the wire: tags of every kind, and the padding of the shortest frames.

use lb_common::{Reason, Slot};

use crate::case::Case;
use crate::client::{Family, Kind, Packet};
use crate::forwarded::listener;
use crate::remote::{Inner, Outer, Remote, Role};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::BOTH {
        for kind in Kind::ALL {
            cases.extend(tags(family, kind));
            cases.extend(shortest(family, kind));
        }
        cases.extend(not_for_the_node(family));
    }
    cases
}

/// IEEE 802.1Q.
const CUSTOMER: [u8; 2] = [0x81, 0x00];
/// IEEE 802.1ad.
const SERVICE: [u8; 2] = [0x88, 0xa8];

/// A tag: its type, and priority (3 bits), drop eligibility (1 bit) and VLAN id (12 bits).
type Tag = ([u8; 2], u16);

/// One and two tags of every kind: the VLAN decides nothing, and no tag leaves the node.
fn tags(family: Family, kind: Kind) -> Vec<Case> {
    let kinds: [(&str, &[Tag]); 9] = [
        ("a priority tag (VLAN 0, priority 7)", &[(CUSTOMER, 0xe000)]),
        ("the last VLAN", &[(CUSTOMER, 0x0fff)]),
        ("drop eligible", &[(CUSTOMER, 0x1007)]),
        ("a service tag", &[(SERVICE, 8)]),
        ("a service tag of VLAN 0", &[(SERVICE, 0)]),
        ("a service and a customer tag", &[(SERVICE, 8), (CUSTOMER, 9)]),
        ("two customer tags", &[(CUSTOMER, 8), (CUSTOMER, 9)]),
        ("two service tags", &[(SERVICE, 8), (SERVICE, 9)]),
        ("two priority tags", &[(CUSTOMER, 0x6000), (CUSTOMER, 0xa000)]),
    ];
    let packet = Packet::new(family, kind);
    kinds.iter().map(|(what, tags)| tagged(&packet, what, tags)).collect()
}

fn tagged(packet: &Packet, what: &str, tags: &[Tag]) -> Case {
    let remote = Remote::new(Outer::ALL[0], Role::One);
    let mut frame = packet.frame();
    let bytes = tags.iter().flat_map(|(kind, control)| [*kind, control.to_be_bytes()].concat());
    frame.splice(12..12, bytes);
    let inner = Inner {
        family: packet.family,
        traffic_class: 0,
        hash: packet.hash(),
        length: packet.inner_length(),
        bytes: &frame[14 + 4 * tags.len()..],
    };
    let name = format!("{:?} {:?} in {what}", packet.family, packet.kind);
    let slot = Slot::stable(remote.id());
    Case::encapsulated(name, slot, (frame.clone(), 0), &inner, listener(packet), remote)
}

/// Frames of 60 bytes, the shortest on the wire (64 with their checksum), whatever of that is padding: it is not part
/// of the packet, and travels behind it.
fn shortest(family: Family, kind: Kind) -> Vec<Case> {
    let empty = Packet { payload: vec![], ..Packet::new(family, kind) };
    let padded = Packet { padding: 60usize.saturating_sub(empty.frame().len()), ..empty.clone() };
    let mut cases = Vec::new();
    for outer in Outer::ALL {
        let remote = Remote::new(outer, Role::One);
        for (what, packet) in [("without padding", &empty), ("of 60 bytes", &padded)] {
            let name = format!("{family:?} {kind:?} by {}: the shortest, {what}", outer.name());
            let slot = Slot::stable(remote.id());
            cases.push(Case::forwarded(name, slot, packet, listener(packet), remote));
        }
    }
    cases
}

/// Tagged frames for others: which tags they have changes nothing.
fn not_for_the_node(family: Family) -> Vec<Case> {
    let macs =
        [("another MAC", [2, 0, 0, 0, 0, 3]), ("broadcast", [0xff; 6]), ("multicast", [1, 0, 0x5e, 0, 0, 1])];
    let case = |(what, mac): (&str, [u8; 6]), tags: u8| {
        let mut frame = Packet { tags, ..Packet::new(family, Kind::Ack) }.frame();
        frame[..6].copy_from_slice(&mac);
        let target = Remote::new(Outer::ALL[0], Role::One);
        let name = format!("{family:?} in {tags} tags to {what}");
        Case::refused(name, Slot::stable(target.id()), frame, Reason::OtherMac)
    };
    macs.into_iter().flat_map(|mac| [1, 2].map(|tags| case(mac, tags))).collect()
}
