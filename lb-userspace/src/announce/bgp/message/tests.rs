//! The codec against itself, against truncations and random bytes, and against a codec that others wrote.

mod oracle;

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::received::{Context, Fault, Received};
use super::*;
use crate::announce::bgp::{Community, Families, Family, LargeCommunity};

fn families() -> impl Strategy<Value = Families> {
    (any::<bool>(), any::<bool>())
        .prop_map(|(ipv4, ipv6)| Families { ipv4, ipv6 })
        // A speaker that names no family at all is one of IPv4.
        .prop_filter("one family at least", |families| *families != Families::default())
}

pub(super) fn opens() -> impl Strategy<Value = Open> {
    let capabilities = (families(), any::<bool>(), any::<bool>()).prop_map(
        |(families, route_refresh, extended_next_hop)| Capabilities {
            families,
            route_refresh,
            four_octet_as: true,
            extended_next_hop,
        },
    );
    let hold_time = any::<u16>().prop_filter("a hold time", |time| !matches!(time, 1 | 2));
    (1_u32.., hold_time, 1_u32.., capabilities).prop_map(
        |(autonomous_system, hold_time, id, capabilities)| Open {
            autonomous_system,
            hold_time,
            router_id: Ipv4Addr::from(id),
            capabilities,
        },
    )
}

pub(super) fn attributes(is_ipv4: impl Strategy<Value = bool>) -> impl Strategy<Value = Attributes> {
    let next_hop = (is_ipv4, 1_u32..0xdfff_ffff, any::<[u8; 15]>()).prop_map(|(is_ipv4, v4, v6)| {
        let v6: [u8; 16] = std::array::from_fn(|index| if index == 0 { 0x20 } else { v6[index - 1] });
        if is_ipv4 { Ipv4Addr::from(v4).into() } else { IpAddr::from(v6) }
    });
    let communities = proptest::collection::vec(any::<u32>().prop_map(Community), 0..=33);
    let large = proptest::collection::vec(any::<[u32; 3]>().prop_map(LargeCommunity), 0..=32);
    let numbers = (proptest::option::of(1_u32..u32::MAX), any::<Option<u32>>(), any::<Option<u32>>());
    (next_hop, any::<bool>(), numbers, communities, large).prop_map(
        |(next_hop, four_octet_as, (origin_as, med, local_preference), communities, large_communities)| {
            // A path through a session with numbers of two bytes has none of 23456 itself.
            let origin_as = origin_as.filter(|number| *number != 23456);
            Attributes {
                next_hop,
                origin_as,
                four_octet_as,
                med,
                local_preference,
                communities,
                large_communities,
            }
        },
    )
}

pub(super) fn vips4() -> impl Strategy<Value = Vec<IpAddr>> {
    proptest::collection::vec(any::<[u8; 4]>().prop_map(IpAddr::from), 1..=update::VIPS_MAX)
}

pub(super) fn vips6() -> impl Strategy<Value = Vec<IpAddr>> {
    proptest::collection::vec(any::<[u8; 16]>().prop_map(IpAddr::from), 1..=update::VIPS_MAX)
}

/// The session in which attributes are right.
fn context(attributes: &Attributes) -> Context {
    Context { four_octet_as: attributes.four_octet_as, is_internal: attributes.local_preference.is_some() }
}

fn body(message: &[u8]) -> &[u8] {
    match read(message).unwrap() {
        Message::Update(body) => body,
        other => panic!("no UPDATE: {other:?}"),
    }
}

proptest! {
    #[test]
    fn an_open_is_read_as_it_was_written(open in opens()) {
        let bytes = super::open(&open);
        prop_assert_eq!(read(&bytes), Ok(Message::Open(open)));
    }

    #[test]
    fn a_notification_is_read_as_it_was_written(code: u8, subcode: u8, data: Vec<u8>) {
        let notification = Notification { error: ErrorCode { code, subcode }, data };
        let bytes = super::notification(&notification);
        prop_assert_eq!(read(&bytes), Ok(Message::Notification(notification)));
    }

    #[test]
    fn what_is_announced_is_well_formed_and_fits(
        (family, vips, attributes) in prop_oneof![
            (Just(Family::Ipv4), vips4(), attributes(any::<bool>())),
            (Just(Family::Ipv6), vips6(), attributes(Just(false))),
        ],
    ) {
        let bytes = announce(family, &vips, &attributes);
        prop_assert!(bytes.len() <= LENGTH_MAX);
        prop_assert_eq!(check(body(&bytes), context(&attributes)), Ok(Received::Fine));
        let bytes = withdraw(family, &vips, attributes.next_hop);
        prop_assert_eq!(check(body(&bytes), context(&attributes)), Ok(Received::Fine));
    }

    #[test]
    fn no_bytes_crash_the_reader(bytes: Vec<u8>, is_internal: bool, four_octet_as: bool) {
        let _ = frame(&bytes);
        let _ = read(&bytes);
        let _ = check(&bytes, Context { four_octet_as, is_internal });
    }

    #[test]
    fn no_body_behind_a_right_header_crashes_the_reader(kind in 1_u8..=5, body: Vec<u8>) {
        let bytes = message(kind, |message| message.extend(body));
        if let Err(violation) = read(&bytes) {
            prop_assert!(violation.notification.error.name().is_some(), "{violation}");
        }
    }

    #[test]
    fn no_changed_byte_crashes_the_check(
        vips in vips6(),
        attributes in attributes(Just(false)),
        place: proptest::sample::Index,
        byte: u8,
    ) {
        let bytes = announce(Family::Ipv6, &vips, &attributes);
        let mut body = body(&bytes).to_vec();
        *place.get_mut(&mut body) = byte;
        let _ = check(&body, context(&attributes));
    }
}

fn sample_open() -> Open {
    let families = Families { ipv4: true, ipv6: true };
    Open {
        autonomous_system: 4_200_000_001,
        hold_time: 9,
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        capabilities: Capabilities {
            families,
            route_refresh: true,
            four_octet_as: true,
            extended_next_hop: true,
        },
    }
}

fn sample_attributes() -> Attributes {
    Attributes {
        next_hop: "2001:db8::1".parse().unwrap(),
        origin_as: Some(65000),
        four_octet_as: true,
        med: Some(100),
        local_preference: None,
        communities: vec![Community(1), Community::GRACEFUL_SHUTDOWN],
        large_communities: vec![LargeCommunity([1, 2, 3])],
    }
}

#[test]
fn every_truncation_of_every_message_is_incomplete_or_refused() {
    let vips = ["fc00::1".parse().unwrap(), "fc00::2".parse().unwrap()];
    let messages = [
        open(&sample_open()),
        announce(Family::Ipv6, &vips, &sample_attributes()),
        notification(&Notification::shutdown("bye")),
        keepalive(),
        route_refresh(&RouteRefresh { family: Family::Ipv6 }),
    ];
    for whole in &messages {
        assert_eq!(frame(whole), Ok(Some(whole.len())));
        for length in 0..whole.len() {
            assert_eq!(frame(&whole[..length]), Ok(None));
            read(&whole[..length]).unwrap_err();
        }
    }
}

/// The same with a header that fits what is left.
#[test]
fn every_truncated_body_is_refused_or_a_shorter_message() {
    let whole = open(&sample_open());
    for length in 0..whole.len() - HEADER {
        let cut = message(OPEN, |body| body.extend(&whole[HEADER..HEADER + length]));
        let error = read(&cut).unwrap_err().notification.error;
        assert!([ErrorCode::OPEN, ErrorCode::BAD_LENGTH].contains(&error), "{length}: {error}");
    }
    let vips = ["fc00::1".parse().unwrap()];
    let whole = announce(Family::Ipv6, &vips, &sample_attributes());
    let context = Context { four_octet_as: true, is_internal: false };
    for length in 0..whole.len() - HEADER {
        assert_eq!(
            check(&whole[HEADER..HEADER + length], context).unwrap_err().notification.error,
            ErrorCode::ATTRIBUTE_LIST,
            "{length}"
        );
    }
}

#[test]
fn a_wrong_header_is_refused_as_soon_as_it_is_there() {
    let mut marker = keepalive();
    marker[5] = 0;
    assert_eq!(frame(&marker[..6]).unwrap_err().notification.error, ErrorCode::NOT_SYNCHRONIZED);
    for (kind, length, error) in [
        (KEEPALIVE, 18, ErrorCode::BAD_LENGTH),
        (KEEPALIVE, 20, ErrorCode::BAD_LENGTH),
        (UPDATE, 4097, ErrorCode::BAD_LENGTH),
        (OPEN, 28, ErrorCode::BAD_LENGTH),
        (0, 19, ErrorCode::BAD_TYPE),
        (6, 19, ErrorCode::BAD_TYPE),
    ] {
        let mut header = MARKER.to_vec();
        header.extend(u16::to_be_bytes(length));
        header.push(kind);
        assert_eq!(frame(&header).unwrap_err().notification.error, error, "type {kind}, {length} bytes");
    }
}

#[test]
fn an_open_that_cannot_be_is_refused_with_its_code() {
    let refused = |change: fn(&mut Vec<u8>)| {
        let mut body = open(&sample_open())[HEADER..].to_vec();
        change(&mut body);
        read(&message(OPEN, |message| message.extend(body))).unwrap_err().notification.error
    };
    assert_eq!(refused(|body| body[0] = 3), ErrorCode::VERSION);
    assert_eq!(refused(|body| body[3..5].copy_from_slice(&[0, 2])), ErrorCode::HOLD_TIME);
    assert_eq!(refused(|body| body[5..9].fill(0)), ErrorCode::BAD_IDENTIFIER);
    assert_eq!(refused(|body| body[10] = 1), ErrorCode::OPTIONAL_PARAMETER);
    assert_eq!(refused(|body| body[11] = 200), ErrorCode::OPEN);
    assert_eq!(refused(|body| body[13] = 5), ErrorCode::OPEN, "a capability longer than its parameter");
    let nobody = Open { autonomous_system: 0, ..sample_open() };
    assert_eq!(read(&open(&nobody)).unwrap_err().notification.error, ErrorCode::BAD_PEER_AS);
}

#[test]
fn an_old_router_speaks_ipv4_with_short_numbers() {
    let bare = [4, 0xfd, 0xe8, 0, 90, 192, 0, 2, 1, 0];
    let Ok(Message::Open(open)) =
        read(&message(OPEN, |body| body.extend(bare))).map(|message| match message {
            Message::Open(open) => Message::Open(open),
            other => panic!("{other:?}"),
        })
    else {
        panic!("refused")
    };
    let families = Families { ipv4: true, ipv6: false };
    assert_eq!(
        (open.autonomous_system, open.capabilities),
        (65000, Capabilities { families, ..Default::default() })
    );
}

#[test]
fn long_optional_parameters_are_read() {
    // RFC 9072: 255, 255, a length of two bytes, and such lengths within.
    let capability = [65, 4, 0xfa, 0x56, 0xea, 1];
    let mut body = vec![4, 0x5b, 0xa0, 0, 9, 192, 0, 2, 1, 255, 255, 0, 9, 2, 0, 6];
    body.extend(capability);
    let bytes = message(OPEN, |message| message.extend(body));
    let Ok(Message::Open(open)) = read(&bytes) else { panic!("{:?}", read(&bytes)) };
    assert_eq!((open.autonomous_system, open.capabilities.four_octet_as), (4_200_000_001, true));
}

#[test]
fn as_numbers_that_do_not_fit_go_into_as4_path() {
    let attributes =
        Attributes { origin_as: Some(4_200_000_001), four_octet_as: false, ..sample_attributes() };
    let bytes = announce(Family::Ipv6, &["fc00::1".parse().unwrap()], &attributes);
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(holds(&[0x40, 2, 4, 2, 1, 0x5b, 0xa0]), "AS_PATH of AS_TRANS");
    assert!(holds(&[0xc0, 17, 6, 2, 1, 0xfa, 0x56, 0xea, 1]), "AS4_PATH");
}

#[test]
fn multiprotocol_reachability_comes_first() {
    let bytes = announce(Family::Ipv6, &["fc00::1".parse().unwrap()], &sample_attributes());
    assert_eq!(bytes[HEADER + 4..HEADER + 6], [0x80, 14]);
}

#[test]
fn a_route_refresh_is_read_where_it_asks_for_something_known() {
    for (body, wanted) in [
        ([0, 1, 0, 1], Some(RouteRefresh { family: Family::Ipv4 })),
        ([0, 2, 0, 1], Some(RouteRefresh { family: Family::Ipv6 })),
        ([0, 1, 1, 1], None),
        ([0, 1, 0, 128], None),
        ([64, 4, 0, 71], None),
    ] {
        let bytes = message(ROUTE_REFRESH, |message| message.extend(body));
        assert_eq!(read(&bytes), Ok(Message::RouteRefresh(wanted)));
    }
    let short = message(ROUTE_REFRESH, |message| message.extend([0, 1]));
    assert_eq!(read(&short).unwrap_err().notification.error, ErrorCode::ROUTE_REFRESH);
}

const EXTERNAL: Context = Context { four_octet_as: true, is_internal: false };
const INTERNAL: Context = Context { four_octet_as: true, is_internal: true };

/// An UPDATE for 10.0.0.0/24 with these attributes.
fn update_with(attributes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
    [&[0, 0][..], &length, attributes, &[24, 10, 0, 0]].concat()
}

const ORIGIN: [u8; 4] = [0x40, 1, 1, 0];
const AS_PATH: [u8; 9] = [0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe8];
const NEXT_HOP: [u8; 7] = [0x40, 3, 4, 192, 0, 2, 1];
const LOCAL_PREF: [u8; 7] = [0x40, 5, 4, 0, 0, 0, 100];

#[test]
fn errors_in_attributes_are_treated_as_rfc_7606_says() {
    let mandatory = [&ORIGIN[..], &AS_PATH, &NEXT_HOP].concat();
    let of = |context, more: &[u8]| check(&update_with(&[&mandatory, more].concat()), context).unwrap();
    assert_eq!(of(EXTERNAL, &[]), Received::Fine);
    assert_eq!(of(INTERNAL, &LOCAL_PREF), Received::Fine);
    let withdrawn = |error, attribute| Received::TreatedAsWithdraw(Fault { error, attribute });
    let discarded = |error, attribute| Received::AttributeDiscarded(Fault { error, attribute });
    for (context, more, received) in [
        (EXTERNAL, &LOCAL_PREF[..], discarded(ErrorCode::OPTIONAL_ATTRIBUTE, 5)),
        (INTERNAL, &[], withdrawn(ErrorCode::MISSING_WELL_KNOWN, 5)),
        (EXTERNAL, &[0x80, 4, 3, 0, 0, 0], withdrawn(ErrorCode::ATTRIBUTE_LENGTH, 4)),
        (EXTERNAL, &[0xc0, 4, 4, 0, 0, 0, 0], withdrawn(ErrorCode::ATTRIBUTE_FLAGS, 4)),
        (EXTERNAL, &[0xc0, 8, 3, 0, 0, 0], withdrawn(ErrorCode::ATTRIBUTE_LENGTH, 8)),
        (EXTERNAL, &[0xc0, 8, 0], withdrawn(ErrorCode::ATTRIBUTE_LENGTH, 8)),
        (EXTERNAL, &[0x40, 6, 1, 0], discarded(ErrorCode::ATTRIBUTE_LENGTH, 6)),
        (EXTERNAL, &[0xc0, 7, 6, 0, 0, 0, 0, 0, 0], discarded(ErrorCode::ATTRIBUTE_LENGTH, 7)),
        (EXTERNAL, &ORIGIN, discarded(ErrorCode::ATTRIBUTE_LIST, 1)),
        (EXTERNAL, &[0xc0, 99, 1, 0], Received::Fine),
        (EXTERNAL, &[0x40, 99, 1, 0], withdrawn(ErrorCode::ATTRIBUTE_FLAGS, 99)),
        (EXTERNAL, &[0xc0, 99, 200, 0], withdrawn(ErrorCode::ATTRIBUTE_LENGTH, 99)),
        (EXTERNAL, &[0xc0], withdrawn(ErrorCode::ATTRIBUTE_LENGTH, 0)),
    ] {
        assert_eq!(of(context, more), received, "{more:?}");
    }
    for (missing, rest) in [(1, [&AS_PATH[..], &NEXT_HOP].concat()), (3, [&ORIGIN[..], &AS_PATH].concat())] {
        assert_eq!(
            check(&update_with(&rest), EXTERNAL).unwrap(),
            withdrawn(ErrorCode::MISSING_WELL_KNOWN, missing)
        );
    }
    for (path, is_right) in [
        (&[0x40, 2, 0][..], true),
        (&[0x40, 2, 2, 2, 0], false),
        (&[0x40, 2, 6, 5, 1, 0, 0, 0, 1], false),
        (&[0x40, 2, 5, 2, 1, 0, 0, 1], false),
        (&[0x40, 2, 6, 2, 1, 0, 0, 0, 0], false),
    ] {
        let received = check(&update_with(&[&ORIGIN[..], path, &NEXT_HOP].concat()), EXTERNAL).unwrap();
        let wrong = withdrawn(ErrorCode::AS_PATH, 2);
        assert_eq!(received, if is_right { Received::Fine } else { wrong }, "{path:?}");
    }
}

#[test]
fn prefixes_that_cannot_be_told_apart_end_the_session() {
    let refused = |body: &[u8]| check(body, EXTERNAL).unwrap_err().notification.error;
    assert_eq!(refused(&[0, 0, 0, 0, 33, 1, 2, 3, 4, 5]), ErrorCode::NETWORK_FIELD);
    assert_eq!(refused(&[0, 0, 0, 0, 24, 1, 2]), ErrorCode::NETWORK_FIELD);
    assert_eq!(refused(&[0, 2, 24, 1, 0, 0]), ErrorCode::NETWORK_FIELD);
    assert_eq!(refused(&[0, 9, 0, 0]), ErrorCode::ATTRIBUTE_LIST);
    assert_eq!(refused(&[0, 0, 0, 9]), ErrorCode::ATTRIBUTE_LIST);
    let reach = [&[0x80, 14, 22, 0, 2, 1, 16, 0x20][..], &[1; 15], &[0, 129]].concat();
    assert_eq!(refused(&update_with(&reach)), ErrorCode::OPTIONAL_ATTRIBUTE);
    assert_eq!(refused(&update_with(&[0x80, 15, 2, 0, 2])), ErrorCode::OPTIONAL_ATTRIBUTE);
    let unreach = [0x80, 15, 3, 0, 2, 1];
    assert_eq!(refused(&update_with(&[unreach, unreach].concat())), ErrorCode::ATTRIBUTE_LIST);
}

#[test]
fn routes_of_families_that_are_not_known_are_left_alone() {
    // EVPN with a next hop and something that is no prefix.
    let reach = [0x80, 14, 11, 0, 25, 70, 4, 1, 2, 3, 4, 0, 0xff, 0xff];
    let received = check(&update_with(&[&ORIGIN[..], &AS_PATH, &NEXT_HOP, &reach].concat()), EXTERNAL);
    assert_eq!(received, Ok(Received::Fine));
}
