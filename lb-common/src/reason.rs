//! Why a packet was not forwarded: one name a cause, the same in the program, the status and the metrics.

/// What became of a packet that was not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Given to the host's network stack, byte for byte as it came.
    Passed,
    /// Dropped.
    Dropped,
    /// Turned into its answer and sent back.
    Answered,
}

impl Verdict {
    /// The word for it in status and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Dropped => "dropped",
            Verdict::Answered => "answered",
        }
    }
}

/// Which program gives a reason. The agent gives some of the node's reasons too: those of the parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The balancer, on a node.
    Node,
    /// The agent, on a target.
    Target,
}

macro_rules! reasons {
    ($($number:literal $variant:ident $name:literal $place:ident $verdict:ident $description:literal)*) => {
        /// Why a packet was not forwarded. The number is its index in the per-CPU counters.
        #[repr(u8)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Reason {
            $(#[doc = $description] $variant = $number,)*
        }

        impl Reason {
            /// All reasons in the order of their numbers.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// Counters in `REASON_COUNTERS`: a power of two, at least one for each reason.
            pub const COUNTERS: usize = 64;

            /// The name in status, metrics and documentation.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// What becomes of such packets.
            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Reason::$variant => Verdict::$verdict,)* }
            }

            /// Which program gives it.
            pub const fn place(self) -> Place {
                match self { $(Reason::$variant => Place::$place,)* }
            }

            /// Whether the balancer can have it; the others are the agent's.
            pub const fn is_on_node(self) -> bool {
                matches!(self.place(), Place::Node)
            }

            /// What it means, for people.
            pub const fn description(self) -> &'static str {
                match self { $(Reason::$variant => $description,)* }
            }
        }
    };
}

// New ones go to the end: a number that a counter once had keeps its meaning.
reasons! {
    0 NotIp "not_ip" Node Passed "The frame is neither IPv4 nor IPv6, such as ARP."
    1 OtherMac "other_mac" Node Passed "The frame is for another MAC address, or for many."
    2 NotOurs "not_ours" Node Passed "No listener has this address, protocol and port."
    3 MalformedEthernet "malformed_ethernet" Node Passed "The frame ends inside its Ethernet or VLAN header."
    4 MalformedIpv4 "malformed_ipv4" Node Passed "An IPv4 header that contradicts itself or the frame's length."
    5 MalformedIpv6 "malformed_ipv6" Node Passed "An IPv6 or extension header that contradicts itself or the frame's length."
    6 MalformedTransport "malformed_transport" Node Passed "The packet ends inside its TCP, UDP or ICMP header."
    7 Fragment "fragment" Node Passed "A fragment to no VIP, or of neither TCP nor UDP."
    8 ExtensionHeaders "extension_headers" Node Passed "More than six IPv6 extension headers."
    9 EchoAnswered "echo_answered" Node Answered "An echo request (ping) for a VIP."
    10 NoTarget "no_target" Node Dropped "The listener's target groups have no target that could take the flow."
    11 NoNextHop "no_next_hop" Node Dropped "The target's route or neighbour is unknown; see its next hop in the status."
    12 TooBig "too_big" Node Dropped "With its encapsulation the packet is bigger than the MTU towards the target, and is not to be answered."
    13 NoHeadroom "no_headroom" Node Dropped "The driver left no room before the packet for the encapsulation."
    14 NoTable "no_table" Node Dropped "The listener has no table: the controller is about to write it."
    15 AgentNotTunnelled "not_tunnelled" Target Passed "On a target: not a tunnel packet for this host."
    16 AgentMalformed "malformed_tunnel" Target Dropped "On a target: a tunnel packet whose inner packet is missing or contradicts itself."
    17 AgentUnknownNode "unknown_node" Target Dropped "On a target: a tunnel packet from a source that is not a known node."
    18 AgentUnknownVip "unknown_vip" Target Dropped "On a target: the inner packet is not for a VIP of this target."
    19 AgentDecapsulated "decapsulated" Target Passed "On a target: the inner packet was delivered."
    20 AgentNested "nested_tunnel" Target Dropped "On a target: the inner packet is a tunnel packet itself."
    21 AgentNotEcnCapable "not_ecn_capable" Target Dropped "On a target: the network marked congestion on a tunnel packet whose inner packet cannot carry the mark (RFC 6040)."
    22 AlreadyEncapsulated "already_encapsulated" Node Passed "A GUE packet (UDP port 6080) for a VIP: a listener of any port leaves it alone, or tunnels would be put into tunnels."
    23 MalformedQuote "malformed_quote" Node Passed "An ICMP error to a VIP whose quoted packet is cut short, a later fragment, or not the VIP's: nothing tells the flow."
    24 TooBigAnswered "too_big_answered" Node Answered "Too big for the way to the target: the sender was told the size that fits."
    25 TooBigLimited "too_big_limited" Node Dropped "Too big for the way to the target, and the limit of answers to such packets was reached."
    26 AgentMssLowered "mss_lowered" Target Passed "On a target: the maximum segment size that a SYN or SYN-ACK from a VIP offers was lowered."
    27 MartianSource "martian_source" Node Dropped "A listener's packet, or a ping of a VIP, from a source that no answer may go to: an unspecified, loopback, group, reserved or IPv4-mapped address, or the VIP itself; where it would be answered, also a group's MAC address."
    28 SplitHeaders "split_headers" Node Passed "A frame in several of the driver's buffers (a jumbo frame), the first of which does not hold all headers, or whose headers contradict themselves."
    29 NotAllowed "not_allowed" Node Dropped "The load balancer's allow-list has the source in no rule for this listener."
    30 ListenerLimit "listener_limit" Node Dropped "A SYN beyond the new flows a second that the listener takes."
    31 SourceLimit "source_limit" Node Dropped "A SYN beyond the new flows a second that the listener takes from one source."
    32 FragmentUnknown "fragment_unknown" Node Dropped "A fragment to a VIP whose first fragment, which has the ports, did not come before it, or more than 2 s earlier."
    33 TinyFragment "tiny_fragment" Node Dropped "A first fragment to a VIP that ends inside its TCP or UDP header, or one that would write over TCP's flags (RFC 1858, RFC 3128)."
    34 AgentUnknownGue "unknown_gue" Target Dropped "On a target: GUE of an unknown version, with flags, a control message that is no question, or a chain of an unknown format."
    35 AgentMalformedChain "malformed_chain" Target Dropped "On a target: a chain whose length, count or addresses contradict each other."
    36 AgentHopLimit "hop_limit" Target Dropped "On a target: a chain by which the packet would be handed on more than twice."
    37 AgentUnknownPeer "unknown_peer" Target Dropped "On a target: handed on by a host, or to be handed on to one, that is not a known peer."
    38 AgentMartian "martian_client" Target Dropped "On a target: the inner packet's source is no client's address."
    39 AgentHandedOn "handed_on" Target Answered "On a target: no socket here has the packet, so the next target of its chain got it."
    40 AgentNoNextHop "no_peer_next_hop" Target Dropped "On a target: the route or neighbour of the next target of the chain is unknown."
    41 AgentUnclaimed "unclaimed" Target Passed "On a target: no socket here has the packet, and its chain has no next target: delivered, so that the kernel resets it."
    42 AgentProbeAnswered "probe_answered" Target Answered "On a target: a node asked whether there is an agent."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_names_are_unique() {
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }
}
