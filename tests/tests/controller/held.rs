//! Connections that are held open, each with the target that it is on.

use anyhow::{Context, Result, ensure};
use lab::http::Connection;
use lab::{Lab, VIP4, VIP6};

/// Connections of the client to both VIPs.
pub(crate) struct Held(Vec<(Connection, String)>);

impl Held {
    /// Opens that many.
    pub(crate) fn open(lab: &Lab, count: usize) -> Result<Held> {
        let open = |number: usize| {
            let vip = if number.is_multiple_of(2) { VIP4.into() } else { VIP6.into() };
            let mut connection = lab.connect(vip)?;
            let target = connection.get()?.target;
            Ok((connection, target))
        };
        (0..count).map(open).collect::<Result<_>>().map(Held)
    }

    /// Asks on every connection again: its target must answer.
    pub(crate) fn expect_alive(&mut self) -> Result<()> {
        for (connection, target) in &mut self.0 {
            let from = connection.local_address()?;
            let answer = connection.get();
            let answer = answer.with_context(|| format!("the connection from {from} to {target} broke"))?;
            ensure!(answer.target == *target, "{from} moved from {target} to {}", answer.target);
        }
        Ok(())
    }
}
