//! What is measured: each row of the bench is one value here.

use lb_common::Reason;
use lb_common::listener::Listener;
use lb_userspace::table::TableSize;

/// The family of a packet, inner or outer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// What the packets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TCP segments with ACK.
    Tcp,
    /// TCP segments with SYN.
    Syn,
    /// UDP datagrams.
    Udp,
}

/// What the tables hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slots {
    /// One target each.
    Stable,
    /// Two targets each.
    Changing,
    /// Three targets each, of which packets name two in a chain.
    Chained,
}

/// The largest cost that is aimed at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Aim {
    /// None.
    None,
    /// Nanoseconds a packet, net.
    Nanoseconds(f64),
    /// So many nanoseconds more than the row with this name.
    More(f64, &'static str),
    /// A multiple of the row with this name.
    Times(f64, &'static str),
}

/// What stands before the listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Nothing.
    Open,
    /// An allow-list of so many prefixes, of which one lets all clients in.
    Prefixes(u32),
    /// A limit of new flows that is never reached.
    Limit,
    /// Nothing, but a hundredth of their flows is told to the flow log.
    Logged,
}

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// What it is called in the output; unique.
    pub(crate) name: String,
    pub(crate) family: Family,
    /// The family of the outer header; the packet's own if none.
    pub(crate) outer: Option<Family>,
    /// Whether packets travel in GUE.
    pub(crate) gue: bool,
    pub(crate) kind: Kind,
    /// How many flows the packets belong to: a power of two.
    pub(crate) flows: u64,
    /// How many listeners there are and are used, each with a target group and a VIP of its own.
    pub(crate) groups: u32,
    /// Targets of each target group.
    pub(crate) targets: u16,
    /// Binary logarithm of the slots of each table.
    pub(crate) slots_log2: u8,
    pub(crate) slots: Slots,
    /// Of the listeners: one of the `TRACK_` constants.
    pub(crate) tracking: u32,
    pub(crate) gate: Gate,
    /// Why the packets go no further, if they are not forwarded.
    pub(crate) ends: Option<Reason>,
    pub(crate) aim: Aim,
}

impl Scenario {
    /// A row of the main table: one listener, 256 targets, a table of the size that the controller chooses.
    fn new(family: Family, kind: Kind, slots: Slots, flows: u64) -> Scenario {
        Scenario {
            name: format!("{family:?} {kind:?} {slots:?} {}", count(flows)),
            family,
            outer: None,
            gue: false,
            kind,
            flows,
            groups: 1,
            targets: 256,
            slots_log2: chosen_log2(256),
            slots,
            tracking: Listener::TRACK_CHANGED,
            gate: Gate::Open,
            ends: None,
            aim: Aim::None,
        }
    }

    /// What runs over a wire: IPv4, TCP, stable slots.
    pub(crate) fn wire(flows: u64) -> Scenario {
        Scenario::named("wire", Family::Ipv4, Kind::Tcp, flows)
    }

    fn named(name: &str, family: Family, kind: Kind, flows: u64) -> Scenario {
        Scenario { name: name.to_string(), ..Scenario::new(family, kind, Slots::Stable, flows) }
    }

    fn ending(reason: Reason, name: &str, family: Family) -> Scenario {
        Scenario { ends: Some(reason), ..Scenario::named(name, family, Kind::Tcp, 1 << 16) }
    }

    /// Targets of all target groups together.
    pub(crate) fn all_targets(&self) -> u16 {
        self.groups as u16 * self.targets
    }
}

/// The size of the table of so many equal targets.
fn chosen_log2(targets: u16) -> u8 {
    TableSize::for_weights((0..targets).map(|_| 1)).log2()
}

/// Rows that belong together.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) rows: Vec<Scenario>,
}

/// All rows, the main table up to `most` flows.
pub(crate) fn sections(most: u64) -> Vec<Section> {
    vec![
        Section { title: "Flows, families, protocols and slots", rows: main_table(most) },
        Section { title: "Many listeners, floods, and what is not ours", rows: other_loads() },
        Section { title: "Policies", rows: policies() },
        Section { title: "Flow logs", rows: flow_logs() },
        Section { title: "Ways to encapsulate (TCP, 64 Ki flows)", rows: encapsulations() },
        Section { title: "Where the time goes (IPv4): packets that end after", rows: stages(Family::Ipv4) },
        Section { title: "Where the time goes (IPv6): packets that end after", rows: stages(Family::Ipv6) },
    ]
}

/// The aim for stable slots.
const STABLE: f64 = 45.0;
/// The cost at any number of flows against the cost of one.
const ANY_NUMBER: f64 = 1.2;

fn main_table(most: u64) -> Vec<Scenario> {
    let mut rows = Vec::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        for kind in [Kind::Tcp, Kind::Udp] {
            for slots in [Slots::Stable, Slots::Changing] {
                let flows = [1, 1 << 10, 1 << 16, 1 << 19, 1 << 20].into_iter();
                rows.extend(flows.filter(|flows| *flows <= most).map(|flows| {
                    let aim = if slots == Slots::Stable { Aim::Nanoseconds(STABLE) } else { Aim::None };
                    Scenario { aim, ..Scenario::new(family, kind, slots, flows) }
                }));
            }
        }
    }
    rows
}

/// Rows of the main table whose cost must not differ by more than [`ANY_NUMBER`]: few flows, many flows.
pub(crate) fn must_be_equal() -> (f64, Vec<[String; 2]>) {
    let pairs = [Family::Ipv4, Family::Ipv6].into_iter().flat_map(|family| {
        [Kind::Tcp, Kind::Udp]
            .map(|kind| [1, 1 << 19].map(|flows| Scenario::new(family, kind, Slots::Stable, flows).name))
    });
    (ANY_NUMBER, pairs.collect())
}

const MILLION: u64 = 1 << 20;

fn other_loads() -> Vec<Scenario> {
    use Family::{Ipv4, Ipv6};
    let many = |groups, targets| Scenario {
        groups,
        targets,
        slots_log2: chosen_log2(targets),
        ..Scenario::named("", Ipv4, Kind::Tcp, MILLION)
    };
    let aim = Aim::Nanoseconds;
    vec![
        Scenario { aim: aim(28.0), ..Scenario::named("IPv4, 1 Mi flows", Ipv4, Kind::Tcp, MILLION) },
        Scenario { aim: aim(34.0), ..Scenario::named("IPv6, 1 Mi flows", Ipv6, Kind::Tcp, MILLION) },
        Scenario { name: "64 listeners of 16 targets".into(), aim: aim(40.0), ..many(64, 16) },
        Scenario { name: "1,000 listeners of 4 targets".into(), aim: aim(50.0), ..many(1000, 4) },
        Scenario { name: "1,000 listeners, tables of 512 slots".into(), slots_log2: 9, ..many(1000, 4) },
        Scenario {
            name: "every slot changing, 1 Mi flows".into(),
            aim: aim(110.0),
            ..Scenario::new(Ipv4, Kind::Tcp, Slots::Changing, MILLION)
        },
        Scenario {
            aim: Aim::Times(1.1, "IPv4, 1 Mi flows"),
            ..Scenario::named("flood of SYNs, stable slots", Ipv4, Kind::Syn, 1 << 40)
        },
        Scenario {
            name: "flood of SYNs, changing slots".into(),
            ..Scenario::new(Ipv4, Kind::Syn, Slots::Changing, 1 << 40)
        },
        Scenario {
            tracking: Listener::TRACK_ALWAYS,
            aim: aim(110.0),
            ..Scenario::named("UDP always tracked, 1 Mi flows", Ipv4, Kind::Udp, MILLION)
        },
        Scenario { aim: aim(12.0), ..Scenario::ending(Reason::NotOurs, "another port", Ipv4) },
        Scenario { aim: aim(12.0), ..Scenario::ending(Reason::NotIp, "ARP", Ipv4) },
    ]
}

/// Clients' addresses are their flows' numbers without the last 16 bits.
fn policies() -> Vec<Scenario> {
    use Family::{Ipv4, Ipv6};
    const OPEN: &str = "no policy, 16 sources";
    let row = |name: &str, family, sources: u64, gate| Scenario {
        gate,
        ..Scenario::named(name, family, Kind::Tcp, sources << 16)
    };
    let list = Gate::Prefixes(10_000);
    let hot = row("policy of 10,000 prefixes, hot", Ipv4, 16, list);
    vec![
        row(OPEN, Ipv4, 16, Gate::Open),
        Scenario { aim: Aim::More(60.0, OPEN), ..hot },
        row("the same, 64 Ki sources: cold", Ipv4, 1 << 16, list),
        row("no policy, 64 Ki sources", Ipv4, 1 << 16, Gate::Open),
        row("IPv6, no policy, 16 sources", Ipv6, 16, Gate::Open),
        row("IPv6, 10,000 prefixes, hot", Ipv6, 16, list),
        row("a limit, packets that it counts not", Ipv4, 16, Gate::Limit),
        Scenario { kind: Kind::Syn, ..row("a limit, SYNs", Ipv4, 16, Gate::Limit) },
    ]
}

/// Of SYNs a hundredth is told, of established flows' packets none.
fn flow_logs() -> Vec<Scenario> {
    let row =
        |name: &str, kind, gate| Scenario { gate, ..Scenario::named(name, Family::Ipv4, kind, 1 << 16) };
    vec![
        row("no flow log", Kind::Tcp, Gate::Open),
        row("a flow log", Kind::Tcp, Gate::Logged),
        row("no flow log, SYNs", Kind::Syn, Gate::Open),
        row("a flow log, SYNs", Kind::Syn, Gate::Logged),
        row("no flow log, UDP", Kind::Udp, Gate::Open),
        row("a flow log, UDP", Kind::Udp, Gate::Logged),
    ]
}

fn encapsulations() -> Vec<Scenario> {
    use Family::{Ipv4, Ipv6};
    let way = |name: &str, family, outer, gue| Scenario {
        outer: Some(outer),
        gue,
        ..Scenario::named(name, family, Kind::Tcp, 1 << 16)
    };
    vec![
        way("IPv4 in IPv4", Ipv4, Ipv4, false),
        way("IPv4 in IPv6", Ipv4, Ipv6, false),
        way("IPv6 in IPv4", Ipv6, Ipv4, false),
        way("IPv6 in IPv6", Ipv6, Ipv6, false),
        way("IPv4 in GUE over IPv4", Ipv4, Ipv4, true),
        way("IPv6 in GUE over IPv6", Ipv6, Ipv6, true),
        Scenario { slots: Slots::Chained, ..way("IPv4 in GUE with a chain over IPv4", Ipv4, Ipv4, true) },
        Scenario { slots: Slots::Chained, ..way("IPv6 in GUE with a chain over IPv6", Ipv6, Ipv6, true) },
    ]
}

/// The real program on packets that end after each stage: differences between rows are what a stage costs
/// (each row but the last also adds to a reason's counter).
fn stages(family: Family) -> Vec<Scenario> {
    let row = |reason, name: &str| Scenario::ending(reason, &format!("{name} ({family:?})"), family);
    vec![
        row(Reason::NotIp, "Ethernet"),
        row(Reason::OtherMac, "the interface's MAC"),
        row(Reason::NotOurs, "two look-ups of no listener"),
        row(Reason::NoTable, "one look-up of a listener"),
        row(Reason::NoTarget, "hash and slot"),
        row(Reason::NoNextHop, "target"),
        Scenario::named(&format!("all ({family:?})"), family, Kind::Tcp, 1 << 16),
    ]
}

/// A number of flows for people.
pub(crate) fn count(flows: u64) -> String {
    match flows {
        0..1024 => flows.to_string(),
        1024..0x10_0000 => format!("{} Ki", flows >> 10),
        _ => format!("{} Mi", flows >> 20),
    }
}
