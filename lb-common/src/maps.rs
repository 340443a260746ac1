//! The maps: their names, and the shapes of the values that are not another module's.
//!
//! ```text
//!   LISTENERS[vip, port, protocol] → FORWARDS[action] → SLOTS[first + slot] → TARGETS[id]
//!                                    │                      ├ FLOWS[set], EXCEPTIONS[first + slot]
//!                                    │                      └ or CHAINS[first + slot] → TARGETS[id]
//!                                    └ QUIC: QUIC_SERVERS[action, server id] → TARGETS[id]
//! ```

use crate::flow::TCP;
use crate::fragments::Ports;
use crate::hash::{HashKey, HashState};
use crate::packet::Segment;
use crate::shared::Shared;

/// `ARRAY<ListenerLine>`, memory-mapped: a hash table with open addressing; a power of two of entries.
pub const LISTENERS: &str = "LISTENERS";
/// `HASH<[u32; 4], u32>`: the VIPs, for pings.
pub const VIPS: &str = "VIPS";
/// `HASH<QuicServerKey, u32>`: target ids by the QUIC server ids of a forward action's targets.
pub const QUIC_SERVERS: &str = "QUIC_SERVERS";
/// `ARRAY<Forward>`, memory-mapped: index 0 is never used.
pub const FORWARDS: &str = "FORWARDS";
/// `ARRAY<SlotLine>`, memory-mapped: all tables, densely packed.
pub const SLOTS: &str = "SLOTS";
/// `ARRAY<ExceptionLine>`, memory-mapped: when a slot last had a packet of an exception.
pub const EXCEPTIONS: &str = "EXCEPTIONS";
/// `ARRAY<ChainLine>`, memory-mapped: who had a slot before its previous target, where targets give second chances.
pub const CHAINS: &str = "CHAINS";
/// `ARRAY<FlowSet>`, memory-mapped: the flow table; a power of two of sets.
pub const FLOWS: &str = "FLOWS";
/// `ARRAY<FragmentSet>`, memory-mapped: the fragment table; a power of two of sets.
pub const FRAGMENTS: &str = "FRAGMENTS";
/// `ARRAY<Target>`, memory-mapped: by target id; index 0 is never used.
pub const TARGETS: &str = "TARGETS";
/// `ARRAY<u64>`: the MAC address of each interface that the balancer is attached to, by interface index.
pub const INTERFACES: &str = "INTERFACES";
/// `ARRAY<Settings>` with one entry.
pub const SETTINGS: &str = "SETTINGS";
/// `PROG_ARRAY` by [`Continuation`]: the programs that a rare packet is left to.
pub const CONTINUATIONS: &str = "CONTINUATIONS";
/// `PERCPU_ARRAY<FragmentPorts>`: what a program leaves to the next about a fragment.
pub const FRAGMENT_PORTS: &str = "FRAGMENT_PORTS";
/// `PERCPU_ARRAY<u64>`: what a program leaves to the next about a packet that is too big.
pub const INNER_MTU: &str = "INNER_MTU";
/// `PERCPU_ARRAY<u64>` with one entry: the state of the limit of answers ([`crate::packet::too_big::ANSWERS`]).
pub const ANSWER_LIMIT: &str = "ANSWER_LIMIT";
/// `PERCPU_ARRAY<u64>` by reason.
pub const REASON_COUNTERS: &str = "REASON_COUNTERS";
/// `PERCPU_ARRAY<Traffic>` by the listener's counter.
pub const LISTENER_COUNTERS: &str = "LISTENER_COUNTERS";
/// `PERCPU_ARRAY<Traffic>` by target id.
pub const TARGET_COUNTERS: &str = "TARGET_COUNTERS";

/// `ARRAY<PolicyLine>`, memory-mapped: by the listener's counter.
pub const POLICIES: &str = "POLICIES";
/// `LPM_TRIE<AllowedKey, Allowance>`: the prefixes of all allow-lists.
pub const ALLOWED: &str = "ALLOWED";
/// `PERCPU_ARRAY<VerdictLines>` with one entry: what was looked up in `ALLOWED` before.
pub const VERDICTS: &str = "VERDICTS";
/// `PERCPU_ARRAY<VerdictLine>` with one entry: the verdict on the packet that is explained.
pub const EXPLAINED_VERDICT: &str = "EXPLAINED_VERDICT";
/// `ARRAY<u64>`, by the listener's counter: the states of the limits of all sources together.
pub const LISTENER_LIMITS: &str = "LISTENER_LIMITS";
/// `ARRAY<SourceSet>` with [`crate::source_limits::SOURCE_SETS`] entries.
pub const SOURCE_LIMITS: &str = "SOURCE_LIMITS";

/// `ARRAY<Trace>` with one entry: what the program `explain` saw.
pub const EXPLAINED: &str = "EXPLAINED";

/// `PERCPU_ARRAY<CaptureEvent>` with one entry: the packet that `capture` has in hand.
pub const CAPTURED: &str = "CAPTURED";
/// `ARRAY<CaptureFilter>` with one entry.
pub const CAPTURE_FILTER: &str = "CAPTURE_FILTER";
/// `RINGBUF`: a [`crate::capture::CaptureHeader`] and the packet's bytes for each captured packet.
pub const CAPTURE_RING: &str = "CAPTURE_RING";
/// `PERCPU_ARRAY<u64>` with one entry: packets that found the ring buffer full.
pub const CAPTURE_LOST: &str = "CAPTURE_LOST";

/// `RINGBUF`: a [`crate::flow_log::FlowRecord`] for each packet that the flow log is told of. It outlives the programs: what
/// they tell while no controller runs is read by the next.
pub const FLOW_LOG: &str = "FLOW_LOG";
/// `PERCPU_ARRAY<u64>` with two entries: records that found `FLOW_LOG` full, and, for user space alone, how many of them
/// were told.
pub const FLOW_LOG_LOST: &str = "FLOW_LOG_LOST";

/// `ARRAY<[u64; 8]>`, memory-mapped, by target id, for user space alone: whose the ids are. A name is written before what
/// it is the name of, and goes after it.
pub const TARGET_NAMES: &str = "TARGET_NAMES";
/// The same by the index in `FORWARDS`.
pub const FORWARD_NAMES: &str = "FORWARD_NAMES";
/// The same by the index in `LISTENER_COUNTERS`.
pub const LISTENER_NAMES: &str = "LISTENER_NAMES";
/// `ARRAY<u64>`, memory-mapped, by reason, for user space alone: what was counted before `REASON_COUNTERS` was made, in
/// a map of another size.
pub const REASONS_CARRIED: &str = "REASONS_CARRIED";
/// `ARRAY<Traffic>`, the same for `LISTENER_COUNTERS`.
pub const LISTENERS_CARRIED: &str = "LISTENERS_CARRIED";
/// `ARRAY<Traffic>`, the same for `TARGET_COUNTERS`.
pub const TARGETS_CARRIED: &str = "TARGETS_CARRIED";
/// `ARRAY<[u64; 3]>` with one entry, for user space alone: [`LAYOUT`], and the two halves of the hash's key.
pub const KEEPER: &str = "KEEPER";

/// What the words in maps mean. Maps that outlive a controller are read by one with the same number only: it goes up with
/// every change by which a word, a key or a tag that is there already would mean something else.
pub const LAYOUT: u64 = 1;

/// The maps that belong to one generation of programs: what one program leaves to the next, what was looked up before,
/// what is told to people. All others outlive the programs.
pub const OF_PROGRAMS: [&str; 10] = [
    CONTINUATIONS,
    VERDICTS,
    EXPLAINED_VERDICT,
    EXPLAINED,
    CAPTURED,
    CAPTURE_FILTER,
    CAPTURE_RING,
    CAPTURE_LOST,
    FRAGMENT_PORTS,
    INNER_MTU,
];

/// A variable that the loader sets, `u32`: zero where packets have one buffer only, because the kernel is older than
/// Linux 5.18.
pub const SEVERAL_BUFFERS: &str = "SEVERAL_BUFFERS";

/// Slots in one value of `SLOTS`. An array map rounds each value up to 8 bytes, so slots are packed by line.
pub const SLOTS_PER_LINE: u32 = 16;
/// Marks in one value of `EXCEPTIONS`.
pub const EXCEPTIONS_PER_LINE: u32 = 32;
/// Words in one value of `CHAINS`.
pub const CHAINS_PER_LINE: u32 = 32;

/// Programs that `balancer` leaves rare packets to by a tail call (0.9 ns), untouched; they parse them again.
///
/// The verifier walks each program by itself. In one program the paths of rare packets would multiply with those
/// of all others: with QUIC alone it gave up after a million instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuation {
    /// ICMP and ICMPv6.
    Icmp = 0,
    /// Packets of listeners with attributes ([`crate::listener::Listener::flags`]).
    Attributes = 1,
    /// Packets of QUIC listeners.
    Quic = 2,
    /// Packets that are too big for the way to their target.
    TooBig = 3,
    /// Packets of listeners with a policy.
    Policy = 4,
    /// Those of them on whose source this processor does not know the verdict.
    Verdict = 5,
    /// Fragments, the first ones included.
    Fragment = 6,
    /// Fragments whose ports are known.
    FragmentFlow = 7,
    /// Packets, and ICMP errors about such, of changing slots whose targets give second chances.
    Chain = 8,
}

impl Continuation {
    /// All of them in the order of their numbers.
    pub const ALL: [Continuation; 9] = [
        Continuation::Icmp,
        Continuation::Attributes,
        Continuation::Quic,
        Continuation::TooBig,
        Continuation::Policy,
        Continuation::Verdict,
        Continuation::Fragment,
        Continuation::FragmentFlow,
        Continuation::Chain,
    ];

    /// The name of the live program; those of other [`Programs`] have another first word.
    pub const fn program(self) -> &'static str {
        match self {
            Continuation::Icmp => "balancer_icmp",
            Continuation::Attributes => "balancer_attributes",
            Continuation::Quic => "balancer_quic",
            Continuation::TooBig => "balancer_too_big",
            Continuation::Policy => "balancer_policy",
            Continuation::Verdict => "balancer_verdict",
            Continuation::Fragment => "balancer_fragment",
            Continuation::FragmentFlow => "balancer_fragment_flow",
            Continuation::Chain => "balancer_chain",
        }
    }
}

/// The sets of programs that are compiled from the balancer's stages; each has its own for every [`Continuation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programs {
    /// The balancer itself.
    Live = 0,
    /// For `sluice explain`.
    Explain = 1,
    /// For `sluice capture`.
    Capture = 2,
}

impl Programs {
    /// Entries of `CONTINUATIONS`.
    pub const CONTINUATIONS: u32 = 3 * Continuation::ALL.len() as u32;

    /// The name of the program that a packet begins with; those of the others begin with it.
    pub const fn entry(self) -> &'static str {
        match self {
            Programs::Live => "balancer",
            Programs::Explain => "explain",
            Programs::Capture => "capture",
        }
    }

    /// The index in `CONTINUATIONS` of the program that goes on with a packet.
    #[inline(always)]
    pub const fn continuation(self, continuation: Continuation) -> u32 {
        self as u32 * Continuation::ALL.len() as u32 + continuation as u32
    }
}

/// A cache line of slots (each a [`crate::Slot`]'s word).
#[repr(C, align(64))]
pub struct SlotLine(pub [Shared<u32>; SLOTS_PER_LINE as usize]);

/// A cache line of marks: the tick at which a packet last went elsewhere than its slot says.
#[repr(C, align(64))]
pub struct ExceptionLine(pub [Shared<u16>; EXCEPTIONS_PER_LINE as usize]);

/// A cache line of [`crate::ChainWord`]s.
#[repr(C, align(64))]
pub struct ChainLine(pub [Shared<u16>; CHAINS_PER_LINE as usize]);

/// What the programs need to know of the node.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The state of the hash of clients.
    pub clients: HashState,
    /// The state of the hash of sources ([`crate::policy::sources_hash_state`]).
    pub sources: HashState,
    /// The key of the fragments' hash.
    pub hash_key: HashKey,
    /// The number of sets of the flow table less one: a mask.
    pub flow_set_mask: u32,
    /// The number of entries of `LISTENERS` less one: a mask.
    pub listener_mask: u32,
    /// Bits: the constants of this type.
    pub flags: u32,
    /// 64 less the binary logarithm of the number of entries of `LISTENERS` ([`crate::listener::ListenerKey::home`]).
    pub listener_shift: u32,
    /// The number of sets of the fragment table less one: a mask.
    pub fragment_set_mask: u32,
    /// The [`crate::flow_log::Share`] of the flows of logged listeners that are told of.
    pub flow_log_share: u32,
}

impl Settings {
    /// Senders are told of packets that are too big although they would allow fragments (IPv4 without "don't
    /// fragment").
    pub const ANSWER_OVERSIZED: u32 = 1;

    /// Some listener is of any port. Without one a packet that is nobody's is spared a second look-up.
    pub const ANY_PORT: u32 = 1 << 1;

    /// Whether [`Settings::ANY_PORT`] is set.
    #[inline(always)]
    pub const fn has_listeners_of_any_port(&self) -> bool {
        self.flags & Settings::ANY_PORT != 0
    }

    /// Whether [`Settings::ANSWER_OVERSIZED`] is set.
    #[inline(always)]
    pub const fn answers_oversized(&self) -> bool {
        self.flags & Settings::ANSWER_OVERSIZED != 0
    }
}

/// What one program leaves to the next about the fragment that both have in hand.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentPorts {
    /// The fragment's own: [`crate::packet::Fragment::mark`].
    mark: u64,
    /// [`Ports::both`].
    ports: u32,
    /// [`Ports::protocol`].
    protocol: u16,
    /// Not zero: the fragment begins its flow.
    opens: u16,
}

impl FragmentPorts {
    /// The fragment with this mark has these ports.
    #[inline(always)]
    pub const fn new(mark: u64, (ports, segment): (Ports, Segment)) -> FragmentPorts {
        let opens = matches!(segment, Segment::Opening) as u16;
        FragmentPorts { mark, ports: ports.both, protocol: ports.protocol as u16, opens }
    }

    /// What was left for the fragment with this mark.
    #[inline(always)]
    pub const fn of(self, mark: u64) -> Option<(Ports, Segment)> {
        if self.mark != mark {
            return None;
        }
        let segment = match (self.opens, self.protocol as u8) {
            (0, TCP) => Segment::Established,
            (0, _) => Segment::Ageless,
            _ => Segment::Opening,
        };
        Some((Ports { both: self.ports, protocol: self.protocol as u8 }, segment))
    }
}
