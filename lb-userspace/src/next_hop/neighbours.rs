//! The neighbours that the kernel knows, with the last MAC address of each. Pure: sockets are elsewhere.
//!
//! A neighbour's life here, and what its MAC address is meanwhile:
//!
//! ```text
//!   (asked) ─► resolving ─► answering ◄──────► silent           the kernel's FAILED
//!                 │          MAC known          MAC as last known, none if it never answered
//!                 └─────────────────────────────▲
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteProtocol;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Marks the neighbour entries that Sluice asked for (`NDA_PROTOCOL`, shown as `proto 214` by `ip neigh`), so
/// that a later run knows them from other programs' ones. Unassigned in iproute2's table of protocols.
pub(super) const PROTOCOL: RouteProtocol = RouteProtocol::Other(214);

/// A neighbour's key in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hop {
    /// Index of the interface.
    pub(crate) interface: u32,
    /// The neighbour's address.
    pub(crate) address: IpAddr,
}

/// What is known of one neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// Its MAC address, the last known one if it does not answer now.
    pub(super) mac: Option<[u8; 6]>,
    /// Whether it answers.
    pub(super) reach: Reach,
    /// Who keeps the kernel's entry.
    keeper: Keeper,
}

/// Whether a neighbour answers, as far as the kernel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Not known yet.
    Resolving,
    /// It does, or nothing speaks against it: REACHABLE, STALE, DELAY, PROBE, PERMANENT, NOARP.
    Answering,
    /// It does not: FAILED.
    Silent,
    /// The kernel refused to resolve it.
    Refused(Errno),
}

/// Who sees to it that the kernel's entry stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeper {
    /// There is no entry.
    Nobody,
    /// The kernel as it likes: it may go stale, and be collected.
    Kernel,
    /// The operator: a permanent entry. It must not be touched.
    Operator,
    /// Another program asked for a managed entry.
    Other,
    /// Sluice asked for a managed entry.
    Ours,
}

/// All neighbours of the kernel, and those gone from it whose MAC address is still wanted.
#[derive(Debug, Default)]
pub(super) struct Neighbours(BTreeMap<Hop, Neighbour>);

impl Neighbours {
    /// Takes in one notification. Returns the neighbour if it is not as it was.
    pub(super) fn update(&mut self, message: &NeighbourMessage) -> Option<Hop> {
        let hop = hop(message)?;
        let old = self.0.get(&hop).copied();
        let new = successor(old, message);
        self.0.insert(hop, new);
        (old != Some(new)).then_some(hop)
    }

    /// Takes in that the kernel's entry is gone; its MAC address stays known until `forget_all_but`.
    pub(super) fn remove(&mut self, message: &NeighbourMessage) -> Option<Hop> {
        let hop = hop(message)?;
        let neighbour = self.0.get_mut(&hop)?;
        neighbour.leave_kernel();
        Some(hop)
    }

    /// Takes in a complete listing of the kernel, after which nothing else is in the kernel.
    pub(super) fn resynchronize(&mut self, messages: &[NeighbourMessage]) {
        self.0.values_mut().for_each(Neighbour::leave_kernel);
        for message in messages {
            self.update(message);
        }
    }

    /// Takes in that the kernel refused to resolve a neighbour. One that answers anyhow is none the worse.
    pub(super) fn refuse(&mut self, hop: Hop, error: Errno) {
        let neighbour = self.0.entry(hop).or_insert(Neighbour::UNKNOWN);
        if neighbour.reach != Reach::Answering {
            neighbour.reach = Reach::Refused(error);
        }
    }

    /// Takes in that a managed entry of ours was made an ordinary one.
    pub(super) fn release(&mut self, hop: Hop) {
        if let Some(neighbour) = self.0.get_mut(&hop) {
            neighbour.keeper = Keeper::Kernel;
        }
    }

    /// What is known of a neighbour.
    pub(super) fn of(&self, hop: Hop) -> Neighbour {
        self.0.get(&hop).copied().unwrap_or(Neighbour::UNKNOWN)
    }

    /// Whether the kernel has a managed entry that Sluice asked for.
    pub(super) fn is_ours(&self, hop: Hop) -> bool {
        self.of(hop).keeper == Keeper::Ours
    }

    /// How many of them there are.
    pub(super) fn count_of_ours(&self) -> usize {
        self.0.values().filter(|neighbour| neighbour.keeper == Keeper::Ours).count()
    }

    /// Managed entries that Sluice asked for and that nobody wants any more, those of an earlier run included.
    pub(super) fn abandoned(&self, wanted: &BTreeSet<Hop>) -> Vec<Hop> {
        let ours = self.0.iter().filter(|(_, neighbour)| neighbour.keeper == Keeper::Ours);
        ours.map(|(hop, _)| *hop).filter(|hop| !wanted.contains(hop)).collect()
    }

    /// Drops what is neither in the kernel nor wanted.
    pub(super) fn forget_all_but(&mut self, wanted: &BTreeSet<Hop>) {
        self.0.retain(|hop, neighbour| neighbour.keeper != Keeper::Nobody || wanted.contains(hop));
    }

    /// Drops all that is known of an interface's neighbours: the interface is gone.
    pub(super) fn forget_interface(&mut self, index: u32) {
        self.0.retain(|hop, _| hop.interface != index);
    }
}

impl Neighbour {
    const UNKNOWN: Neighbour = Neighbour { mac: None, reach: Reach::Resolving, keeper: Keeper::Nobody };

    /// Whether the kernel must be asked to resolve it and keep it so. Never true of a permanent entry: the
    /// request would make it an ordinary one (`__neigh_update` clears NUD_PERMANENT).
    pub(super) fn needs_request(&self) -> bool {
        matches!(self.keeper, Keeper::Nobody | Keeper::Kernel)
    }

    fn leave_kernel(&mut self) {
        self.keeper = Keeper::Nobody;
        self.reach = Reach::Resolving;
    }
}

/// The neighbour that a message is about; none for those of other kinds (a bridge's forwarding entries).
fn hop(message: &NeighbourMessage) -> Option<Hop> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some((*address).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some((*address).into()),
            _ => None,
        })
        .map(|address| Hop { interface: message.header.ifindex, address })
}

fn successor(old: Option<Neighbour>, message: &NeighbourMessage) -> Neighbour {
    let old = old.unwrap_or(Neighbour::UNKNOWN);
    let reach = match message.header.state {
        NeighbourState::Failed => Reach::Silent,
        // A neighbour that is asked again after it failed is still silent: no flapping between two faults.
        NeighbourState::Incomplete | NeighbourState::None if old.reach == Reach::Silent => Reach::Silent,
        NeighbourState::Incomplete | NeighbourState::None => Reach::Resolving,
        _ => Reach::Answering,
    };
    Neighbour { mac: mac(message).or(old.mac), reach, keeper: keeper(message) }
}

/// The kernel leaves the attribute out while it has no valid address.
fn mac(message: &NeighbourMessage) -> Option<[u8; 6]> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    })
}

fn keeper(message: &NeighbourMessage) -> Keeper {
    let has = |wanted: &NeighbourAttribute| message.attributes.contains(wanted);
    let managed = message.attributes.iter().any(|attribute| match attribute {
        NeighbourAttribute::ExtFlags(flags) => flags.contains(NeighbourExtFlags::Managed),
        _ => false,
    });
    match message.header.state {
        NeighbourState::Permanent => Keeper::Operator,
        _ if managed && has(&NeighbourAttribute::Protocol(PROTOCOL)) => Keeper::Ours,
        _ if managed => Keeper::Other,
        _ => Keeper::Kernel,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use netlink_packet_route::AddressFamily;

    use super::*;

    pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    pub(crate) fn a_hop() -> Hop {
        Hop { interface: 2, address: "10.0.0.9".parse().unwrap() }
    }

    pub(crate) fn message(hop: Hop, state: NeighbourState, mac: Option<[u8; 6]>) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family =
            if hop.address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.ifindex = hop.interface;
        message.header.state = state;
        message.attributes.push(NeighbourAttribute::Destination(match hop.address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        }));
        message.attributes.extend(mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.to_vec())));
        message
    }

    fn managed(mut message: NeighbourMessage, protocol: Option<RouteProtocol>) -> NeighbourMessage {
        message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        message.attributes.extend(protocol.map(NeighbourAttribute::Protocol));
        message
    }

    #[test]
    fn a_neighbour_that_fails_keeps_its_last_mac_address() {
        let mut neighbours = Neighbours::default();
        neighbours.update(&message(a_hop(), NeighbourState::Reachable, Some(MAC)));
        for state in [NeighbourState::Probe, NeighbourState::Failed, NeighbourState::Incomplete] {
            let seen = (state == NeighbourState::Probe).then_some(MAC);
            neighbours.update(&message(a_hop(), state, seen));
        }
        let neighbour = neighbours.of(a_hop());
        assert_eq!((neighbour.mac, neighbour.reach), (Some(MAC), Reach::Silent));
    }

    #[test]
    fn a_new_mac_address_replaces_the_old_one() {
        let mut neighbours = Neighbours::default();
        neighbours.update(&message(a_hop(), NeighbourState::Reachable, Some(MAC)));
        let moved = [2, 0, 0, 0, 0, 10];
        assert_eq!(neighbours.update(&message(a_hop(), NeighbourState::Stale, Some(moved))), Some(a_hop()));
        assert_eq!(neighbours.of(a_hop()).mac, Some(moved));
    }

    #[test]
    fn usable_states_do_not_differ() {
        let mut neighbours = Neighbours::default();
        neighbours.update(&message(a_hop(), NeighbourState::Reachable, Some(MAC)));
        for state in [NeighbourState::Stale, NeighbourState::Delay, NeighbourState::Probe] {
            assert_eq!(neighbours.update(&message(a_hop(), state, Some(MAC))), None);
        }
    }

    #[test]
    fn a_removed_entry_is_asked_for_again_and_its_mac_address_kept_while_wanted() {
        let mut neighbours = Neighbours::default();
        let ours = managed(message(a_hop(), NeighbourState::Reachable, Some(MAC)), Some(PROTOCOL));
        neighbours.update(&ours);
        assert!(!neighbours.of(a_hop()).needs_request());
        assert_eq!(neighbours.remove(&ours), Some(a_hop()));
        assert!(neighbours.of(a_hop()).needs_request());
        neighbours.forget_all_but(&BTreeSet::from([a_hop()]));
        assert_eq!(neighbours.of(a_hop()).mac, Some(MAC));
        neighbours.forget_all_but(&BTreeSet::new());
        assert_eq!(neighbours.of(a_hop()), Neighbour::UNKNOWN);
    }

    #[test]
    fn permanent_entries_and_other_programs_managed_ones_are_left_alone() {
        let mut neighbours = Neighbours::default();
        neighbours.update(&message(a_hop(), NeighbourState::Permanent, Some(MAC)));
        assert!(!neighbours.of(a_hop()).needs_request());
        neighbours.update(&managed(message(a_hop(), NeighbourState::Reachable, Some(MAC)), None));
        assert!(!neighbours.of(a_hop()).needs_request());
        assert!(neighbours.abandoned(&BTreeSet::new()).is_empty());
    }

    #[test]
    fn managed_entries_of_ours_that_nobody_wants_are_abandoned() {
        let mut neighbours = Neighbours::default();
        neighbours.update(&managed(message(a_hop(), NeighbourState::Reachable, Some(MAC)), Some(PROTOCOL)));
        assert_eq!(neighbours.abandoned(&BTreeSet::new()), [a_hop()]);
        assert!(neighbours.abandoned(&BTreeSet::from([a_hop()])).is_empty());
        neighbours.release(a_hop());
        assert!(neighbours.abandoned(&BTreeSet::new()).is_empty());
        assert!(neighbours.of(a_hop()).needs_request());
    }

    #[test]
    fn a_complete_listing_replaces_all_but_the_last_known_mac_addresses() {
        let other = Hop { interface: 2, address: "fe80::1".parse().unwrap() };
        let mut neighbours = Neighbours::default();
        neighbours.update(&message(a_hop(), NeighbourState::Reachable, Some(MAC)));
        neighbours.resynchronize(&[message(other, NeighbourState::Reachable, Some(MAC))]);
        assert_eq!(neighbours.of(a_hop()).mac, Some(MAC));
        assert_eq!(neighbours.of(a_hop()).reach, Reach::Resolving);
        assert_eq!(neighbours.of(other).reach, Reach::Answering);
    }

    #[test]
    fn forwarding_entries_of_bridges_are_not_neighbours() {
        let mut entry = NeighbourMessage::default();
        entry.header.family = AddressFamily::Bridge;
        entry.attributes.push(NeighbourAttribute::LinkLayerAddress(MAC.to_vec()));
        assert_eq!(Neighbours::default().update(&entry), None);
    }
}
