//! Neighbours and routes: one message after the other.

use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tracing::warn;

use super::permitted::Permitted;
use super::{Complaints, read};
use crate::announce::kernel_table::{Change, Requests};
use crate::netlink::RequestError;
use crate::next_hop::{Entries, Hop};
use crate::privileges::channel::{receive_bytes, send};
use crate::privileges::protocol::{MOST_HOPS, NetworkRequest, Numbered, Outcome, Outcomes};

/// Answers until nobody asks any more.
pub(super) async fn serve(line: UnixDatagram, permitted: Permitted) {
    let mut service = Service { permitted, complaints: Complaints::default() };
    while let Ok(Some(bytes)) = line.async_io(Interest::READABLE, || receive_bytes(&line)).await {
        let answer = match read::<Numbered<NetworkRequest>>(&bytes) {
            Ok(Numbered { number, of }) => Numbered { number, of: service.answer(of).await },
            Err(why) => {
                service.complaints.say(&why);
                continue;
            }
        };
        if line.async_io(Interest::WRITABLE, || send(&line, &answer, &[])).await.is_err() {
            return;
        }
    }
}

struct Service {
    permitted: Permitted,
    complaints: Complaints,
}

impl Service {
    async fn answer(&mut self, request: NetworkRequest) -> Outcomes {
        match request {
            NetworkRequest::Route(change) => vec![self.change(change).await],
            NetworkRequest::Neighbours { keep, release } => self.neighbours(keep, release).await,
        }
    }

    async fn change(&mut self, change: Change) -> Outcome {
        if let Err(why) = self.permitted.change(&change) {
            return self.refuse(&why);
        }
        match Requests::open() {
            Ok(requests) => outcome(requests.apply(change).await),
            Err(problem) => failed(&problem),
        }
    }

    async fn neighbours(&mut self, keep: Vec<Hop>, release: Vec<Hop>) -> Outcomes {
        let asked = keep.len() + release.len();
        if asked > MOST_HOPS {
            return vec![self.refuse(&format!("{asked} neighbours at once"))];
        }
        let mut entries = match Entries::read().await {
            Ok(entries) => entries,
            Err(problem) => return vec![failed(&problem); asked],
        };
        let mut outcomes = Vec::with_capacity(asked);
        for hop in keep {
            let kept = entries.keep(hop).await;
            outcomes.push(kept.map_or_else(|why| self.refuse(&about(hop, why)), outcome));
        }
        for hop in release {
            let released = entries.release(hop).await;
            outcomes.push(released.map_or_else(|why| self.refuse(&about(hop, why)), outcome));
        }
        outcomes
    }

    fn refuse(&mut self, why: &str) -> Outcome {
        self.complaints.say(why);
        Outcome::Refused
    }
}

fn about(hop: Hop, why: &str) -> String {
    format!("neighbour {} on interface {}: {why}", hop.address, hop.interface)
}

fn failed(problem: &anyhow::Error) -> Outcome {
    warn!("the privileged helper can't ask the kernel: {problem:#}");
    Outcome::NoAnswer
}

fn outcome(result: Result<(), RequestError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(RequestError::Kernel(error)) => Outcome::Kernel(error.raw_os_error()),
        Err(RequestError::NoAnswer) => Outcome::NoAnswer,
        Err(RequestError::Refused) => Outcome::Refused,
    }
}
