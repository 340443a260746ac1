//! ROUTE-REFRESH (RFC 2918): a router whose policy changed asks for all routes of a family again.

use super::cursor::Cursor;
use super::{ErrorCode, UNICAST, Violation, afi, family};
use crate::announce::bgp::Family;

/// A request for all routes of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteRefresh {
    /// Which family.
    pub family: Family,
}

impl RouteRefresh {
    /// None where it is no request (the marks of RFC 7313 around an answer), or one for a family that is not known
    /// here: both are ignored.
    pub(super) fn read(body: &[u8]) -> Result<Option<RouteRefresh>, Violation> {
        let mut cursor = Cursor(body);
        let fields = (|| Some((cursor.u16()?, cursor.u8()?, cursor.u8()?)))();
        let Some((afi, subtype, safi)) = fields else {
            return Err(Violation::with_data(
                ErrorCode::ROUTE_REFRESH,
                body.to_vec(),
                format!("a ROUTE-REFRESH of {} bytes", body.len()),
            ));
        };
        // What follows is an outbound route filter (RFC 5291), which is not offered: routers don't send it.
        Ok(family(afi, safi).filter(|_| subtype == 0).map(|family| RouteRefresh { family }))
    }

    pub(super) fn write(self, body: &mut Vec<u8>) {
        body.extend(afi(self.family).to_be_bytes());
        body.extend([0, UNICAST]);
    }
}
