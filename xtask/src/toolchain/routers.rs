//! The router daemons that the speaker is tested against.
//!
//! Their packages bring services that would start at once, and at every boot: routers on a machine that nobody asked
//! to be one. They are masked before the package is there; the tests start the daemons themselves, each in a network
//! namespace.

use std::path::Path;

use anyhow::Result;

use super::apt;
use crate::invocation::{on_path, say, succeed};
use crate::privilege::Privilege;

/// A program, the Debian package that has it, and the package's service.
const ROUTERS: [(&str, &str, &str); 3] = [
    ("/usr/lib/frr/bgpd", "frr", "frr.service"),
    ("/usr/sbin/bird", "bird2", "bird.service"),
    ("/usr/bin/gobgpd", "gobgpd", "gobgpd.service"),
];

/// Makes sure that the daemons are there, and that those which had to be installed do not run by themselves.
pub(crate) fn ensure() -> Result<()> {
    let missing: Vec<_> = ROUTERS.iter().filter(|(program, ..)| !Path::new(program).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (program, package, service) in &missing {
        say(format_args!(
            "{program} is missing (Debian package {package}): BGP and BFD are tested against it; its {service} is \
             masked, `systemctl unmask {service}` undoes that"
        ));
    }
    mask(missing.iter().map(|(.., service)| *service))?;
    apt::install(&missing.iter().map(|(_, package, _)| *package).collect::<Vec<_>>())
}

/// Where there is no systemd, `apt` keeps services from starting.
fn mask<'a>(services: impl Iterator<Item = &'a str>) -> Result<()> {
    if on_path("systemctl").is_none() {
        return Ok(());
    }
    let mut command = Privilege::find("masking the routers' services")?.command("systemctl");
    succeed(command.args(["mask", "--quiet"]).args(services))
}
