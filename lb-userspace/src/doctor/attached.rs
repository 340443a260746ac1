//! Is the program on its interface, as its owner says, and how? Pure; the same on nodes and targets.

use super::finding::{Cause, Finding};
use crate::next_hop::Interface;

/// What the program's owner says.
pub(super) struct Attached<'a> {
    /// `balancer` or `agent`.
    pub(super) program: &'a str,
    /// The interface's name.
    pub(super) name: &'a str,
    /// The program's id.
    pub(super) program_id: u32,
    /// Whether it runs in the driver.
    pub(super) is_native: bool,
    /// Why not, in the kernel's words.
    pub(super) fallback_reason: Option<&'a str>,
    /// How its owner is started anew.
    pub(super) restart: &'a str,
}

impl Attached<'_> {
    /// What is to be said of it, given the kernel's view of the interface; none if there is no such interface.
    pub(super) fn judge(&self, interface: Option<&Interface>) -> Finding {
        let Attached { program, name, restart, .. } = self;
        let Some(interface) = interface else {
            let what = format!("it is gone, and the {program} with it");
            return self.finding(Cause::InterfaceDown, what, format!("when it is back, {restart}"));
        };
        if !interface.up {
            let mend = format!("ip link set dev {name} up (or see to its cable)");
            return self.finding(Cause::InterfaceDown, "it is down, or has no carrier".to_owned(), mend);
        }
        match interface.xdp_program {
            Some(id) if id == self.program_id && self.is_native => {
                Finding::sound(self.object(), format!("up, the {program} in native XDP (program {id})"))
            }
            Some(id) if id == self.program_id => self.generic(),
            Some(id) => {
                let what = format!("XDP program {id} is on it, not the {program}'s {}", self.program_id);
                self.finding(
                    Cause::XdpMissing,
                    what,
                    format!("ip link set dev {name} xdp off, then {restart}"),
                )
            }
            None => {
                let what = format!("the {program} is not on it: what arrives there passes it by");
                self.finding(Cause::XdpMissing, what, (*restart).to_owned())
            }
        }
    }

    fn generic(&self) -> Finding {
        let Attached { name, restart, .. } = self;
        let why = self.fallback_reason.map(|why| format!("; native was refused: {why}")).unwrap_or_default();
        let mend = format!(
            "ethtool -L {name} combined 1 (fewer queues), or ip link set dev {name} mtu 1500, as the kernel's words ask \
             for; then {restart}"
        );
        self.finding(Cause::XdpGeneric, format!("generic XDP, several times slower{why}"), mend)
    }

    fn finding(&self, cause: Cause, what: String, mend: String) -> Finding {
        Finding::new(cause, self.object(), what, mend)
    }

    fn object(&self) -> String {
        format!("interface {}", self.name)
    }
}
