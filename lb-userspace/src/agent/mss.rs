//! How large the TCP segments may be that servers on the target offer to take.
//!
//! A client's full segment must fit the way from node to target with the encapsulation around it. How much the way
//! carries, the target can't know; it takes its own interface's MTU for it. Where the way carries less, say so in
//! bytes, or leave it to the node, which tells clients by ICMP.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::Context;
use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use lb_common::packet::mss::{MSS_LIMITS, MssLimits, OuterVersion, SMALLEST_LIMIT};
use serde::Deserialize;
use tracing::info;

use super::addresses::Link;

/// What becomes of the maximum segment sizes that servers offer for a VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum MssClamp {
    /// They are lowered to what fits the interface's MTU in the largest encapsulation: a GUE header with a chain takes
    /// 44 bytes from nodes that send over IPv4, 88 if one of them does over IPv6.
    #[default]
    Auto,
    /// They stay.
    Off,
    /// They are lowered to so many bytes, 88 or more, over IPv4 and IPv6.
    Bytes(u16),
}

/// Neither of the three.
#[derive(Debug, thiserror::Error)]
#[error("expected `auto`, `off`, or bytes from {SMALLEST_LIMIT} to 65535, found `{0}`")]
pub struct MssClampError(String);

impl MssClamp {
    /// The limits for an interface with this MTU (bytes of an IP packet); none if sizes stay.
    pub(super) fn limits(self, mtu: u32, outer: OuterVersion) -> Option<MssLimits> {
        match self {
            MssClamp::Auto => Some(MssLimits::of_mtu(mtu, outer)),
            MssClamp::Off => None,
            MssClamp::Bytes(bytes) => Some(MssLimits::new(bytes, bytes)),
        }
    }
}

impl FromStr for MssClamp {
    type Err = MssClampError;

    fn from_str(text: &str) -> Result<MssClamp, MssClampError> {
        match text {
            "auto" => Ok(MssClamp::Auto),
            "off" => Ok(MssClamp::Off),
            _ => match text.parse() {
                Ok(bytes) if bytes >= SMALLEST_LIMIT => Ok(MssClamp::Bytes(bytes)),
                _ => Err(MssClampError(text.to_owned())),
            },
        }
    }
}

impl TryFrom<String> for MssClamp {
    type Error = MssClampError;

    fn try_from(text: String) -> Result<MssClamp, MssClampError> {
        text.parse()
    }
}

impl fmt::Display for MssClamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MssClamp::Auto => f.write_str("auto"),
            MssClamp::Off => f.write_str("off"),
            MssClamp::Bytes(bytes) => write!(f, "{bytes}"),
        }
    }
}

/// The limits that the program goes by, to be kept current.
pub(super) struct Segments {
    map: HashMap<MapData, u32, u32>,
    clamp: MssClamp,
    outer: OuterVersion,
    /// Names and limits of the interfaces that have the program, by index.
    interfaces: BTreeMap<u32, (String, Option<MssLimits>)>,
}

impl Segments {
    /// Writes the limits for what leaves by these interfaces; none, if sizes stay.
    pub(super) fn new(
        ebpf: &mut Ebpf,
        clamp: MssClamp,
        outer: OuterVersion,
        links: &[&Link],
    ) -> anyhow::Result<Segments> {
        let interfaces = if clamp == MssClamp::Off { &[] } else { links };
        let map = ebpf.take_map(MSS_LIMITS).context("the program has no map of segment sizes")?;
        let interfaces = interfaces.iter().map(|link| (link.index, (link.name.clone(), None))).collect();
        let mut segments = Segments { map: HashMap::try_from(map)?, clamp, outer, interfaces };
        links.iter().try_for_each(|link| segments.set(link))?;
        Ok(segments)
    }

    /// Makes the limits those of the links' MTUs now.
    pub(super) fn refresh(&mut self, links: &[Link]) -> anyhow::Result<()> {
        links.iter().try_for_each(|link| self.set(link))
    }

    fn set(&mut self, link: &Link) -> anyhow::Result<()> {
        let limits = self.clamp.limits(link.mtu, self.outer);
        let Some((name, written)) = self.interfaces.get_mut(&link.index) else { return Ok(()) };
        if let Some(limits) = limits.filter(|limits| *written != Some(*limits)) {
            self.map
                .insert(link.index, limits.0, 0)
                .with_context(|| format!("limiting the segments offered on {name}"))?;
            *written = Some(limits);
            let (v4, v6) = (limits.of_version(4), limits.of_version(6));
            info!("{name}: servers offer TCP segments of {v4} bytes at most, over IPv6 {v6}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for clamp in [MssClamp::Auto, MssClamp::Off, MssClamp::Bytes(88), MssClamp::Bytes(65535)] {
            assert_eq!(clamp.to_string().parse::<MssClamp>().unwrap(), clamp);
        }
        for wrong in ["", "87", "65536", "-1", "on", "1400 "] {
            assert!(wrong.parse::<MssClamp>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn limits_follow_the_mtu_unless_they_are_given() {
        let limits = |clamp: MssClamp, outer| clamp.limits(1500, outer);
        assert_eq!(limits(MssClamp::Auto, OuterVersion::V4), Some(MssLimits::new(1416, 1396)));
        assert_eq!(limits(MssClamp::Auto, OuterVersion::V6), Some(MssLimits::new(1372, 1352)));
        assert_eq!(limits(MssClamp::Bytes(1300), OuterVersion::V6), Some(MssLimits::new(1300, 1300)));
        assert_eq!(limits(MssClamp::Off, OuterVersion::V4), None);
    }
}
