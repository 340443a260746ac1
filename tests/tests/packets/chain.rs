//! Slots whose targets give second chances: every packet goes to the current target and names who had the slot.
//!
//! Everywhere `Other` is the slot's current target, `One` had it before, and `Spread` before that.

use lb_common::{ChainWord, Reason, Slot, TargetId};

use crate::case::{Case, Step};
use crate::client::{Family, Kind, Packet};
use crate::forwarded::listener;
use crate::icmp_error::Message;
use crate::node::{AFFINITY, UDP_ALWAYS, UDP_NEVER, WILDCARD};
use crate::remote::{Inner, Outer, Remote, Role};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for outer in Outer::ALL.into_iter().filter(|outer| outer.gue) {
        for family in Family::BOTH {
            let chain = Chain::new(outer, family);
            cases.extend(chain.kinds());
            cases.extend(chain.members());
            cases.extend(chain.sizes());
            cases.extend(chain.errors());
            cases.extend(chain.listeners());
            cases.extend(chain.refusals());
        }
    }
    cases
}

/// A slot's last three owners.
struct Chain {
    outer: Outer,
    family: Family,
    current: Remote,
    previous: Remote,
    oldest: Remote,
}

impl Chain {
    fn new(outer: Outer, family: Family) -> Chain {
        let remote = |role| Remote::new(outer, role);
        let (current, previous, oldest) = (remote(Role::Other), remote(Role::One), remote(Role::Spread));
        Chain { outer, family, current, previous, oldest }
    }

    fn name(&self, what: &str) -> String {
        format!("chain, {:?} by {}: {what}", self.family, self.outer.name())
    }

    fn slot(&self) -> Slot {
        Slot::changing(self.current.id(), self.previous.id())
    }

    fn of_three(&self) -> ChainWord {
        ChainWord::before(self.oldest.id())
    }

    /// `packet` goes to `to` with these addresses in its chain.
    fn case(&self, what: &str, packet: &Packet, to: Remote, former: &[Remote]) -> Case {
        let slot = Slot::changing(to.id(), self.previous.id());
        let case = Case::forwarded(self.name(what), slot, packet, listener(packet), to);
        self.chained(case, packet, to, former)
    }

    fn chained(&self, case: Case, packet: &Packet, to: Remote, former: &[Remote]) -> Case {
        let frame = packet.frame();
        let inner = Inner {
            family: packet.family,
            traffic_class: packet.traffic_class,
            hash: packet.hash(),
            length: packet.inner_length(),
            bytes: &frame[packet.offset()..],
        };
        case.with_chain(self.of_three()).leaves_as(to.frame_with_chain(&inner, former))
    }

    fn former(&self) -> [Remote; 2] {
        [self.previous, self.oldest]
    }

    /// Nothing is remembered, and a SYN is no exception.
    fn kinds(&self) -> Vec<Case> {
        let case = |what: &str, packet: Packet| self.case(what, &packet, self.current, &self.former());
        let plain = Packet::new(self.family, Kind::Ack);
        vec![
            case("a SYN", Packet::new(self.family, Kind::Syn)),
            case("an ACK", plain.clone()),
            case("a datagram", Packet::new(self.family, Kind::Udp)),
            case("one tag", Packet { tags: 1, ..plain.clone() }),
            case(
                "two tags, padding and a class",
                Packet { tags: 2, padding: 9, traffic_class: 0xb9, ..plain.clone() },
            ),
            case("no payload", Packet { payload: vec![], ..plain.clone() }),
            case("a full packet", Packet { payload: vec![0x55; 1300], ..plain }),
        ]
    }

    /// Who is named.
    fn members(&self) -> Vec<Case> {
        let packet = Packet::new(self.family, Kind::Ack);
        let remote = |role| Remote::new(self.outer, role);
        let elsewhere = Remote::new(self.outer.of_the_other_family(), Role::One);
        let gone = TargetId(63);
        let case = |what: &str, word: TargetId, previous: TargetId, former: &[Remote]| {
            let case = self.case(what, &packet, self.current, former);
            case.on(Slot::changing(self.current.id(), previous)).with_chain(ChainWord::before(word))
        };
        let (previous, oldest) = (self.previous.id(), self.oldest.id());
        let unreachable = remote(Role::Unreachable);
        let far = remote(Role::Far);
        vec![
            case("of two", self.current.id(), previous, &[self.previous]),
            case(
                "an owner without a next hop is named",
                unreachable.id(),
                previous,
                &[self.previous, unreachable],
            ),
            case("an owner of another family is not, the oldest", elsewhere.id(), previous, &[self.previous]),
            case("an owner of another family is not, the newest", oldest, elsewhere.id(), &[self.oldest]),
            case("an owner that has gone is not", oldest, gone, &[self.oldest]),
            case("nobody is left to be named", gone, elsewhere.id(), &[]),
            self.case("to another interface", &packet, far, &self.former()),
        ]
    }

    /// The way's MTU leaves room for a chain, so what fits is what fits without one.
    fn sizes(&self) -> Vec<Case> {
        let packet = Packet::new(self.family, Kind::Ack);
        let exact = Remote { mtu: (packet.inner_length() + self.outer.overhead()) as u16, ..self.current };
        let short = Remote { mtu: exact.mtu - 1, ..exact };
        let fits = self.case("exactly the MTU", &packet, exact, &self.former());
        let slot = self.slot();
        vec![
            fits.after([Step::Target(exact)]),
            Case::refused(self.name("a byte over the MTU"), slot, packet.frame(), Reason::TooBig)
                .with_chain(self.of_three())
                .after([Step::Target(short)]),
        ]
    }

    fn errors(&self) -> Vec<Case> {
        let packet = Packet::new(self.family, Kind::Ack);
        let message = Message::new(&packet);
        let (frame, former) = (message.frame(), self.former());
        let inner = message.inner(&frame);
        let name = self.name("an error about a flow");
        let case = Case::encapsulated(
            name,
            self.slot(),
            (frame.clone(), 0),
            &inner,
            listener(&packet),
            self.current,
        );
        let large = Remote { mtu: 150, ..self.current };
        vec![
            case.with_chain(self.of_three()).leaves_as(self.current.frame_with_chain(&inner, &former)),
            Case::refused(self.name("an error that is too big"), self.slot(), frame, Reason::TooBig)
                .with_chain(self.of_three())
                .after([Step::Target(large)]),
        ]
    }

    fn listeners(&self) -> Vec<Case> {
        let case = |what: &str, packet: Packet, counter: u16| {
            let case = Case::forwarded(self.name(what), self.slot(), &packet, counter, self.current);
            self.chained(case, &packet, self.current, &self.former())
        };
        let never = Packet::new(self.family, Kind::Udp).with_port(82);
        vec![
            case(
                "a wildcard port",
                Packet::new(self.family, Kind::Ack).with_vip(2).with_port(4711),
                WILDCARD,
            ),
            case("source affinity", Packet::new(self.family, Kind::Ack).with_vip(7), AFFINITY),
            case("an always tracked flow", Packet::new(self.family, Kind::Udp).with_port(81), UDP_ALWAYS),
            Case::forwarded(
                self.name("never tracked: no chain"),
                self.slot(),
                &never,
                UDP_NEVER,
                self.current,
            )
            .with_chain(self.of_three()),
        ]
    }

    fn refusals(&self) -> Vec<Case> {
        let packet = Packet::new(self.family, Kind::Ack);
        let unreachable = Remote::new(self.outer, Role::Unreachable);
        let ipip = Remote::new(Outer { gue: false, ..self.outer }, Role::One);
        let refused = |what: &str, current: TargetId, reason| {
            let slot = Slot::changing(current, self.previous.id());
            Case::refused(self.name(what), slot, packet.frame(), reason).with_chain(self.of_three())
        };
        let slot = Slot::changing(ipip.id(), self.previous.id());
        vec![
            refused("no current target", TargetId::NONE, Reason::NoTarget),
            refused("no next hop", unreachable.id(), Reason::NoNextHop),
            Case::forwarded(self.name("IP in IP has no room"), slot, &packet, listener(&packet), ipip)
                .with_chain(self.of_three()),
            Case::forwarded(
                self.name("a stable slot's word is not read"),
                Slot::stable(self.current.id()),
                &packet,
                listener(&packet),
                self.current,
            )
            .with_chain(self.of_three()),
        ]
    }
}
