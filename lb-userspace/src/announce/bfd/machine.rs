//! A BFD session's states (RFC 5880 §6.8), given the time and packets.
//!
//! ```text
//!           router: Down             router: Init or Up
//!    Down ───────────────► Init ─────────────────────────► Up
//!     ▲ └────────── router: Init ──────────────────────────▲│
//!     └──────────────────────── silence; router: Down ──────┘
//! ```
//!
//! The interval at which packets are sent is worked out anew whenever it is asked for, so that a shorter one takes
//! effect at once (§6.8.3). It matters: a router may ask for a packet a second until it is up and for ten then, and
//! a packet that stayed scheduled a second ahead would be too late.

use std::time::{Duration, Instant};

use super::packet::{Diagnostic, Packet, State};
use super::{Down, Status, Timers};

/// Below this nothing is sent while the session is not up (§6.8.3).
const SLOW: Duration = Duration::from_secs(1);

/// How many packets say that the session was switched off.
const FAREWELLS: u8 = 3;
/// The longest time between two of them.
const FAREWELL_EVERY: Duration = Duration::from_millis(100);

/// One session.
#[derive(Debug)]
pub struct Machine {
    timers: Timers,
    discriminator: u32,
    state: State,
    since: Instant,
    diagnostic: Diagnostic,
    router: Router,
    heard_at: Option<Instant>,
    /// The next packet follows the last one by the interval times this.
    jitter: f64,
    sent_at: Option<Instant>,
    is_polling: bool,
    farewells: u8,
    ups: u64,
    downs: u64,
    last_down: Option<Down>,
    random: fastrand::Rng,
}

/// What the router said last.
#[derive(Debug, Clone, Copy)]
struct Router {
    discriminator: u32,
    state: State,
    required_receive: Duration,
    desired_transmit: Duration,
    multiplier: u8,
    demand: bool,
}

/// Before it said anything (§6.8.1).
const UNHEARD: Router = Router {
    discriminator: 0,
    state: State::Down,
    required_receive: Duration::from_micros(1),
    desired_transmit: Duration::ZERO,
    multiplier: 0,
    demand: false,
};

impl Machine {
    /// A session that is switched off and silent. `discriminator` is not 0 and no other session's; `seed` spreads its packets.
    pub fn new(timers: Timers, discriminator: u32, now: Instant, seed: u64) -> Machine {
        Machine {
            timers,
            discriminator,
            state: State::AdminDown,
            since: now,
            diagnostic: Diagnostic::ADMIN_DOWN,
            router: UNHEARD,
            heard_at: None,
            jitter: 1.0,
            sent_at: None,
            is_polling: false,
            farewells: 0,
            ups: 0,
            downs: 0,
            last_down: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Its name in packets.
    pub fn discriminator(&self) -> u32 {
        self.discriminator
    }

    /// What is known.
    pub fn status(&self) -> Status {
        Status {
            state: self.state,
            since: self.since,
            transmit: self.interval(),
            detection: self.detection(),
            ups: self.ups,
            downs: self.downs,
            last_down: self.last_down,
        }
    }

    /// When [`Machine::tick`] is due; a moment that has passed means at once.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        [self.send_at(now), self.silent_at()].into_iter().flatten().min()
    }

    /// Takes the router's packet, and gives the answer if one is due at once.
    pub fn receive(&mut self, now: Instant, packet: &Packet) -> Option<Packet> {
        if self.state == State::AdminDown {
            return None;
        }
        self.heard_at = Some(now);
        self.router = Router {
            discriminator: packet.my_discriminator,
            state: packet.state,
            required_receive: packet.required_receive,
            desired_transmit: packet.desired_transmit,
            multiplier: packet.multiplier,
            demand: packet.demand,
        };
        if packet.is_final {
            self.is_polling = false;
        }
        self.follow(now, packet);
        packet.poll.then(|| self.send(now, true))
    }

    /// Does what the time asks for, and gives the packet to send if one is due.
    pub fn tick(&mut self, now: Instant) -> Option<Packet> {
        if self.silent_at().is_some_and(|silent_at| silent_at <= now) {
            self.fall_silent(now);
        }
        if self.send_at(now).is_none_or(|send_at| send_at > now) {
            return None;
        }
        self.farewells = self.farewells.saturating_sub(1);
        Some(self.send(now, false))
    }

    /// Begins to look for the router.
    pub fn switch_on(&mut self, now: Instant) {
        if self.state == State::AdminDown {
            self.enter(now, State::Down, Diagnostic::NONE);
            self.router = UNHEARD;
            self.heard_at = None;
        }
    }

    /// Switches the session off: a few more packets say so, then it [is silent](Machine::is_silent).
    pub fn switch_off(&mut self, now: Instant) {
        if self.state != State::AdminDown {
            self.enter(now, State::AdminDown, Diagnostic::ADMIN_DOWN);
            self.farewells = FAREWELLS;
        }
    }

    /// Whether it is switched off, and has said so.
    pub fn is_silent(&self) -> bool {
        self.state == State::AdminDown && self.farewells == 0
    }

    fn follow(&mut self, now: Instant, packet: &Packet) {
        match (self.state, packet.state) {
            (State::Init | State::Up, State::AdminDown) => self.go_down(now, Down::RouterAdminDown),
            (State::Up, State::Down) => self.go_down(now, Down::RouterSaysDown(packet.diagnostic)),
            (State::Down, State::Down) => self.enter(now, State::Init, self.diagnostic),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => self.go_up(now),
            _ => {}
        }
    }

    /// The intervals are other ones now, which the router has to acknowledge.
    fn go_up(&mut self, now: Instant) {
        self.enter(now, State::Up, Diagnostic::NONE);
        self.ups += 1;
        self.is_polling = true;
    }

    fn go_down(&mut self, now: Instant, why: Down) {
        let diagnostic = match why {
            Down::Silence(_) => Diagnostic::TIME_EXPIRED,
            Down::RouterSaysDown(_) | Down::RouterAdminDown => Diagnostic::NEIGHBOR_DOWN,
        };
        if self.state == State::Up {
            self.last_down = Some(why);
            self.downs += u64::from(matches!(why, Down::Silence(_)));
        }
        self.enter(now, State::Down, diagnostic);
        self.is_polling = false;
    }

    fn fall_silent(&mut self, now: Instant) {
        let detection = self.detection();
        self.router = UNHEARD;
        self.heard_at = None;
        if matches!(self.state, State::Init | State::Up) {
            self.go_down(now, Down::Silence(detection));
        }
    }

    /// The router is told of a new state at once (§6.8.7).
    fn enter(&mut self, now: Instant, state: State, diagnostic: Diagnostic) {
        self.sent_at = None;
        self.state = state;
        self.since = now;
        self.diagnostic = diagnostic;
    }

    /// What this side wants to send at: slower while it is not up.
    fn desired_transmit(&self) -> Duration {
        if self.state == State::Up { self.timers.transmit } else { self.timers.transmit.max(SLOW) }
    }

    fn interval(&self) -> Duration {
        self.desired_transmit().max(self.router.required_receive)
    }

    /// After how long a silence the router is gone (§6.8.4).
    fn detection(&self) -> Duration {
        let interval = self.timers.receive.max(self.router.desired_transmit);
        interval * self.router.multiplier.into()
    }

    fn silent_at(&self) -> Option<Instant> {
        self.heard_at.map(|heard_at| heard_at + self.detection())
    }

    /// When the next packet is due (§6.8.7), if one is.
    fn send_at(&self, now: Instant) -> Option<Instant> {
        let is_quiet = match self.state {
            State::AdminDown => self.farewells == 0,
            // A router in demand mode wants nothing but polls.
            State::Up if self.router.demand && self.router.state == State::Up => !self.is_polling,
            _ => self.router.required_receive.is_zero() && !self.is_polling,
        };
        if is_quiet {
            return None;
        }
        let interval = match self.state {
            State::AdminDown => self.interval().min(FAREWELL_EVERY),
            _ => self.interval(),
        };
        Some(self.sent_at.map_or(now, |sent_at| sent_at + interval.mul_f64(self.jitter)))
    }

    /// The answer to a poll does not move the packets that are sent at intervals.
    fn send(&mut self, now: Instant, is_final: bool) -> Packet {
        if !is_final {
            self.sent_at = Some(now);
            // 75 to 100 % of the interval (§6.8.7).
            self.jitter = 0.75 + 0.25 * self.random.f64();
        }
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: self.is_polling && !is_final,
            is_final,
            demand: false,
            multiplier: self.timers.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.router.discriminator,
            desired_transmit: self.desired_transmit(),
            required_receive: self.timers.receive,
            required_echo: Duration::ZERO,
        }
    }
}
