//! UPDATEs as they are received: ignored, for this speaker takes no routes, but checked as RFC 7606 says, so that
//! an operator hears of a router that sends nonsense.
//!
//! Nothing but prefixes that can't be told apart ends the session; an error within an attribute makes the routes as
//! if withdrawn, or the attribute as if it were not there. Either is only counted here.

use std::fmt;
use std::net::Ipv4Addr;

use super::cursor::Cursor;
use super::{ErrorCode, Violation, family};
use crate::announce::bgp::Family;

/// What matters of a session when its UPDATEs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Numbers in AS_PATH have four bytes.
    pub four_octet_as: bool,
    /// The router is of the same AS.
    pub is_internal: bool,
}

/// What an UPDATE turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Well formed.
    Fine,
    /// Attributes are wrong that don't matter; the first of them.
    AttributeDiscarded(Fault),
    /// Its routes can't be used; the first reason.
    TreatedAsWithdraw(Fault),
}

/// What is wrong with an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The error that RFC 4271 has for it.
    pub error: ErrorCode,
    /// The attribute's type.
    pub attribute: u8,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in attribute {}", self.error, self.attribute)
    }
}

/// Checks the body of an UPDATE.
///
/// # Errors
/// When its parts, or the prefixes in them, can't be told apart: then the session must end.
pub fn check(body: &[u8], context: Context) -> Result<Received, Violation> {
    let mut cursor = Cursor(body);
    let withdrawn = field(&mut cursor).ok_or_else(|| malformed("the withdrawn routes are longer than it"))?;
    let attributes = field(&mut cursor).ok_or_else(|| malformed("the attributes are longer than it"))?;
    let announced = cursor.0;
    for prefixes in [withdrawn, announced] {
        if !are_prefixes(prefixes, 32) {
            return Err(Violation::new(ErrorCode::NETWORK_FIELD, "prefixes of an UPDATE can't be read"));
        }
    }
    let mut survey = Survey::new(context);
    survey.attributes(attributes)?;
    survey.mandatory(!announced.is_empty());
    Ok(survey.received())
}

fn malformed(detail: &str) -> Violation {
    Violation::new(ErrorCode::ATTRIBUTE_LIST, format!("an UPDATE cannot be divided: {detail}"))
}

/// Bytes after their length in two bytes.
fn field<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let length = cursor.u16()?;
    cursor.take(length.into())
}

/// Whether bytes are prefixes of an address with `bits` bits.
fn are_prefixes(bytes: &[u8], bits: u8) -> bool {
    let mut cursor = Cursor(bytes);
    while let Some(length) = cursor.u8() {
        if length > bits || cursor.take(usize::from(length.div_ceil(8))).is_none() {
            return false;
        }
    }
    true
}

const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;
const PARTIAL: u8 = 0x20;
const EXTENDED_LENGTH: u8 = 0x10;

const ORIGIN: u8 = 1;
const AS_PATH: u8 = 2;
const NEXT_HOP: u8 = 3;
const MULTI_EXIT_DISC: u8 = 4;
const LOCAL_PREF: u8 = 5;
const ATOMIC_AGGREGATE: u8 = 6;
const AGGREGATOR: u8 = 7;
const COMMUNITIES: u8 = 8;
const ORIGINATOR_ID: u8 = 9;
const CLUSTER_LIST: u8 = 10;
const MP_REACH_NLRI: u8 = 14;
const MP_UNREACH_NLRI: u8 = 15;
const EXTENDED_COMMUNITIES: u8 = 16;
const LARGE_COMMUNITIES: u8 = 32;

/// What an error in an attribute makes of the UPDATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Approach {
    Discard,
    Withdraw,
}

/// One attribute.
struct Attribute<'a> {
    flags: u8,
    kind: u8,
    value: &'a [u8],
}

/// The attributes met so far, and the worst that was wrong.
struct Survey {
    context: Context,
    seen: [bool; 256],
    discarded: Option<Fault>,
    withdrawn: Option<Fault>,
}

impl Survey {
    fn new(context: Context) -> Survey {
        Survey { context, seen: [false; 256], discarded: None, withdrawn: None }
    }

    fn attributes(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let mut cursor = Cursor(bytes);
        while !cursor.is_empty() {
            let kind = cursor.0.get(1).copied().unwrap_or_default();
            let Some(attribute) = attribute(&mut cursor) else {
                // RFC 7606 §4: what follows can't be told apart, the prefixes beside it can.
                self.fault(Approach::Withdraw, ErrorCode::ATTRIBUTE_LENGTH, kind);
                return Ok(());
            };
            self.attribute(&attribute)?;
        }
        Ok(())
    }

    fn attribute(&mut self, attribute: &Attribute<'_>) -> Result<(), Violation> {
        let kind = attribute.kind;
        if std::mem::replace(&mut self.seen[usize::from(kind)], true) {
            // Of others than these the first one counts (RFC 7606 §3 g).
            if [MP_REACH_NLRI, MP_UNREACH_NLRI].contains(&kind) {
                return Err(malformed("MP_REACH_NLRI or MP_UNREACH_NLRI is there twice"));
            }
            self.fault(Approach::Discard, ErrorCode::ATTRIBUTE_LIST, kind);
            return Ok(());
        }
        match kind {
            MP_REACH_NLRI => self.reach(attribute.value)?,
            MP_UNREACH_NLRI => unreach(attribute.value)?,
            _ => {}
        }
        if !has_right_flags(attribute) {
            self.fault(Approach::Withdraw, ErrorCode::ATTRIBUTE_FLAGS, kind);
            return Ok(());
        }
        if let Some((approach, error)) = self.judge(kind, attribute.value) {
            self.fault(approach, error, kind);
        }
        Ok(())
    }

    /// The error in a value and what it makes of the UPDATE (RFC 7606 §7).
    fn judge(&self, kind: u8, value: &[u8]) -> Option<(Approach, ErrorCode)> {
        use Approach::{Discard, Withdraw};
        let is_external = !self.context.is_internal;
        let length_is =
            |approach, is_right: bool| (!is_right).then_some((approach, ErrorCode::ATTRIBUTE_LENGTH));
        let list_of =
            |size: usize| length_is(Withdraw, !value.is_empty() && value.len().is_multiple_of(size));
        match kind {
            ORIGIN if value.len() == 1 => (value[0] > 2).then_some((Withdraw, ErrorCode::ORIGIN)),
            ORIGIN => length_is(Withdraw, false),
            AS_PATH => (!self.is_as_path(value)).then_some((Withdraw, ErrorCode::AS_PATH)),
            NEXT_HOP | MULTI_EXIT_DISC => length_is(Withdraw, value.len() == 4),
            LOCAL_PREF | ORIGINATOR_ID | CLUSTER_LIST if is_external => {
                Some((Discard, ErrorCode::OPTIONAL_ATTRIBUTE))
            }
            LOCAL_PREF | ORIGINATOR_ID => length_is(Withdraw, value.len() == 4),
            ATOMIC_AGGREGATE => length_is(Discard, value.is_empty()),
            AGGREGATOR => length_is(Discard, value.len() == if self.context.four_octet_as { 8 } else { 6 }),
            COMMUNITIES | CLUSTER_LIST => list_of(4),
            EXTENDED_COMMUNITIES => list_of(8),
            LARGE_COMMUNITIES => list_of(12),
            _ => None,
        }
    }

    fn is_as_path(&self, value: &[u8]) -> bool {
        let size = if self.context.four_octet_as { 4 } else { 2 };
        let mut cursor = Cursor(value);
        while !cursor.is_empty() {
            let segment = (|| {
                let (kind, count) = (cursor.u8()?, cursor.u8()?);
                let numbers = cursor.take(usize::from(count) * size)?;
                // Sets and sequences, also within a confederation (RFC 5065); AS 0 is nobody's (RFC 7607).
                let is_right = (1..=4).contains(&kind) && count > 0;
                (is_right && numbers.chunks(size).all(|number| number.iter().any(|byte| *byte != 0)))
                    .then_some(())
            })();
            if segment.is_none() {
                return false;
            }
        }
        true
    }

    /// The family and the prefixes; a next hop of a wrong length makes the prefixes unfindable.
    fn reach(&mut self, value: &[u8]) -> Result<(), Violation> {
        let unreadable = || Violation::new(ErrorCode::OPTIONAL_ATTRIBUTE, "MP_REACH_NLRI can't be read");
        let mut cursor = Cursor(value);
        let fields = (|| {
            let (afi, safi, length) = (cursor.u16()?, cursor.u8()?, cursor.u8()?);
            let (hop, _reserved) = (cursor.take(length.into())?, cursor.u8()?);
            Some((family(afi, safi), hop))
        })();
        let (family, hop) = fields.ok_or_else(unreadable)?;
        let Some(family) = family else { return Ok(()) };
        let lengths: &[usize] = match family {
            Family::Ipv4 => &[4, 16, 32],
            Family::Ipv6 => &[16, 32],
        };
        if !lengths.contains(&hop.len()) || !are_prefixes(cursor.0, bits(family)) {
            return Err(unreadable());
        }
        if hop == Ipv4Addr::UNSPECIFIED.octets() {
            self.fault(Approach::Withdraw, ErrorCode::NEXT_HOP, MP_REACH_NLRI);
        }
        Ok(())
    }

    /// What every announcement must have (RFC 4271 §6.3, RFC 7606 §3 d).
    fn mandatory(&mut self, has_classic: bool) {
        let has = |kind: u8| self.seen[usize::from(kind)];
        if !has_classic && !has(MP_REACH_NLRI) {
            return;
        }
        let always = [ORIGIN, AS_PATH].into_iter();
        let classic = has_classic.then_some(NEXT_HOP);
        let internal = self.context.is_internal.then_some(LOCAL_PREF);
        let missing = always.chain(classic).chain(internal).find(|kind| !has(*kind));
        if let Some(kind) = missing {
            self.fault(Approach::Withdraw, ErrorCode::MISSING_WELL_KNOWN, kind);
        }
    }

    fn fault(&mut self, approach: Approach, error: ErrorCode, attribute: u8) {
        let place = match approach {
            Approach::Discard => &mut self.discarded,
            Approach::Withdraw => &mut self.withdrawn,
        };
        place.get_or_insert(Fault { error, attribute });
    }

    fn received(self) -> Received {
        match (self.withdrawn, self.discarded) {
            (Some(fault), _) => Received::TreatedAsWithdraw(fault),
            (None, Some(fault)) => Received::AttributeDiscarded(fault),
            (None, None) => Received::Fine,
        }
    }
}

fn attribute<'a>(cursor: &mut Cursor<'a>) -> Option<Attribute<'a>> {
    let (flags, kind) = (cursor.u8()?, cursor.u8()?);
    let length = if flags & EXTENDED_LENGTH == 0 { cursor.u8()?.into() } else { cursor.u16()? };
    Some(Attribute { flags, kind, value: cursor.take(length.into())? })
}

/// Whether the flags are those that the type has; of an unknown type, that it is not well-known.
fn has_right_flags(attribute: &Attribute<'_>) -> bool {
    let flags = attribute.flags & (OPTIONAL | TRANSITIVE);
    let partial = attribute.flags & PARTIAL != 0;
    match attribute.kind {
        ORIGIN | AS_PATH | NEXT_HOP | LOCAL_PREF | ATOMIC_AGGREGATE => flags == TRANSITIVE && !partial,
        MULTI_EXIT_DISC | ORIGINATOR_ID | CLUSTER_LIST | MP_REACH_NLRI | MP_UNREACH_NLRI => {
            flags == OPTIONAL && !partial
        }
        AGGREGATOR | COMMUNITIES | EXTENDED_COMMUNITIES | LARGE_COMMUNITIES => flags == OPTIONAL | TRANSITIVE,
        _ => flags & OPTIONAL != 0,
    }
}

fn bits(family: Family) -> u8 {
    match family {
        Family::Ipv4 => 32,
        Family::Ipv6 => 128,
    }
}

fn unreach(value: &[u8]) -> Result<(), Violation> {
    let unreadable = || Violation::new(ErrorCode::OPTIONAL_ATTRIBUTE, "MP_UNREACH_NLRI can't be read");
    let mut cursor = Cursor(value);
    let fields = (|| Some((cursor.u16()?, cursor.u8()?)))();
    let (afi, safi) = fields.ok_or_else(unreadable)?;
    match family(afi, safi) {
        Some(family) if !are_prefixes(cursor.0, bits(family)) => Err(unreadable()),
        _ => Ok(()),
    }
}
