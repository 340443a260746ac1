//! Against rustbgpd's codec: what is written here means the same there, and what it writes is read here.

use bytes::{Bytes, BytesMut};
use rustbgpd_wire as wire;
use wire::{Capability, PathAttribute, Prefix};

use super::*;

fn read_by_oracle(message: &[u8]) -> wire::Message {
    wire::decode_message(&mut Bytes::copy_from_slice(message), wire::MAX_MESSAGE_LEN).unwrap()
}

fn written_by_oracle(message: &wire::Message) -> Vec<u8> {
    wire::encode_message(message).unwrap().to_vec()
}

fn afi_of(family: Family) -> wire::Afi {
    match family {
        Family::Ipv4 => wire::Afi::Ipv4,
        Family::Ipv6 => wire::Afi::Ipv6,
    }
}

fn capabilities(open: &Open) -> Vec<Capability> {
    let unicast = wire::Safi::Unicast;
    let families = open.capabilities.families.iter();
    let mut all: Vec<_> =
        families.map(|family| Capability::MultiProtocol { afi: afi_of(family), safi: unicast }).collect();
    if open.capabilities.route_refresh {
        all.push(Capability::RouteRefresh);
    }
    if open.capabilities.extended_next_hop {
        all.push(Capability::ExtendedNextHop(vec![wire::ExtendedNextHopFamily {
            nlri_afi: wire::Afi::Ipv4,
            nlri_safi: unicast,
            next_hop_afi: wire::Afi::Ipv6,
        }]));
    }
    all.push(Capability::FourOctetAs { asn: open.autonomous_system });
    all
}

fn open_of(open: &Open) -> wire::OpenMessage {
    wire::OpenMessage {
        version: 4,
        my_as: u16::try_from(open.autonomous_system).unwrap_or(23456),
        hold_time: open.hold_time,
        bgp_identifier: open.router_id,
        capabilities: capabilities(open),
    }
}

/// What an UPDATE says.
#[derive(Debug, Default, PartialEq)]
struct Meaning {
    announced: Vec<IpAddr>,
    withdrawn: Vec<IpAddr>,
    next_hop: Option<IpAddr>,
    path: Vec<u32>,
    med: Option<u32>,
    local_preference: Option<u32>,
    communities: Vec<u32>,
    large_communities: Vec<[u32; 3]>,
}

fn address(prefix: Prefix) -> IpAddr {
    match prefix {
        Prefix::V4(wire::Ipv4Prefix { addr, len: 32 }) => addr.into(),
        Prefix::V6(wire::Ipv6Prefix { addr, len: 128 }) => addr.into(),
        other => panic!("no single address: {other:?}"),
    }
}

fn meaning(message: &[u8], four_octet_as: bool) -> Meaning {
    let wire::Message::Update(update) = read_by_oracle(message) else { panic!("no UPDATE") };
    let parsed = update.parse(four_octet_as, false, &[]).unwrap();
    let classic = |entry: &wire::Ipv4NlriEntry| address(Prefix::V4(entry.prefix));
    let mut meaning = Meaning {
        announced: parsed.announced.iter().map(classic).collect(),
        withdrawn: parsed.withdrawn.iter().map(classic).collect(),
        ..Meaning::default()
    };
    for attribute in parsed.attributes {
        meaning.add(attribute);
    }
    meaning
}

impl Meaning {
    fn add(&mut self, attribute: PathAttribute) {
        match attribute {
            PathAttribute::Origin(origin) => assert_eq!(origin, wire::Origin::Igp),
            PathAttribute::AsPath(path) => {
                self.path.extend(path.segments.into_iter().flat_map(|part| match part {
                    wire::AsPathSegment::AsSequence(numbers) => numbers,
                    wire::AsPathSegment::AsSet(_) => panic!("a set"),
                }))
            }
            PathAttribute::NextHop(hop) => self.next_hop = Some(hop.into()),
            PathAttribute::Med(med) => self.med = Some(med),
            PathAttribute::LocalPref(preference) => self.local_preference = Some(preference),
            PathAttribute::Communities(communities) => self.communities = communities,
            PathAttribute::LargeCommunities(communities) => {
                let numbers = communities.iter().map(|it| [it.global_admin, it.local_data1, it.local_data2]);
                self.large_communities = numbers.collect();
            }
            PathAttribute::MpReachNlri(reach) => {
                self.next_hop = Some(reach.next_hop);
                self.announced.extend(reach.announced.iter().map(|entry| address(entry.prefix)));
            }
            PathAttribute::MpUnreachNlri(unreach) => {
                self.withdrawn.extend(unreach.withdrawn.iter().map(|entry| address(entry.prefix)));
            }
            PathAttribute::Unknown(raw) => assert_eq!(raw.type_code, 17, "AS4_PATH alone is raw"),
            other => panic!("nobody wrote {other:?}"),
        }
    }
}

/// What attributes should mean.
fn expected(vips: &[IpAddr], attributes: &Attributes) -> Meaning {
    Meaning {
        announced: vips.to_vec(),
        withdrawn: Vec::new(),
        next_hop: Some(attributes.next_hop),
        // Also where it goes through AS4_PATH.
        path: attributes.origin_as.into_iter().collect(),
        med: attributes.med,
        local_preference: attributes.local_preference,
        communities: attributes.communities.iter().map(|community| community.0).collect(),
        large_communities: attributes.large_communities.iter().map(|community| community.0).collect(),
    }
}

proptest! {
    #[test]
    fn both_read_and_write_the_same_open(open in opens()) {
        prop_assert_eq!(read_by_oracle(&super::super::open(&open)), wire::Message::Open(open_of(&open)));
        let theirs = written_by_oracle(&wire::Message::Open(open_of(&open)));
        prop_assert_eq!(read(&theirs), Ok(Message::Open(open)));
    }

    #[test]
    fn ipv4_vips_mean_the_same_there(vips in vips4(), attributes in attributes(any::<bool>())) {
        let bytes = announce(Family::Ipv4, &vips, &attributes);
        prop_assert_eq!(meaning(&bytes, attributes.four_octet_as), expected(&vips, &attributes));
        let bytes = withdraw(Family::Ipv4, &vips, attributes.next_hop);
        prop_assert_eq!(meaning(&bytes, true), Meaning { withdrawn: vips, ..Meaning::default() });
    }

    #[test]
    fn ipv6_vips_mean_the_same_there(vips in vips6(), attributes in attributes(Just(false))) {
        let bytes = announce(Family::Ipv6, &vips, &attributes);
        prop_assert_eq!(meaning(&bytes, attributes.four_octet_as), expected(&vips, &attributes));
        let bytes = withdraw(Family::Ipv6, &vips, attributes.next_hop);
        prop_assert_eq!(meaning(&bytes, true), Meaning { withdrawn: vips, ..Meaning::default() });
    }

    #[test]
    fn its_updates_are_well_formed_here(vips in vips4(), attributes in attributes(Just(true))) {
        let bytes = written_by_oracle(&wire::Message::Update(update_of(&vips, &attributes)));
        prop_assert_eq!(check(body(&bytes), context(&attributes)), Ok(Received::Fine));
    }

    #[test]
    fn both_tell_an_update_that_ends_the_session(
        vips in vips4(),
        attributes in attributes(Just(true)),
        place: proptest::sample::Index,
        byte: u8,
    ) {
        let mut update = update_of(&vips, &attributes);
        let mut changed = update.path_attributes.to_vec();
        *place.get_mut(&mut changed) = byte;
        // Families and attributes that only one of them knows are not compared.
        prop_assume!(!changed.contains(&14) && !changed.contains(&15));
        update.path_attributes = changed.into();
        let theirs = update.parse_revised(attributes.four_octet_as, context(&attributes).is_internal, false, &[]);
        let bytes = written_by_oracle(&wire::Message::Update(update));
        let ours = check(body(&bytes), context(&attributes));
        prop_assert_eq!(ours.is_err(), theirs.is_err(), "{:?} {:?}", ours, theirs);
    }
}

fn update_of(vips: &[IpAddr], attributes: &Attributes) -> wire::UpdateMessage {
    let IpAddr::V4(next_hop) = attributes.next_hop else { panic!("an IPv4 next hop") };
    let entries: Vec<_> = vips.iter().map(|vip| entry(*vip)).collect();
    let numbers = attributes.origin_as.map(|number| wire::AsPathSegment::AsSequence(vec![number]));
    let mut all = vec![
        PathAttribute::Origin(wire::Origin::Igp),
        PathAttribute::AsPath(wire::AsPath { segments: numbers.into_iter().collect() }),
        PathAttribute::NextHop(next_hop),
    ];
    all.extend(attributes.med.map(PathAttribute::Med));
    all.extend(attributes.local_preference.map(PathAttribute::LocalPref));
    if !attributes.communities.is_empty() {
        let numbers = attributes.communities.iter().map(|community| community.0);
        all.push(PathAttribute::Communities(numbers.collect()));
    }
    wire::UpdateMessage::build(
        &entries,
        &[],
        &all,
        attributes.four_octet_as,
        false,
        wire::Ipv4UnicastMode::Body,
    )
}

fn entry(vip: IpAddr) -> wire::Ipv4NlriEntry {
    let IpAddr::V4(address) = vip else { panic!("an IPv4 VIP") };
    wire::Ipv4NlriEntry { path_id: 0, prefix: wire::Ipv4Prefix::new(address, 32) }
}

#[test]
fn small_messages_mean_the_same_there() {
    assert_eq!(read_by_oracle(&keepalive()), wire::Message::Keepalive);
    assert_eq!(written_by_oracle(&wire::Message::Keepalive), keepalive());
    for family in Family::ALL {
        let refresh = wire::RouteRefreshMessage::new(afi_of(family), wire::Safi::Unicast);
        let message = wire::Message::RouteRefresh(refresh);
        assert_eq!(written_by_oracle(&message), route_refresh(&RouteRefresh { family }));
        assert_eq!(meaning(&end_of_rib(family), true), Meaning::default());
    }
    let ours = notification(&Notification::shutdown("maintenance"));
    let wire::Message::Notification(theirs) = read_by_oracle(&ours) else { panic!("no NOTIFICATION") };
    assert_eq!((theirs.code, theirs.subcode), (wire::NotificationCode::Cease, 2));
    assert_eq!(&theirs.data[1..], b"maintenance");
    let mut bytes = BytesMut::new();
    theirs.encode(&mut bytes).unwrap();
    assert_eq!(bytes, ours);
}
