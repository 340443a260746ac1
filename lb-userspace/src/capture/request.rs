//! Which packets are wanted, in names.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use lb_common::capture::{CaptureFilter, FORWARDED};
use lb_common::flow::{TCP, UDP};
use lb_common::{Reason, TargetId};
use serde::{Deserialize, Serialize};

use crate::model::TargetKey;

/// A capture that is asked for. What is missing is any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Source or destination: `ADDRESS` or `ADDRESS/LENGTH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Source or destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `tcp` or `udp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// `LOAD BALANCER:PORT`, with `/PROTOCOL` if the load balancer has several of that port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// A target's `ADDRESS`, or `TARGET GROUP/ADDRESS` if it is in several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `forwarded`, `passed`, `dropped`, `answered`, or the name of a reason; all that were named are wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<String>,
    /// One of so many packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<u32>,
}

/// A listener by what people call it.
#[derive(Debug, Clone, Copy)]
pub struct ListenerName<'a> {
    /// Its load balancer.
    pub load_balancer: &'a str,
    /// Its port, or `any`.
    pub port: &'a str,
    /// Its protocol.
    pub protocol: &'a str,
}

impl Request {
    /// The program's filter. `listeners` and `targets` are those that there are, with their numbers.
    ///
    /// # Errors
    /// With what is wrong and what would be right.
    pub fn filter<'a>(
        &self,
        listeners: impl Iterator<Item = (u16, ListenerName<'a>)>,
        targets: impl Iterator<Item = (TargetId, &'a TargetKey)>,
    ) -> Result<CaptureFilter> {
        let (address, address_mask) = self.address.as_deref().map_or(Ok(Default::default()), prefix)?;
        Ok(CaptureFilter {
            verdicts: verdicts(&self.verdicts)?,
            address_mask,
            address,
            sample: self.sample.unwrap_or(1),
            port: self.port.unwrap_or(0).to_be(),
            listener: self.listener.as_deref().map_or(Ok(0), |name| listener(name, listeners))?,
            target: self.target.as_deref().map_or(Ok(0), |name| target(name, targets))?,
            protocol: match self.protocol.as_deref() {
                None => 0,
                Some("tcp") => u16::from(TCP),
                Some("udp") => u16::from(UDP),
                Some(other) => bail!("there is no protocol `{other}`: `tcp` and `udp` are known"),
            },
            reserved: 0,
        })
    }
}

/// Address and mask as the program compares them.
fn prefix(text: &str) -> Result<([u32; 4], [u32; 4])> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().with_context(|| format!("`{address}` is no address"))?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(whole), str::parse).ok().filter(|length| *length <= whole);
    let length: u32 =
        length.with_context(|| format!("`{text}`: a prefix of this family has 0 to {whole} bits"))?;
    let octets = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let mask = u128::MAX.checked_shl(whole - length).unwrap_or(0);
    Ok((words(u128::from(octets) & mask), words(mask)))
}

fn words(bits: u128) -> [u32; 4] {
    let bytes = bits.to_be_bytes();
    std::array::from_fn(|at| {
        u32::from_ne_bytes([bytes[4 * at], bytes[4 * at + 1], bytes[4 * at + 2], bytes[4 * at + 3]])
    })
}

fn verdicts(names: &[String]) -> Result<u64> {
    if names.is_empty() {
        return Ok(u64::MAX);
    }
    let on_node = || Reason::ALL.iter().filter(|reason| reason.is_on_node());
    names.iter().try_fold(0, |bits, name| {
        let wanted = on_node().filter(|reason| reason.name() == name || reason.verdict().as_str() == name);
        let found = wanted.fold(0, |bits, reason| bits | 1 << *reason as u8);
        let found = if name == "forwarded" { FORWARDED } else { found };
        ensure!(
            found != 0,
            "there is no verdict or reason `{name}`; there are: forwarded, passed, dropped, answered, {}",
            on_node().map(|reason| reason.name()).collect::<Vec<_>>().join(", ")
        );
        Ok(bits | found)
    })
}

fn listener<'a>(wanted: &str, listeners: impl Iterator<Item = (u16, ListenerName<'a>)>) -> Result<u16> {
    let all: Vec<(u16, String, String)> = listeners
        .map(|(counter, name)| {
            let short = format!("{}:{}", name.load_balancer, name.port);
            (counter, format!("{short}/{}", name.protocol), short)
        })
        .collect();
    let found: Vec<_> = all
        .iter()
        .filter(|(_, full, short)| full.eq_ignore_ascii_case(wanted) || short.eq_ignore_ascii_case(wanted))
        .collect();
    match found.as_slice() {
        [(counter, ..)] => Ok(*counter),
        [] => bail!("there is no listener `{wanted}`; there are: {}", joined(all.iter().map(|one| &one.1))),
        several => bail!("`{wanted}` are several: name one of {}", joined(several.iter().map(|one| &one.1))),
    }
}

fn target<'a>(wanted: &str, targets: impl Iterator<Item = (TargetId, &'a TargetKey)>) -> Result<u16> {
    let all: Vec<(u16, String, String)> =
        targets.map(|(id, key)| (id.0, key.to_string(), key.address.to_string())).collect();
    let found: Vec<_> = all.iter().filter(|(_, full, short)| full == wanted || short == wanted).collect();
    match found.as_slice() {
        [(id, ..)] => Ok(*id),
        [] => bail!("there is no target `{wanted}`; `sluice status` names those that there are"),
        several => bail!(
            "`{wanted}` is in several target groups: name one of {}",
            joined(several.iter().map(|one| &one.1))
        ),
    }
}

fn joined<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.cloned().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(request: Request) -> Result<CaptureFilter> {
        let name = |protocol| ListenerName { load_balancer: "web", port: "80", protocol };
        let key = |group: &str| TargetKey { target_group: group.to_owned(), address: [10, 0, 0, 1].into() };
        let (one, other) = (key("a"), key("b"));
        request.filter(
            [(1, name("TCP")), (2, name("UDP"))].into_iter(),
            [(TargetId(7), &one), (TargetId(8), &other)].into_iter(),
        )
    }

    fn refused(request: Request) -> String {
        format!("{:#}", filter(request).unwrap_err())
    }

    #[test]
    fn names_become_numbers() {
        let some = |text: &str| Some(text.to_owned());
        let wanted =
            Request { listener: some("web:80/udp"), target: some("b/10.0.0.1"), ..Request::default() };
        let found = filter(wanted).unwrap();
        assert_eq!((found.listener, found.target, found.verdicts), (2, 8, u64::MAX));
        let dropped =
            Request { verdicts: vec!["dropped".into(), "echo_answered".into()], ..Request::default() };
        let bits = filter(dropped).unwrap().verdicts;
        assert!(bits & 1 << Reason::TooBig as u8 != 0 && bits & 1 << Reason::EchoAnswered as u8 != 0);
        assert!(bits & FORWARDED == 0 && bits & 1 << Reason::NotOurs as u8 == 0);
    }

    #[test]
    fn prefixes_of_both_families_are_masked() {
        let found = prefix("10.1.2.3/8").unwrap();
        assert_eq!(found, (words(0xffff_0a00_0000), words(u128::MAX << 24)));
        assert_eq!(prefix("fd01::1").unwrap().1, [!0; 4]);
        assert_eq!(prefix("::/0").unwrap(), ([0; 4], [0; 4]));
    }

    #[test]
    fn what_can_not_be_meant_is_refused_with_what_can() {
        let some = |text: &str| Some(text.to_owned());
        let with = |verdict: &str| Request { verdicts: vec![verdict.to_owned()], ..Request::default() };
        assert!(refused(with("lost")).contains("forwarded, passed, dropped"));
        assert!(
            refused(Request { listener: some("web:80"), ..Request::default() })
                .contains("web:80/TCP, web:80/UDP")
        );
        assert!(
            refused(Request { listener: some("x"), ..Request::default() }).contains("there are: web:80/TCP")
        );
        assert!(
            refused(Request { target: some("10.0.0.1"), ..Request::default() })
                .contains("a/10.0.0.1, b/10.0.0.1")
        );
        assert!(refused(Request { address: some("10.0.0.0/33"), ..Request::default() }).contains("0 to 32"));
        assert!(refused(Request { protocol: some("sctp"), ..Request::default() }).contains("tcp"));
    }
}
