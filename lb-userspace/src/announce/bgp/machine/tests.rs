//! A session's life against a router that is played by hand.

use std::net::{IpAddr, Ipv4Addr};

use super::super::message::RouteRefresh;
use super::super::{Community, Families};
use super::*;

const ROUTER_AS: u32 = 65000;

/// A session and the time.
struct Play {
    machine: Machine,
    now: Instant,
}

fn speaker() -> Speaker {
    Speaker { local_as: 4_200_000_001, router_id: Ipv4Addr::new(192, 0, 2, 2), peers: Vec::new() }
}

fn peer() -> Peer {
    let mut peer = Peer::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), ROUTER_AS);
    peer.next_hop_ipv6 = Some("2001:db8::2".parse().unwrap());
    peer
}

fn router_open() -> Open {
    Open {
        autonomous_system: ROUTER_AS,
        hold_time: 180,
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        capabilities: Capabilities {
            families: Families { ipv4: true, ipv6: true },
            route_refresh: true,
            four_octet_as: true,
            extended_next_hop: false,
        },
    }
}

fn wanted(vips: &[(&str, Announcement)]) -> Arc<Wanted> {
    Arc::new(vips.iter().map(|(vip, how)| (vip.parse().unwrap(), *how)).collect())
}

fn many(count: u32) -> Arc<Wanted> {
    let vips = (0..count).map(|n| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)));
    Arc::new(vips.map(|vip| (vip, Announcement::Announced)).collect())
}

impl Play {
    fn new(peer: Peer) -> Play {
        let now = Instant::now();
        Play { machine: Machine::new(Arc::new(speaker()), peer, Arc::default(), now, 7), now }
    }

    /// A session that is established and has been told nothing but that it is complete.
    fn established(peer: Peer) -> Play {
        let mut play = Play::new(peer);
        play.open(&router_open());
        assert_eq!(play.bytes(&message::keepalive()).len(), 2, "End-of-RIB of both families");
        assert_eq!(play.machine.state(), SessionState::Established);
        play
    }

    /// Until the router's OPEN.
    fn open(&mut self, open: &Open) -> Vec<Action> {
        assert_eq!(self.event(Event::Tick), [Action::Connect]);
        let sent = self.event(Event::Connected);
        assert!(matches!(&read(&sent)[..], [Message::Open(_)]), "{sent:?}");
        self.bytes(&message::open(open))
    }

    fn event(&mut self, event: Event<'_>) -> Vec<Action> {
        self.machine.handle(self.now, event)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Vec<Action> {
        self.event(Event::Bytes(bytes))
    }

    fn after(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.event(Event::Tick)
    }

    fn last_error(&self) -> String {
        self.machine.status().last_error.unwrap().1
    }
}

/// The messages among actions.
fn read(actions: &[Action]) -> Vec<Message<'_>> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send(bytes) => Some(message::read(bytes).unwrap()),
        _ => None,
    });
    sent.collect()
}

/// The error that the session was ended with.
fn ended_with(actions: &[Action]) -> ErrorCode {
    assert_eq!(actions.last(), Some(&Action::Close), "{actions:?}");
    match &read(actions)[..] {
        [.., Message::Notification(notification)] => notification.error,
        messages => panic!("no NOTIFICATION: {messages:?}"),
    }
}

#[test]
fn an_open_offers_all_but_graceful_restart() {
    let mut play = Play::new(Peer { extended_next_hop: true, ..peer() });
    play.event(Event::Tick);
    let sent = play.event(Event::Connected);
    let [Message::Open(open)] = &read(&sent)[..] else { panic!("{sent:?}") };
    assert_eq!((open.autonomous_system, open.hold_time), (4_200_000_001, 9));
    let families = Families { ipv4: true, ipv6: true };
    let all = Capabilities { families, route_refresh: true, four_octet_as: true, extended_next_hop: true };
    assert_eq!(open.capabilities, all);
}

#[test]
fn all_that_is_wanted_is_told_and_then_its_end() {
    let mut play = Play::new(peer());
    let vips = [("10.0.0.1", Announcement::Announced), ("fc00::1", Announcement::Draining)];
    play.event(Event::Wanted(wanted(&vips)));
    let keepalive = play.bytes(&[]);
    assert!(keepalive.is_empty());
    let mut play = Play::new(peer());
    play.machine.wanted = wanted(&vips);
    play.open(&router_open());
    let told = play.bytes(&message::keepalive());
    assert_eq!(read(&told).len(), 4, "{told:?}");
    let ends = [Family::Ipv4, Family::Ipv6].map(|family| Action::Send(message::end_of_rib(family)));
    assert_eq!(told[2..], ends);
    let status = play.machine.status();
    assert_eq!((status.announced, status.draining, status.counters.updates_sent), (1, 1, 2));
    assert_eq!(status.hold_time, Some(Duration::from_secs(9)));
}

#[test]
fn only_what_changed_is_told() {
    let mut play = Play::established(peer());
    let one = wanted(&[("10.0.0.1", Announcement::Announced)]);
    assert_eq!(read(&play.event(Event::Wanted(one.clone()))).len(), 1);
    assert_eq!(play.event(Event::Wanted(one)), []);
    let two = wanted(&[("10.0.0.1", Announcement::Announced), ("10.0.0.2", Announcement::Announced)]);
    let told = play.event(Event::Wanted(two));
    let attributes = attributes_of(&play);
    let second = message::announce(Family::Ipv4, &[[10, 0, 0, 2].into()], &attributes);
    assert_eq!(told, [Action::Send(second)]);
    let told = play.event(Event::Wanted(Arc::default()));
    let both = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
    assert_eq!(told, [Action::Send(message::withdraw(Family::Ipv4, &both, [192, 0, 2, 2].into()))]);
}

/// What VIPs are announced with, worked out from the configuration.
fn attributes_of(play: &Play) -> message::Attributes {
    message::Attributes {
        next_hop: play.machine.peer.source,
        origin_as: Some(4_200_000_001),
        four_octet_as: true,
        med: None,
        local_preference: None,
        communities: Vec::new(),
        large_communities: Vec::new(),
    }
}

#[test]
fn a_message_has_at_most_200_vips() {
    let mut play = Play::established(peer());
    let told = play.event(Event::Wanted(many(401)));
    assert_eq!(read(&told).len(), 3);
    assert_eq!(play.machine.status().announced, 401);
    assert_eq!(read(&play.event(Event::Wanted(Arc::default()))).len(), 3);
}

#[test]
fn draining_is_the_community_of_graceful_shutdown() {
    let mut play = Play::established(peer());
    play.event(Event::Wanted(wanted(&[("10.0.0.1", Announcement::Announced)])));
    let told = play.event(Event::Wanted(wanted(&[("10.0.0.1", Announcement::Draining)])));
    let attributes =
        message::Attributes { communities: vec![Community::GRACEFUL_SHUTDOWN], ..attributes_of(&play) };
    assert_eq!(told, [Action::Send(message::announce(Family::Ipv4, &[[10, 0, 0, 1].into()], &attributes))]);
    assert_eq!(play.machine.status().draining, 1);
}

#[test]
fn within_an_as_draining_is_also_the_least_preference() {
    let internal = Peer { remote_as: 4_200_000_001, ..peer() };
    let mut play = Play::new(internal);
    play.open(&Open { autonomous_system: 4_200_000_001, ..router_open() });
    play.bytes(&message::keepalive());
    for (how, preference) in [(Announcement::Announced, 100), (Announcement::Draining, 0)] {
        let told = play.event(Event::Wanted(wanted(&[("10.0.0.1", how)])));
        let is_draining = how == Announcement::Draining;
        let communities = if is_draining { vec![Community::GRACEFUL_SHUTDOWN] } else { Vec::new() };
        let attributes = message::Attributes {
            origin_as: None,
            local_preference: Some(preference),
            communities,
            ..attributes_of(&play)
        };
        assert_eq!(
            told,
            [Action::Send(message::announce(Family::Ipv4, &[[10, 0, 0, 1].into()], &attributes))]
        );
    }
}

#[test]
fn a_route_refresh_is_answered_with_all_of_its_family() {
    let mut play = Play::established(peer());
    let vips = [("10.0.0.1", Announcement::Announced), ("fc00::1", Announcement::Announced)];
    let first = play.event(Event::Wanted(wanted(&vips)));
    let again = play.bytes(&message::route_refresh(&RouteRefresh { family: Family::Ipv6 }));
    assert_eq!(again, first[1..]);
    assert_eq!(play.machine.status().counters.route_refreshes, 1);
}

#[test]
fn what_routes_carry_is_told_anew_in_the_same_session() {
    let mut play = Play::established(peer());
    let vips = [("10.0.0.1", Announcement::Announced), ("10.0.0.2", Announcement::Draining)];
    play.event(Event::Wanted(wanted(&vips)));
    let announce = |last: u8, attributes: &message::Attributes| {
        Action::Send(message::announce(Family::Ipv4, &[[10, 0, 0, last].into()], attributes))
    };
    let community = Community(7);
    let changed = Peer { med: Some(120), communities: vec![community], ..peer() };
    let attributes =
        message::Attributes { med: Some(120), communities: vec![community], ..attributes_of(&play) };
    let draining = message::Attributes {
        communities: vec![community, Community::GRACEFUL_SHUTDOWN],
        ..attributes.clone()
    };
    let since = play.machine.status().since;
    assert_eq!(play.event(Event::Peer(&changed)), [announce(1, &attributes), announce(2, &draining)]);
    assert_eq!(play.event(Event::Peer(&changed)), [], "nothing has changed");

    let ungraceful = Peer { graceful_shutdown: false, ..changed };
    assert_eq!(play.event(Event::Peer(&ungraceful)), [announce(2, &attributes)], "only of what drains");
    let status = play.machine.status();
    assert_eq!((status.state, status.since), (SessionState::Established, since));
    assert_eq!((status.announced, status.draining), (1, 1));
}

#[test]
fn a_next_hop_that_the_router_does_not_take_withdraws_and_another_one_announces_again() {
    let usual = Peer { extended_next_hop: true, ..peer() };
    let mut play = Play::established(usual.clone());
    let vips = [("10.0.0.1", Announcement::Announced), ("fc00::1", Announcement::Announced)];
    let first = play.event(Event::Wanted(wanted(&vips)));
    let over_ipv6 = Peer { next_hop_ipv4: Some("2001:db8::2".parse().unwrap()), ..usual.clone() };
    let vip: IpAddr = [10, 0, 0, 1].into();
    let withdrawal = message::withdraw(Family::Ipv4, &[vip], [192, 0, 2, 2].into());
    assert_eq!(play.event(Event::Peer(&over_ipv6)), [Action::Send(withdrawal)]);
    let status = play.machine.status();
    assert_eq!((status.announced, status.withheld.map(|(count, _)| count)), (1, Some(1)));
    assert_eq!(play.event(Event::Peer(&usual)), first[..1]);
    assert_eq!(play.machine.status().withheld, None);
}

#[test]
fn what_changes_before_a_session_is_there_holds_in_it() {
    let changed = Peer { med: Some(120), ..peer() };
    let attributes = |play: &Play| message::Attributes { med: Some(120), ..attributes_of(play) };
    for is_confirmed in [false, true] {
        let mut play = Play::new(peer());
        play.machine.wanted = wanted(&[("10.0.0.1", Announcement::Announced)]);
        if is_confirmed {
            play.open(&router_open());
            assert_eq!(play.event(Event::Peer(&changed)), []);
        } else {
            assert_eq!(play.machine.handle(play.now, Event::Peer(&changed)), [Action::Connect]);
            play.event(Event::Connected);
            play.bytes(&message::open(&router_open()));
        }
        let told = play.bytes(&message::keepalive());
        let announced = message::announce(Family::Ipv4, &[[10, 0, 0, 1].into()], &attributes(&play));
        assert_eq!(told[0], Action::Send(announced));
    }
}

#[test]
fn vips_that_the_router_does_not_take_are_withheld_with_the_reason() {
    let mut play = Play::new(peer());
    let mut open = router_open();
    open.capabilities.families.ipv6 = false;
    play.open(&open);
    play.bytes(&message::keepalive());
    let told = play.event(Event::Wanted(wanted(&[("fc00::1", Announcement::Announced)])));
    assert_eq!(told, []);
    let (count, reason) = play.machine.status().withheld.unwrap();
    assert!(count == 1 && reason.contains("IPv6") && reason.contains("activate"), "{count} {reason}");
}

#[test]
fn ipv6_next_hops_of_ipv4_vips_need_the_routers_consent() {
    for is_offered in [false, true] {
        let mut ipv6 = peer();
        (ipv6.address, ipv6.source) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        ipv6.extended_next_hop = true;
        let mut play = Play::new(ipv6);
        let mut open = router_open();
        open.capabilities.extended_next_hop = is_offered;
        play.open(&open);
        play.bytes(&message::keepalive());
        let told = play.event(Event::Wanted(wanted(&[("10.0.0.1", Announcement::Announced)])));
        assert_eq!(
            (told.len(), play.machine.status().withheld.is_none()),
            (usize::from(is_offered), is_offered)
        );
    }
}

#[test]
fn what_the_router_is_must_be_what_is_configured() {
    let wrong = Open { autonomous_system: 65002, ..router_open() };
    let mut play = Play::new(peer());
    assert_eq!(ended_with(&play.open(&wrong)), ErrorCode::BAD_PEER_AS);
    let error = play.last_error();
    assert!(error.contains("65002") && error.contains("65000") && error.contains("2/2"), "{error}");

    let mut play = Play::new(Peer { remote_as: 4_200_000_001, ..peer() });
    let same = Open { autonomous_system: 4_200_000_001, router_id: speaker().router_id, ..router_open() };
    assert_eq!(ended_with(&play.open(&same)), ErrorCode::BAD_IDENTIFIER);
}

#[test]
fn hold_times_of_one_and_two_seconds_are_refused_and_zero_is_for_ever() {
    for hold_time in [1, 2] {
        let mut play = Play::new(peer());
        assert_eq!(ended_with(&play.open(&Open { hold_time, ..router_open() })), ErrorCode::HOLD_TIME);
    }
    let mut play = Play::new(peer());
    play.open(&Open { hold_time: 0, ..router_open() });
    play.bytes(&message::keepalive());
    assert_eq!(play.machine.deadline(), None);
    assert_eq!(play.after(Duration::from_secs(1_000_000)), []);
    assert_eq!(play.machine.status().hold_time, Some(Duration::ZERO));
}

#[test]
fn keepalives_are_sent_within_a_third_of_the_smaller_hold_time() {
    let mut play = Play::new(Peer { hold_time: Duration::from_secs(90), ..peer() });
    play.open(&Open { hold_time: 6, ..router_open() });
    play.bytes(&message::keepalive());
    for _ in 0..100 {
        let wait = play.machine.deadline().unwrap() - play.now;
        assert!((1500..=2000).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(play.after(wait), [Action::Send(message::keepalive())]);
        play.bytes(&message::keepalive());
    }
}

#[test]
fn a_silent_router_is_left_after_the_hold_time() {
    let mut play = Play::established(peer());
    play.after(Duration::from_secs(8));
    play.bytes(&message::keepalive());
    for _ in 0..8 {
        play.after(Duration::from_secs(1));
        assert_eq!(play.machine.state(), SessionState::Established);
    }
    assert_eq!(ended_with(&play.after(Duration::from_secs(1))), ErrorCode::HOLD_TIMER);
    assert_eq!(play.machine.state(), SessionState::Idle);
    assert_eq!(play.machine.status().announced, 0);
}

#[test]
fn a_router_that_sends_no_open_is_left() {
    let mut play = Play::new(peer());
    play.event(Event::Tick);
    play.event(Event::Connected);
    assert_eq!(ended_with(&play.after(OPEN_WITHIN)), ErrorCode::HOLD_TIMER);
}

#[test]
fn attempts_come_ever_slower_until_a_session_was_good() {
    let mut play = Play::new(peer());
    assert_eq!(play.event(Event::Tick), [Action::Connect]);
    for longest in [100, 200, 400, 800, 1600, 3000, 3000, 3000] {
        assert_eq!(play.event(Event::Disconnected("refused")), []);
        let wait = play.machine.deadline().unwrap() - play.now;
        assert!((longest * 3 / 4..=longest).contains(&wait.as_millis()), "{wait:?} of {longest} ms");
        assert_eq!(play.after(wait), [Action::Connect]);
    }
    for (good, longest) in [(Duration::from_secs(1), 3000), (GOOD_AFTER, 100)] {
        play.event(Event::Connected);
        play.bytes(&message::open(&Open { hold_time: 0, ..router_open() }));
        play.bytes(&message::keepalive());
        play.now += good;
        play.event(Event::Disconnected("lost"));
        let wait = play.machine.deadline().unwrap() - play.now;
        assert!((longest * 3 / 4..=longest).contains(&wait.as_millis()), "{wait:?} of {longest} ms");
        play.after(wait);
    }
}

#[test]
fn a_new_session_is_told_everything_again() {
    let mut play = Play::established(peer());
    let first = play.event(Event::Wanted(wanted(&[("10.0.0.1", Announcement::Announced)])));
    play.event(Event::Disconnected("lost"));
    play.after(BACK_OFF_LONGEST);
    play.event(Event::Connected);
    play.bytes(&message::open(&router_open()));
    let told = play.bytes(&message::keepalive());
    assert_eq!(told[..1], first);
    assert_eq!(play.machine.status().counters.established, 2);
}

#[test]
fn a_stop_withdraws_and_says_why() {
    let mut play = Play::established(peer());
    play.event(Event::Wanted(wanted(&[("10.0.0.1", Announcement::Announced)])));
    let actions = play.event(Event::Stop("node lb1 is being upgraded"));
    let [Message::Update(_), Message::Notification(notification)] = &read(&actions)[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(notification.text().unwrap(), "node lb1 is being upgraded");
    assert_eq!(ended_with(&actions), ErrorCode::SHUTDOWN);
    assert_eq!((play.machine.state(), play.machine.deadline()), (SessionState::Stopped, None));
    assert_eq!(play.after(Duration::from_secs(3600)), []);
    assert_eq!(play.event(Event::Disconnected("closed")), []);
    assert_eq!(play.machine.state(), SessionState::Stopped);
}

#[test]
fn a_stop_before_the_session_is_established_is_one_too() {
    let mut play = Play::new(peer());
    play.event(Event::Tick);
    assert_eq!(play.event(Event::Stop("")), [Action::Close]);
    let mut play = Play::new(peer());
    play.open(&router_open());
    assert_eq!(ended_with(&play.event(Event::Stop(""))), ErrorCode::SHUTDOWN);
}

#[test]
fn bfd_ends_the_session_at_once() {
    let mut play = Play::established(peer());
    let actions = play.event(Event::BfdDown("nothing came from the router for 900 ms"));
    assert_eq!(ended_with(&actions), ErrorCode::BFD_DOWN);
    let error = play.last_error();
    assert!(error.contains("BFD Down (6/10)") && error.contains("900 ms"), "{error}");
    assert_eq!(play.event(Event::BfdDown("again")), [], "there is no session to end");
}

#[test]
fn the_routers_reason_is_kept() {
    let mut play = Play::established(peer());
    let actions = play.bytes(&message::notification(&Notification::shutdown("back at noon")));
    assert_eq!(actions, [Action::Close]);
    assert!(play.last_error().contains("Administrative Shutdown (6/2): \"back at noon\""));
}

#[test]
fn messages_at_the_wrong_moment_end_the_session() {
    let keepalive = message::keepalive();
    let mut play = Play::new(peer());
    play.event(Event::Tick);
    play.event(Event::Connected);
    assert_eq!(ended_with(&play.bytes(&keepalive)), ErrorCode::IN_OPEN_SENT);

    let mut play = Play::new(peer());
    play.open(&router_open());
    let update = message::end_of_rib(Family::Ipv4);
    assert_eq!(ended_with(&play.bytes(&update)), ErrorCode::IN_OPEN_CONFIRM);

    let mut play = Play::established(peer());
    assert_eq!(ended_with(&play.bytes(&message::open(&router_open()))), ErrorCode::IN_ESTABLISHED);
}

#[test]
fn messages_may_come_in_any_pieces() {
    let mut all = message::open(&router_open());
    all.extend(message::keepalive());
    all.extend(message::end_of_rib(Family::Ipv6));
    for size in 1..all.len() {
        let mut play = Play::new(peer());
        play.event(Event::Tick);
        play.event(Event::Connected);
        for piece in all.chunks(size) {
            play.bytes(piece);
        }
        assert_eq!(play.machine.state(), SessionState::Established, "in pieces of {size}");
        assert_eq!(play.machine.status().counters.updates_received, 1);
    }
}

#[test]
fn a_malformed_update_is_counted_and_the_session_stays() {
    let mut play = Play::established(peer());
    // An ORIGIN of 9 with one prefix, and nothing else that is mandatory.
    let body = [0, 0, 0, 4, 0x40, 1, 1, 9, 24, 10, 0, 0];
    let mut update = message::end_of_rib(Family::Ipv4);
    update.truncate(message::HEADER);
    update.extend(body);
    update[17] = u8::try_from(update.len()).unwrap();
    assert_eq!(play.bytes(&update), []);
    assert_eq!(play.machine.status().counters.updates_malformed, 1);
    assert!(play.last_error().contains("ORIGIN"), "{}", play.last_error());
}

#[test]
fn broken_framing_ends_the_session() {
    let mut play = Play::established(peer());
    assert_eq!(ended_with(&play.bytes(b"GET / HTTP/1.1\r\n\r\n")), ErrorCode::NOT_SYNCHRONIZED);
}

proptest::proptest! {
    #[test]
    fn no_bytes_of_a_router_crash_a_session(
        pieces in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..80), 0..8),
        kind in 1_u8..6,
        is_established in proptest::bool::ANY,
    ) {
        let mut play = if is_established { Play::established(peer()) } else { Play::new(peer()) };
        play.event(Event::Tick);
        play.event(Event::Connected);
        for piece in pieces {
            let mut bytes = vec![0xff; 16];
            bytes.extend(u16::try_from(piece.len() + message::HEADER).unwrap().to_be_bytes());
            bytes.push(kind);
            bytes.extend(piece);
            play.bytes(&bytes);
        }
    }
}
