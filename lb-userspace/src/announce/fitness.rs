//! When a VIP is announced: a state machine for each, given the time and what is known of the VIP.
//!
//! ```text
//!                     fit                         leaving (an operator's order)
//!   Withdrawn ──────────────────► Announced ───────────────► Draining ──┐
//!      ▲  ▲                          │  ▲                        │      │ its time is over
//!      │  │ unfit     ┌── unfit ─────┘  │ fit for the hold-down  │      │
//!      │  └───────── Held ◄─────────────┘                        │      │
//!      └─────────────────────────────────────────────────────────┴──────┘
//! ```
//!
//! A VIP is announced first when the node has learnt all that its packets need. Later it is withdrawn at once when it
//! becomes unfit, and announced again when it has been fit for the hold-down, which doubles with each fall up to a bound
//! and is as at first after the VIP was announced for as long as the bound. Orders have no hold-down.
//!
//! An unfit VIP stays while no other node is known to serve it better, and when that is not known any more ([`Company`]);
//! what may be so on every node, or is not certain yet, is a reason for less ([`Goes`]).
//!
//! Pure, and it knows no reason by itself: a store or a controller that is away is none, and nobody tells it of one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Announcement, Wanted};

#[cfg(test)]
mod tests;

/// What is known of a VIP at one moment. What is wrong is a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// The zone that has the VIP, if that is not the node's.
    pub other_zone: Option<String>,
    /// Why the node can't forward its packets, if it can't.
    pub broken: Option<String>,
    /// What the node has yet to learn before its first packet, if anything: of no concern once it knew all.
    pub unready: Option<String>,
    /// Why others serve its clients better: too few targets are healthy, or none can be reached.
    pub unfit: Option<String>,
    /// What being unfit is a reason for, while it is announced.
    pub goes: Goes,
    /// Whether an operator wants it gone.
    pub leaving: Option<Leaving>,
    /// Whether other nodes announce it.
    pub company: Company,
}

/// What it is a reason for that an announced VIP is unfit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Goes {
    /// It goes, unless it is known or configured that this is not best.
    #[default]
    AsConfigured,
    /// It goes only where other nodes are known to do better: what is wrong here may be wrong everywhere, or turn out not to
    /// be.
    ForBetter,
    /// Nobody knows yet whether it is unfit at all: it stays.
    NotYet,
}

/// An operator's order that the VIP is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// The order in words.
    pub why: String,
    /// Until when it is announced as draining, if it is announced at all.
    pub withdraw_at: Instant,
}

/// Whether other nodes announce a VIP. Who knows of the other nodes says so; until then it is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Company {
    /// It is not known: the configuration decides.
    #[default]
    Unknown,
    /// None does that serves it better: this one goes on even while it is unfit.
    Alone,
    /// Some do that serve it better, and know that this one goes: it goes when it is unfit.
    Others,
    /// Some do that serve it better, and do not know yet that this one goes, so that they could go, too, relying on it: it
    /// stays while it is announced.
    Untold,
}

/// What becomes of an unfit VIP while it is not known whether other nodes announce it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenUnfit {
    /// It is withdrawn.
    #[default]
    Withdraw,
    /// It stays announced: this may be the last node.
    Keep,
}

/// The configured part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// For how long a VIP that was withdrawn must be fit before it is announced again; 0 for not at all.
    pub hold_down: Duration,
    /// What that grows to at most.
    pub hold_down_max: Duration,
    /// What becomes of an unfit VIP where nobody knows of other nodes.
    pub when_unfit: WhenUnfit,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            hold_down: Duration::from_secs(5),
            hold_down_max: Duration::from_secs(300),
            when_unfit: WhenUnfit::Withdraw,
        }
    }
}

/// What routers are told of a VIP, and what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Its packets come here.
    Announced,
    /// A way of last resort, until it is withdrawn.
    Draining,
    /// It is fit again, but was not long ago.
    Held,
    /// It is unfit, or an operator wants it gone.
    Withdrawn,
    /// It is another zone's.
    OtherZone,
}

impl State {
    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Announced => "announced",
            State::Draining => "draining",
            State::Held => "held",
            State::Withdrawn => "withdrawn",
            State::OtherZone => "other_zone",
        }
    }
}

/// A VIP's state, why, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The state.
    pub state: State,
    /// Why, if it is not simply announced; or why it is announced although it is unfit.
    pub why: Option<String>,
    /// Since when it is in that state.
    pub since: Instant,
}

/// All VIPs.
#[derive(Debug)]
pub struct Fitness {
    rules: Rules,
    vips: BTreeMap<IpAddr, Vip>,
}

#[derive(Debug)]
struct Vip {
    standing: Standing,
    /// Whether the node has known all that its packets need.
    is_ready: bool,
    /// Since when nothing is wrong, orders aside.
    fit_since: Option<Instant>,
    /// For how long it must be fit: nothing before it fell for the first time.
    hold: Duration,
    /// Whether it is announced though it is unfit, as it was known or configured that this is best.
    is_kept: bool,
}

impl Fitness {
    /// No VIP yet.
    pub fn new(rules: Rules) -> Fitness {
        Fitness { rules, vips: BTreeMap::new() }
    }

    /// Goes on by other rules.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Takes over what is known now of all VIPs that there are; others are forgotten. Whether a state changed.
    pub fn look(&mut self, looks: &BTreeMap<IpAddr, Look>, now: Instant) -> bool {
        let count = self.vips.len();
        self.vips.retain(|vip, _| looks.contains_key(vip));
        let mut is_changed = self.vips.len() != count;
        for (address, look) in looks {
            let rules = self.rules;
            let vip = self.vips.entry(*address).or_insert_with(|| Vip::unknown(now));
            is_changed |= vip.look(look, rules, now);
        }
        is_changed
    }

    /// Whether routers are to know of the VIP.
    pub fn is_announced(&self, vip: IpAddr) -> bool {
        self.vips.get(&vip).is_some_and(Vip::is_announced)
    }

    /// Whether the node has known all that the VIP's packets need: [`Look::unready`] is of no concern any more.
    pub fn is_ready(&self, vip: IpAddr) -> bool {
        self.vips.get(&vip).is_some_and(|vip| vip.is_ready)
    }

    /// What routers shall know.
    pub fn wanted(&self) -> Wanted {
        let announcement = |vip: &Vip| match vip.standing.state {
            State::Announced => Some(Announcement::Announced),
            State::Draining => Some(Announcement::Draining),
            State::Held | State::Withdrawn | State::OtherZone => None,
        };
        self.vips.iter().filter_map(|(address, vip)| Some((*address, announcement(vip)?))).collect()
    }

    /// Every VIP's state.
    pub fn standings(&self) -> impl Iterator<Item = (IpAddr, &Standing)> {
        self.vips.iter().map(|(address, vip)| (*address, &vip.standing))
    }

    /// When [`Fitness::look`] changes something although nothing new is known, orders' ends aside.
    pub fn next_deadline(&self) -> Option<Instant> {
        let held = self.vips.values().filter(|vip| vip.standing.state == State::Held);
        held.filter_map(Vip::held_until).min()
    }
}

impl Vip {
    fn unknown(now: Instant) -> Vip {
        let standing = Standing { state: State::Withdrawn, why: None, since: now };
        Vip { standing, is_ready: false, fit_since: None, hold: Duration::ZERO, is_kept: false }
    }

    fn look(&mut self, look: &Look, rules: Rules, now: Instant) -> bool {
        if let Some(zone) = &look.other_zone {
            (self.fit_since, self.hold) = (None, Duration::ZERO);
            return self.enter(State::OtherZone, Some(format!("the VIP is zone {zone}'s")), now);
        }
        self.is_ready |= look.broken.is_none() && look.unready.is_none();
        let stays = self.stays(look, rules.when_unfit);
        if let Some(fault) = look.fault(self.is_ready, stays) {
            self.fall(rules, now);
            return self.enter(State::Withdrawn, Some(fault), now);
        }
        let since = *self.fit_since.get_or_insert(now);
        self.is_kept &= look.unfit.is_some();
        match &look.leaving {
            Some(leaving) => self.leave(leaving, now),
            None if self.standing.state != State::Announced && since + self.hold > now => {
                let is_back = look.unfit.as_ref().map_or_else(
                    || "fit again".to_owned(),
                    |unfit| format!("{unfit}; no other node announces it"),
                );
                let why = format!("{is_back}, held down for {} s", self.hold.as_secs_f64());
                self.enter(State::Held, Some(why), now)
            }
            None => {
                let is_best = look.goes == Goes::AsConfigured && look.company != Company::Untold;
                self.is_kept = look.unfit.is_some() && (self.is_kept || is_best);
                self.enter(State::Announced, look.why_kept(), now)
            }
        }
    }

    /// Whether it stays announced although it is unfit. Where that was known and is not any more, it does: that nobody
    /// knows is no reason to go.
    fn stays(&self, look: &Look, when_unfit: WhenUnfit) -> bool {
        let is_announced = self.is_announced();
        match (look.goes, look.company) {
            (Goes::NotYet, _) if is_announced => true,
            (_, Company::Alone) => true,
            (_, Company::Others) => false,
            (_, Company::Untold) => is_announced,
            (Goes::ForBetter, Company::Unknown) if is_announced => true,
            (_, Company::Unknown) => when_unfit == WhenUnfit::Keep || self.is_kept,
        }
    }

    fn is_announced(&self) -> bool {
        matches!(self.standing.state, State::Announced | State::Draining)
    }

    /// What is announced drains first.
    fn leave(&mut self, leaving: &Leaving, now: Instant) -> bool {
        let state =
            if self.is_announced() && now < leaving.withdraw_at { State::Draining } else { State::Withdrawn };
        self.enter(state, Some(leaving.why.clone()), now)
    }

    /// Sets the next hold-down, if it was announced.
    fn fall(&mut self, rules: Rules, now: Instant) {
        self.fit_since = None;
        if self.is_announced() {
            let was_steady = now.duration_since(self.standing.since) >= rules.hold_down_max;
            let hold = if was_steady { Duration::ZERO } else { self.hold * 2 };
            self.hold = hold.max(rules.hold_down).min(rules.hold_down_max);
        }
    }

    fn held_until(&self) -> Option<Instant> {
        self.fit_since.map(|since| since + self.hold)
    }

    fn enter(&mut self, state: State, why: Option<String>, now: Instant) -> bool {
        self.standing.why = why;
        let is_new = self.standing.state != state;
        if is_new {
            (self.standing.state, self.standing.since) = (state, now);
        }
        self.is_kept &= self.is_announced();
        is_new
    }
}

impl Look {
    /// Why it is announced although it is unfit, if it is.
    fn why_kept(&self) -> Option<String> {
        let unfit = self.unfit.as_ref()?;
        let why = match self.company {
            _ if self.goes == Goes::NotYet => "kept until they are checked",
            Company::Alone => "kept, as no other node announces it and serves it better",
            Company::Untold => "kept until the other nodes, which serve it better, know that this one goes",
            Company::Unknown | Company::Others => "kept, as no other node is known to announce it",
        };
        Some(format!("{unfit}; {why}"))
    }

    /// Why it can't be announced, orders aside.
    fn fault(&self, is_ready: bool, stays: bool) -> Option<String> {
        let unready = || self.unready.clone().filter(|_| !is_ready);
        let unfit = || self.unfit.clone().filter(|_| !stays);
        self.broken.clone().or_else(unready).or_else(unfit)
    }
}
