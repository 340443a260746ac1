//! OPEN (RFC 4271 §4.2) with capabilities (RFC 5492): who one is and what one can do.
//!
//! Graceful Restart (RFC 4724, code 64) is a capability that there is no way to offer: under it a router keeps the
//! routes of a node that died.

use std::net::Ipv4Addr;

use super::cursor::Cursor;
use super::{ErrorCode, UNICAST, Violation, afi, family};
use crate::announce::bgp::speaker::AS_TRANS;
use crate::announce::bgp::{Families, Family};

const VERSION: u8 = 4;

/// The only kind of optional parameter.
const CAPABILITIES: u8 = 2;
/// As the first parameter's type and the parameters' length: longer lengths follow (RFC 9072).
const EXTENDED: u8 = 255;

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const FOUR_OCTET_AS: u8 = 65;

/// An OPEN message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The sender's AS number.
    pub autonomous_system: u32,
    /// The sender's hold time in seconds: 0, or 3 to 65535.
    pub hold_time: u16,
    /// The sender's BGP identifier.
    pub router_id: Ipv4Addr,
    /// What the sender can do.
    pub capabilities: Capabilities,
}

/// What a speaker can do, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// The families that it exchanges; IPv4 alone where it names none at all (RFC 4760 §8).
    pub families: Families,
    /// It answers ROUTE-REFRESH.
    pub route_refresh: bool,
    /// AS numbers have four bytes in AS_PATH (RFC 6793).
    pub four_octet_as: bool,
    /// IPv4 routes may have IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
}

impl Open {
    /// Reads a message's body.
    pub(super) fn read(body: &[u8]) -> Result<Open, Violation> {
        let mut cursor = Cursor(body);
        let (fixed, parameters) = Open::read_fixed(&mut cursor)
            .ok_or_else(|| Violation::new(ErrorCode::OPEN, "the OPEN message ends too early"))?;
        let [version, as_high, as_low, hold_high, hold_low, id @ ..] = fixed;
        if version != VERSION {
            let detail = format!("BGP version {version} instead of {VERSION}");
            return Err(Violation::with_data(ErrorCode::VERSION, vec![0, VERSION], detail));
        }
        let mut found = Found::default();
        read_parameters(parameters, &mut found)?;
        let old = u32::from(u16::from_be_bytes([as_high, as_low]));
        let open = Open {
            autonomous_system: found.four_octet_as.unwrap_or(old),
            hold_time: u16::from_be_bytes([hold_high, hold_low]),
            router_id: Ipv4Addr::from(id),
            capabilities: found.capabilities(),
        };
        open.validate().map(|()| open)
    }

    /// The fixed fields before the optional parameters, and these without their length.
    fn read_fixed<'a>(cursor: &mut Cursor<'a>) -> Option<([u8; 9], Parameters<'a>)> {
        let fixed = cursor.array()?;
        let length = cursor.u8()?;
        if length == EXTENDED && cursor.0.first() == Some(&EXTENDED) {
            cursor.u8()?;
            let length = cursor.u16()?;
            let bytes = cursor.take(length.into())?;
            return cursor.is_empty().then_some((fixed, Parameters { bytes, is_extended: true }));
        }
        let bytes = cursor.take(length.into())?;
        cursor.is_empty().then_some((fixed, Parameters { bytes, is_extended: false }))
    }

    fn validate(&self) -> Result<(), Violation> {
        if self.autonomous_system == 0 {
            return Err(Violation::new(ErrorCode::BAD_PEER_AS, "AS 0 is nobody's (RFC 7607)"));
        }
        if matches!(self.hold_time, 1 | 2) {
            let detail = format!("a hold time of {} s; 0, or 3 s and more, can be", self.hold_time);
            return Err(Violation::new(ErrorCode::HOLD_TIME, detail));
        }
        if self.router_id.is_unspecified() {
            return Err(Violation::new(ErrorCode::BAD_IDENTIFIER, "the identifier 0.0.0.0"));
        }
        Ok(())
    }

    /// Each capability in a parameter of its own, which every router reads.
    pub(super) fn write(&self, body: &mut Vec<u8>) {
        let old = u16::try_from(self.autonomous_system).unwrap_or(AS_TRANS);
        body.push(VERSION);
        body.extend(old.to_be_bytes());
        body.extend(self.hold_time.to_be_bytes());
        body.extend(self.router_id.octets());
        let parameters = self.capabilities.write(self.autonomous_system);
        body.push(u8::try_from(parameters.len()).expect("five short capabilities"));
        body.extend(parameters);
    }
}

impl Capabilities {
    fn write(&self, autonomous_system: u32) -> Vec<u8> {
        let mut parameters = Vec::new();
        let mut capability = |code, value: &[u8]| {
            let length = u8::try_from(value.len()).expect("a short value");
            parameters.extend([CAPABILITIES, length + 2, code, length]);
            parameters.extend(value);
        };
        for family in self.families.iter() {
            let [high, low] = afi(family).to_be_bytes();
            capability(MULTIPROTOCOL, &[high, low, 0, UNICAST]);
        }
        if self.route_refresh {
            capability(ROUTE_REFRESH, &[]);
        }
        if self.extended_next_hop {
            capability(EXTENDED_NEXT_HOP, &IPV4_OVER_IPV6);
        }
        if self.four_octet_as {
            capability(FOUR_OCTET_AS, &autonomous_system.to_be_bytes());
        }
        parameters
    }
}

/// IPv4 unicast routes with IPv6 next hops: AFI, SAFI (two bytes here) and the next hop's AFI.
const IPV4_OVER_IPV6: [u8; 6] = [0, 1, 0, UNICAST, 0, 2];

struct Parameters<'a> {
    bytes: &'a [u8],
    is_extended: bool,
}

fn read_parameters(parameters: Parameters<'_>, found: &mut Found) -> Result<(), Violation> {
    let short = || Violation::new(ErrorCode::OPEN, "an optional parameter ends too early");
    let mut cursor = Cursor(parameters.bytes);
    while !cursor.is_empty() {
        let kind = cursor.u8().ok_or_else(short)?;
        let length = if parameters.is_extended { cursor.u16() } else { cursor.u8().map(u16::from) };
        let value = length.and_then(|length| cursor.take(length.into())).ok_or_else(short)?;
        if kind != CAPABILITIES {
            let detail = format!("optional parameter {kind}; only capabilities (2) are known");
            return Err(Violation::new(ErrorCode::OPTIONAL_PARAMETER, detail));
        }
        found.read(value).ok_or_else(|| Violation::new(ErrorCode::OPEN, "a capability ends too early"))?;
    }
    Ok(())
}

/// The capabilities met so far.
#[derive(Default)]
struct Found {
    families: Families,
    has_multiprotocol: bool,
    four_octet_as: Option<u32>,
    route_refresh: bool,
    extended_next_hop: bool,
}

impl Found {
    /// None if a capability ends too early; one with a value that it can't have is as if it were not there (RFC
    /// 5492 leaves it to the receiver).
    fn read(&mut self, value: &[u8]) -> Option<()> {
        let mut cursor = Cursor(value);
        while !cursor.is_empty() {
            let (code, length) = (cursor.u8()?, cursor.u8()?);
            let value = cursor.take(length.into())?;
            self.capability(code, value);
        }
        Some(())
    }

    fn capability(&mut self, code: u8, value: &[u8]) {
        match (code, value) {
            (MULTIPROTOCOL, &[high, low, _, safi]) => {
                self.has_multiprotocol = true;
                match family(u16::from_be_bytes([high, low]), safi) {
                    Some(Family::Ipv4) => self.families.ipv4 = true,
                    Some(Family::Ipv6) => self.families.ipv6 = true,
                    None => {}
                }
            }
            (ROUTE_REFRESH, []) => self.route_refresh = true,
            (EXTENDED_NEXT_HOP, value) => {
                self.extended_next_hop |= value.as_chunks::<6>().0.contains(&IPV4_OVER_IPV6);
            }
            (FOUR_OCTET_AS, &[a, b, c, d]) => self.four_octet_as = Some(u32::from_be_bytes([a, b, c, d])),
            _ => {}
        }
    }

    fn capabilities(&self) -> Capabilities {
        let only_ipv4 = Families { ipv4: true, ipv6: false };
        Capabilities {
            families: if self.has_multiprotocol { self.families } else { only_ipv4 },
            route_refresh: self.route_refresh,
            four_octet_as: self.four_octet_as.is_some(),
            extended_next_hop: self.extended_next_hop,
        }
    }
}
