//! What the doctor can find: one stable name a cause, the same in the text, the JSON and the documentation.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It forwards, but slower, or not everything, or not for long.
    Warn,
    /// It does not forward.
    Fail,
}

macro_rules! causes {
    ($($variant:ident $name:literal $place:ident $level:ident $description:literal)*) => {
        /// A cause for not forwarding, or for none.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Cause {
            $(#[doc = $description] $variant,)*
        }

        impl Cause {
            /// All causes in the order of the documentation.
            pub const ALL: &'static [Cause] = &[$(Cause::$variant,)*];

            /// The name, which does not change.
            pub const fn name(self) -> &'static str {
                match self { $(Cause::$variant => $name,)* }
            }

            /// Where it is looked for.
            pub const fn place(self) -> Place {
                match self { $(Cause::$variant => Place::$place,)* }
            }

            /// How bad it is.
            pub const fn level(self) -> Level {
                match self { $(Cause::$variant => Level::$level,)* }
            }

            /// What it means, for people.
            pub const fn description(self) -> &'static str {
                match self { $(Cause::$variant => $description,)* }
            }
        }
    };
}

/// Where a cause is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On a node.
    Node,
    /// On a target.
    Target,
    /// On both.
    Both,
}

impl Place {
    /// The word for it in the documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Place::Node => "node",
            Place::Target => "target",
            Place::Both => "both",
        }
    }
}

causes! {
    Sound "sound" Both Ok "Nothing is wrong with this object."
    ControllerSilent "controller-silent" Node Fail "No controller answers: nothing is balanced, or nothing follows changes."
    ConfigurationRejected "configuration-rejected" Node Warn "The configuration file has errors, an earlier content of it is in force."
    ApiImpaired "api-impaired" Node Warn "The API does not have its address, its certificate or its credentials as they are configured."
    MapsStale "maps-stale" Node Fail "The last change could not be written to the maps: packets go by what was before."
    InterfaceDown "interface-down" Both Fail "An interface that packets arrive or leave by is down or gone."
    XdpMissing "xdp-missing" Both Fail "The balancer (the agent) is not, or no more, attached to its interface."
    XdpGeneric "xdp-generic" Both Warn "XDP runs behind the driver, several times slower."
    VipOnNode "vip-on-node" Node Warn "The node has a VIP as its own address: it answers ARP for it, and serves what no listener takes."
    NoTarget "no-target" Node Fail "A listener's target groups have no target."
    NoRoute "no-route" Node Fail "The node has no usable route to the target."
    NoNeighbour "no-neighbour" Node Fail "The target, or the router before it, does not answer ARP or neighbour discovery."
    TargetSilent "target-silent" Node Fail "The target answers nothing, neither through the tunnel nor directly."
    AgentMissing "agent-missing" Both Fail "Nothing on the target takes tunnel packets."
    SourceFiltered "source-filtered" Both Fail "The target's agent does not know the address that the node sends tunnel packets from."
    VipMissing "vip-missing" Both Fail "The target does not hold, or does not take packets for, the VIP."
    TunnelSilent "tunnel-silent" Node Fail "The target answers directly, but nothing that comes through the tunnel; why, only the target can tell."
    PortSilent "port-silent" Node Fail "The target answers on the VIP, but not on the listener's port."
    PortClosed "port-closed" Both Fail "Nothing on the target listens on the VIP's port."
    PathMtu "path-mtu" Node Fail "Packets that should fit the way to the target are lost on it."
    MtuSmall "mtu-small" Both Warn "A client's packet of 1500 bytes does not fit the way with its encapsulation."
    CheckFailed "check-failed" Node Fail "Packets come through the tunnel, but the target's health check fails."
    CheckStale "check-stale" Node Fail "The target's last health check is longer ago than its interval allows."
    NotProbed "not-probed" Node Warn "The node could not send a probe, so nothing is known of this part."
    ArpAnswered "arp-answered" Target Fail "The target answers ARP for a VIP: clients' packets would go past the nodes."
    RpFilter "rp-filter" Target Fail "The reverse-path filter drops clients' packets."
    RpFilterStrict "rp-filter-strict" Target Warn "The reverse-path filter is strict: it drops packets of clients whose way back is another interface."
    DropsRising "drops-rising" Both Warn "Packets are being dropped at this moment, for the reason that is told."
}

/// One thing that was looked at, and what it is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The cause's name.
    #[serde(serialize_with = "name")]
    pub cause: Cause,
    /// How bad it is.
    pub level: Level,
    /// What it is about: `target web/10.0.0.1`, `interface eth0`.
    pub object: String,
    /// What is wrong with it, or what speaks for it.
    pub what: String,
    /// The command that mends it, with what only people can know in capitals; none if nothing is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

fn name<S: serde::Serializer>(cause: &Cause, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(cause.name())
}

impl Finding {
    /// Something that is as it should be.
    pub fn sound(object: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding {
            cause: Cause::Sound,
            level: Level::Ok,
            object: object.into(),
            what: what.into(),
            mend: None,
        }
    }

    /// Something that is not.
    pub fn new(
        cause: Cause,
        object: impl Into<String>,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        Finding {
            cause,
            level: cause.level(),
            object: object.into(),
            what: what.into(),
            mend: Some(mend.into()),
        }
    }
}

/// Whether something does not forward.
pub fn any_failed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.level == Level::Fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_made_for_scripts() {
        for cause in Cause::ALL {
            let name = cause.name();
            assert_eq!(Cause::ALL.iter().filter(|other| other.name() == name).count(), 1, "{name}");
            assert!(name.chars().all(|char| char.is_ascii_lowercase() || char == '-'), "{name}");
        }
    }

    #[test]
    fn only_a_failure_fails() {
        let warning = Finding::new(Cause::MtuSmall, "interface eth0", "1500", "ip link");
        assert!(!any_failed(&[Finding::sound("interface eth0", "up"), warning]));
        assert!(any_failed(&[Finding::new(Cause::NoRoute, "target web/10.0.0.1", "none", "ip route")]));
    }
}
