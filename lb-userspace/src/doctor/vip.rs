//! The commands by which a target gets a VIP.

use std::net::IpAddr;

/// The command by which a target holds the VIP on its loopback, not as a source of what it sends itself: so does
/// the agent.
pub(super) fn hold(vip: IpAddr) -> String {
    if vip.is_ipv4() {
        format!("ip address add {vip}/32 dev lo scope host")
    } else {
        format!("ip address add {vip}/128 dev lo nodad preferred_lft 0")
    }
}
