//! The rtnetlink socket that asks, but for routes (`lookups`). The one that listens is in `notifications`.
//!
//! A socket belongs to the network namespace of the thread that opens it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Context;
use futures_util::{Stream, TryStreamExt};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::{Handle, NeighbourAddRequest};
use rustix::io::Errno;
use tokio::task::JoinSet;

use super::lookups::Lookups;
use super::neighbours::{Hop, PROTOCOL};
use super::route::RouteAnswer;
use crate::netlink::{RequestError, within_timeout};

/// The socket that asks.
pub(super) struct Requests {
    handle: Handle,
    lookups: Lookups,
    /// Ends with this.
    _connection: JoinSet<()>,
}

impl Requests {
    /// Opens it in the calling thread's network namespace.
    pub(super) fn open() -> anyhow::Result<Requests> {
        let (connection, handle, _unsolicited) =
            rtnetlink::new_connection().context("opening a netlink socket for requests")?;
        let mut task = JoinSet::new();
        task.spawn(connection);
        Ok(Requests { handle, lookups: Lookups::open()?, _connection: task })
    }

    /// One interface by name.
    pub(super) async fn link(&self, name: &str) -> Result<LinkMessage, RequestError> {
        first(self.handle.link().get().match_name(name).execute()).await
    }

    /// All interfaces.
    pub(super) async fn links(&self) -> Result<Vec<LinkMessage>, RequestError> {
        within_timeout(self.handle.link().get().execute().try_collect()).await
    }

    /// All neighbours.
    pub(super) async fn neighbours(&self) -> Result<Vec<NeighbourMessage>, RequestError> {
        within_timeout(self.handle.neighbours().get().execute().try_collect()).await
    }

    /// Looks up the route to each target, as for packets that this host sends without a mark.
    pub(super) async fn routes(
        &mut self,
        targets: &BTreeSet<IpAddr>,
    ) -> Result<BTreeMap<IpAddr, RouteAnswer>, RequestError> {
        self.lookups.routes(targets).await
    }

    /// Asks the kernel to resolve a neighbour and to keep it so: a managed entry (Linux 5.16) is probed for
    /// good. Older kernels overlook the attribute or refuse it; they resolve the neighbour once, and want to be
    /// asked again.
    ///
    /// What spares it from being collected is that it is "learned externally" (Linux 4.18): managed ones are
    /// thrown out like others (`neigh_forced_gc`) where there are more than 512 of a family (`gc_thresh2`), in all
    /// network namespaces together.
    pub(super) async fn keep_resolved(&self, hop: Hop) -> Result<(), RequestError> {
        let request = self.use_neighbour(hop);
        let mut request = request.flags(NeighbourFlags::Use | NeighbourFlags::ExtLearned);
        request.message_mut().attributes.extend([
            NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed),
            NeighbourAttribute::Protocol(PROTOCOL),
        ]);
        match within_timeout(request.execute()).await {
            Err(RequestError::Kernel(Errno::INVAL | Errno::OPNOTSUPP)) => {
                within_timeout(self.use_neighbour(hop).execute()).await
            }
            result => result,
        }
    }

    /// Makes a neighbour of ours an ordinary one, which the kernel forgets when it pleases.
    pub(super) async fn release(&self, hop: Hop) -> Result<(), RequestError> {
        within_timeout(self.use_neighbour(hop).execute()).await
    }

    /// The state matters: the builder's own default would pin the entry for ever (NUD_PERMANENT).
    fn use_neighbour(&self, hop: Hop) -> NeighbourAddRequest {
        let request = self.handle.neighbours().add(hop.interface, hop.address);
        request.state(NeighbourState::None).flags(NeighbourFlags::Use).replace()
    }
}

async fn first<T>(answers: impl Stream<Item = Result<T, rtnetlink::Error>>) -> Result<T, RequestError> {
    let mut answers = std::pin::pin!(answers);
    within_timeout(answers.try_next()).await?.ok_or(RequestError::NoAnswer)
}
