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

macro_rules! reasons {
    ($($number:literal $variant:ident $name:literal $verdict:ident $description:literal)*) => {
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

            /// Whether the balancer can have it; the others are the agent's.
            pub const fn is_on_node(self) -> bool {
                (self as u8) < Reason::AgentNotTunnelled as u8
                    || self as u8 == Reason::AlreadyEncapsulated as u8
            }

            /// What it means, for people.
            pub const fn description(self) -> &'static str {
                match self { $(Reason::$variant => $description,)* }
            }
        }
    };
}

reasons! {
    0 NotIp "not_ip" Passed "The frame is neither IPv4 nor IPv6, such as ARP."
    1 OtherMac "other_mac" Passed "The frame is for another MAC address, or for many."
    2 NotOurs "not_ours" Passed "No listener has this address, protocol and port."
    3 MalformedEthernet "malformed_ethernet" Passed "The frame ends inside its Ethernet or VLAN header."
    4 MalformedIpv4 "malformed_ipv4" Passed "An IPv4 header that contradicts itself or the frame's length."
    5 MalformedIpv6 "malformed_ipv6" Passed "An IPv6 or extension header that contradicts itself or the frame's length."
    6 MalformedTransport "malformed_transport" Passed "The packet ends inside its TCP, UDP or ICMP header."
    7 Fragment "fragment" Passed "A fragment of a datagram; fragments are not balanced yet."
    8 ExtensionHeaders "extension_headers" Passed "More than six IPv6 extension headers."
    9 EchoAnswered "echo_answered" Answered "An echo request (ping) for a VIP."
    10 NoTarget "no_target" Dropped "The listener's target groups have no target that could take the flow."
    11 NoNextHop "no_next_hop" Dropped "The target's route or neighbour is unknown; see its next hop in the status."
    12 TooBig "too_big" Dropped "With its encapsulation the packet is bigger than the MTU towards the target."
    13 NoHeadroom "no_headroom" Dropped "The driver left no room before the packet for the encapsulation."
    14 NoTable "no_table" Dropped "The listener has no table: the controller is about to write it."
    15 AgentNotTunnelled "not_tunnelled" Passed "On a target: not a tunnel packet for this host."
    16 AgentMalformed "malformed_tunnel" Dropped "On a target: a tunnel packet whose inner packet is missing or contradicts itself."
    17 AgentUnknownNode "unknown_node" Dropped "On a target: a tunnel packet from a source that is not a known node."
    18 AgentUnknownVip "unknown_vip" Dropped "On a target: the inner packet is not for a VIP of this target."
    19 AgentDecapsulated "decapsulated" Passed "On a target: the inner packet was delivered."
    20 AgentNested "nested_tunnel" Dropped "On a target: the inner packet is a tunnel packet itself."
    21 AgentNotEcnCapable "not_ecn_capable" Dropped "On a target: the network marked congestion on a tunnel packet whose inner packet cannot carry the mark (RFC 6040)."
    22 AlreadyEncapsulated "already_encapsulated" Passed "A GUE packet (UDP port 6080) for a VIP: a listener of any port leaves it alone, or tunnels would be put into tunnels."
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
