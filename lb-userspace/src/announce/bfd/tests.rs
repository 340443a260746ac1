//! The codec by its bytes, and sessions against each other through a network that is played by hand.

use proptest::prelude::*;

use super::machine::Machine;
use super::packet::{LENGTH, Packet, Unusable};
use super::*;

fn packets() -> impl Strategy<Value = Packet> {
    let states = prop_oneof![Just(State::AdminDown), Just(State::Down), Just(State::Init), Just(State::Up)];
    let names = (1_u32.., 1_u32..);
    let times = any::<[u32; 3]>();
    let flags = any::<[bool; 3]>();
    (0_u8..32, states, flags, 1_u8.., names, times).prop_map(
        |(diagnostic, state, flags, multiplier, names, times)| {
            let [poll, is_final, demand] = flags;
            let [desired_transmit, required_receive, required_echo] =
                times.map(|time| Duration::from_micros(time.into()));
            Packet {
                diagnostic: Diagnostic(diagnostic),
                state,
                poll,
                is_final,
                demand,
                multiplier,
                my_discriminator: names.0,
                your_discriminator: names.1,
                desired_transmit,
                required_receive,
                required_echo,
            }
        },
    )
}

proptest! {
    #[test]
    fn a_packet_is_read_as_it_was_written(packet in packets()) {
        prop_assert_eq!(Packet::read(&packet.write()), Ok(packet));
    }

    #[test]
    fn no_bytes_crash_the_reader(bytes: Vec<u8>) {
        let _ = Packet::read(&bytes);
    }

    #[test]
    fn no_packets_crash_a_session(packets in proptest::collection::vec((packets(), 0_u64..5000), 0..20)) {
        let mut now = Instant::now();
        let mut machine = switched_on(Timers::default(), 7, now, 1);
        for (packet, wait) in packets {
            now += Duration::from_millis(wait);
            machine.receive(now, &packet);
            machine.tick(now);
            let _ = machine.deadline(now);
        }
    }
}

fn switched_on(timers: Timers, discriminator: u32, now: Instant, seed: u64) -> Machine {
    let mut machine = Machine::new(timers, discriminator, now, seed);
    assert!(machine.is_silent() && machine.tick(now).is_none() && machine.deadline(now).is_none());
    machine.switch_on(now);
    machine
}

fn sample() -> Packet {
    Packet {
        diagnostic: Diagnostic::TIME_EXPIRED,
        state: State::Init,
        poll: true,
        is_final: false,
        demand: false,
        multiplier: 3,
        my_discriminator: 0x0102_0304,
        your_discriminator: 0x0506_0708,
        desired_transmit: Duration::from_secs(1),
        required_receive: Duration::from_millis(300),
        required_echo: Duration::ZERO,
    }
}

#[test]
fn a_packet_has_the_bytes_of_rfc_5880() {
    let bytes =
        [0x21, 0xa0, 3, 24, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0x0f, 0x42, 0x40, 0, 4, 0x93, 0xe0, 0, 0, 0, 0];
    assert_eq!(sample().write(), bytes);
}

#[test]
fn what_must_be_dropped_is_refused() {
    let refused = |change: fn(&mut [u8; LENGTH])| {
        let mut bytes = sample().write();
        change(&mut bytes);
        Packet::read(&bytes).unwrap_err()
    };
    assert_eq!(refused(|bytes| bytes[0] = 0x41), Unusable::Version);
    assert_eq!(refused(|bytes| bytes[3] = 23), Unusable::Short);
    assert_eq!(refused(|bytes| bytes[3] = 25), Unusable::Short);
    assert_eq!(refused(|bytes| bytes[2] = 0), Unusable::Multiplier);
    assert_eq!(refused(|bytes| bytes[1] |= 1), Unusable::Multipoint);
    assert_eq!(refused(|bytes| bytes[1] |= 4), Unusable::Authentication);
    assert_eq!(refused(|bytes| bytes[4..8].fill(0)), Unusable::Discriminator);
    assert_eq!(refused(|bytes| bytes[8..12].fill(0)), Unusable::Discriminator);
    let down = Packet { state: State::Down, your_discriminator: 0, ..sample() };
    assert_eq!(Packet::read(&down.write()), Ok(down), "a router that has not heard of the session yet");
    for length in 0..LENGTH {
        assert_eq!(Packet::read(&sample().write()[..length]), Err(Unusable::Short));
    }
}

/// Two sessions and the wire between them, by the millisecond.
struct Wire {
    now: Instant,
    ends: [Machine; 2],
    is_cut: [bool; 2],
    sent: [u32; 2],
}

const FAST: Timers =
    Timers { transmit: Duration::from_millis(100), receive: Duration::from_millis(100), multiplier: 3 };

impl Wire {
    fn new(timers: [Timers; 2]) -> Wire {
        let now = Instant::now();
        let [a, b] = timers;
        let ends = [switched_on(a, 11, now, 1), switched_on(b, 22, now, 2)];
        Wire { now, ends, is_cut: [false; 2], sent: [0; 2] }
    }

    fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_millis() {
            self.now += Duration::from_millis(1);
            for end in 0..2 {
                if let Some(packet) = self.ends[end].tick(self.now) {
                    self.deliver(end, packet);
                }
            }
        }
    }

    fn deliver(&mut self, from: usize, packet: Packet) {
        self.sent[from] += 1;
        let packet = Packet::read(&packet.write()).unwrap();
        if self.is_cut[from] {
            return;
        }
        let answer = self.ends[1 - from].receive(self.now, &packet);
        if let Some(answer) = answer {
            assert!(answer.is_final && !answer.poll);
            self.deliver(1 - from, answer);
        }
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|end| self.ends[end].status().state)
    }

    fn up(timers: [Timers; 2]) -> Wire {
        let mut wire = Wire::new(timers);
        wire.pass(Duration::from_millis(2500));
        assert_eq!(wire.states(), [State::Up; 2]);
        wire
    }
}

#[test]
fn two_sessions_go_up_and_stay_up() {
    let mut wire = Wire::up([FAST, Timers::default()]);
    wire.pass(Duration::from_secs(600));
    for end in &wire.ends {
        let status = end.status();
        assert_eq!((status.state, status.ups, status.downs), (State::Up, 1, 0));
        // The larger one of what one wants to send and the other bears.
        assert_eq!(status.transmit, Duration::from_millis(300));
        assert_eq!(status.detection, Duration::from_millis(900));
    }
}

#[test]
fn a_silent_router_is_gone_after_the_detection_time_and_knows() {
    let mut wire = Wire::up([FAST; 2]);
    wire.is_cut[1] = true;
    let cut_at = wire.now;
    while wire.ends[0].status().state == State::Up {
        wire.pass(Duration::from_millis(1));
    }
    let took = wire.now - cut_at;
    assert!((200..=301).contains(&took.as_millis()), "{took:?}");
    assert_eq!(wire.ends[0].status().last_down, Some(Down::Silence(Duration::from_millis(300))));
    wire.pass(Duration::from_secs(1));
    assert_eq!(wire.ends[1].status().last_down, Some(Down::RouterSaysDown(Diagnostic::TIME_EXPIRED)));
    wire.is_cut[1] = false;
    wire.pass(Duration::from_secs(4));
    assert_eq!(wire.states(), [State::Up; 2]);
    assert_eq!(wire.ends[0].status().downs, 1);
}

#[test]
fn a_shorter_interval_takes_effect_at_once() {
    let mut wire = Wire::up([FAST; 2]);
    // As a router that asks for one packet a second until it is up, and has just got one.
    let now = wire.now;
    let slow = Packet {
        state: State::Up,
        poll: false,
        my_discriminator: 22,
        your_discriminator: 11,
        required_receive: Duration::from_secs(1),
        desired_transmit: Duration::from_secs(1),
        ..sample()
    };
    let machine = &mut wire.ends[0];
    machine.receive(now, &slow);
    machine.tick(now);
    assert!(machine.deadline(now).unwrap() > now + Duration::from_millis(500));
    machine.receive(now, &Packet { required_receive: Duration::from_millis(100), ..slow });
    assert!(machine.deadline(now).unwrap() <= now + Duration::from_millis(100));
}

#[test]
fn packets_are_spread_over_the_last_quarter_of_the_interval() {
    let mut wire = Wire::up([FAST; 2]);
    let before = wire.sent;
    wire.pass(Duration::from_secs(100));
    for (sent, before) in wire.sent.into_iter().zip(before) {
        let count = sent - before;
        // One after 87.5 ms on the average.
        assert!((1080..=1210).contains(&count), "{count}");
    }
}

#[test]
fn a_poll_is_asked_until_it_is_answered() {
    let mut wire = Wire::up([FAST; 2]);
    wire.pass(Duration::from_secs(1));
    let packet = loop {
        wire.now += Duration::from_millis(1);
        if let Some(packet) = wire.ends[0].tick(wire.now) {
            break packet;
        }
    };
    assert!(!packet.poll, "it has been answered");
    let up = |state, poll| Packet { state, poll, my_discriminator: 22, your_discriminator: 11, ..sample() };
    let mut machine = switched_on(FAST, 11, wire.now, 3);
    machine.receive(wire.now, &up(State::Down, false));
    machine.receive(wire.now, &up(State::Init, false));
    for _ in 0..3 {
        wire.now += Duration::from_secs(2);
        machine.receive(wire.now, &up(State::Up, false));
        assert!(machine.tick(wire.now).unwrap().poll);
    }
    let answer = machine.receive(wire.now, &up(State::Up, true)).unwrap();
    assert!(answer.is_final && !answer.poll, "a poll is answered at once, with nothing but the answer");
}

#[test]
fn a_session_that_is_not_up_sends_a_packet_a_second() {
    let mut wire = Wire::new([FAST; 2]);
    wire.is_cut = [true; 2];
    wire.pass(Duration::from_secs(100));
    assert!((100..=134).contains(&wire.sent[0]), "{}", wire.sent[0]);
}

#[test]
fn a_session_that_is_switched_off_says_so_and_is_silent() {
    let mut wire = Wire::up([FAST; 2]);
    wire.ends[0].switch_off(wire.now);
    wire.pass(Duration::from_millis(10));
    assert_eq!(wire.states(), [State::AdminDown, State::Down]);
    let status = wire.ends[1].status();
    assert_eq!((status.last_down, status.downs), (Some(Down::RouterAdminDown), 0), "which is no failure");
    wire.pass(Duration::from_millis(200));
    assert!(wire.ends[0].is_silent());
    let sent = wire.sent[0];
    wire.pass(Duration::from_secs(10));
    assert_eq!(wire.sent[0], sent);
    wire.ends[0].switch_on(wire.now);
    wire.pass(Duration::from_secs(3));
    assert_eq!(wire.states(), [State::Up; 2], "and can be switched on again");
}

#[test]
fn a_router_that_wants_no_packets_gets_none() {
    let now = Instant::now();
    let mut machine = switched_on(FAST, 11, now, 3);
    machine.receive(now, &Packet { state: State::Down, required_receive: Duration::ZERO, ..sample() });
    assert_eq!(machine.tick(now), None);
}

#[test]
fn timers_out_of_their_ranges_are_refused() {
    Timers::default().validate().unwrap();
    let second = Duration::from_secs(1);
    for wrong in [
        Timers { transmit: Duration::from_millis(9), ..FAST },
        Timers { receive: second * 61, ..FAST },
        Timers { multiplier: 1, ..FAST },
    ] {
        assert!(wrong.validate().unwrap_err().contains("must be"));
    }
}
