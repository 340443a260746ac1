//! What the controller asks of its helper, and what the helper answers. All that can be asked is here.

use serde::{Deserialize, Serialize};

use crate::announce::kernel_table::Change;
use crate::explain::question::Bytes;
use crate::next_hop::Hop;

/// What is asked of programs and pins, each after the answer to the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    /// Take the directory of pins, if there is to be one, and tell the key of the flows' hash that is kept there.
    Begin,
    /// Load the programs, and hand the maps over.
    Load {
        /// The key's first half.
        k0: u64,
        /// The other.
        k1: u64,
    },
    /// Give the links that an earlier controller has left the loaded programs.
    TakeLinksOver,
    /// Put the balancer on an interface of the configuration.
    Attach {
        /// Its name.
        interface: String,
    },
    /// Take it off one that it was put on.
    Detach {
        /// Its name.
        interface: String,
    },
    /// Take it off those that an earlier controller had put it on, and this one not.
    DetachLeft,
    /// Give all interfaces to these programs.
    Run(Running),
    /// Let the program that explains have a frame.
    Explain {
        /// The index of an interface that the balancer is on.
        interface: u32,
        /// The frame.
        frame: Bytes,
    },
}

/// Which programs the interfaces have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Running {
    /// Those that balance.
    Live,
    /// Those that tell of packets, too.
    Capture,
}

/// The answer to a [`Request`]; an error is in words.
pub(super) type Answer = Result<Reply, String>;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// The halves of the key that is kept.
    Key(Option<(u64, u64)>),
    /// The maps' names, with a descriptor for each.
    Maps(Vec<String>),
    /// The indices of the interfaces whose links were taken over.
    Left(Vec<u32>),
    /// The balancer is on the interface.
    Attached(Attached),
    /// The ids of the programs that the interfaces have now, by name.
    Programs(Vec<(String, u32)>),
    /// What became of the frame.
    Run {
        /// The XDP action's number.
        action: u32,
        /// The frame as it leaves.
        frame: Bytes,
    },
    /// It is done.
    Done,
}

/// How the balancer is on an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The interface's index.
    pub interface: u32,
    /// The kernel's id of the program.
    pub program_id: u32,
    /// Why it is not native, if it is not: the kernel's words.
    pub fallback_reason: Option<String>,
}

impl Attached {
    /// `native` or `generic`.
    pub fn mode(&self) -> &'static str {
        if self.fallback_reason.is_none() { "native" } else { "generic" }
    }
}

/// What is asked of the host's network. Answers come in any order, each with its question's number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum NetworkRequest {
    /// Have the kernel keep some neighbours resolved, and others not any more; at most [`MOST_HOPS`] of both.
    Neighbours {
        /// Those to keep.
        keep: Vec<Hop>,
        /// Those to release.
        release: Vec<Hop>,
    },
    /// Write or remove the route of a VIP.
    Route(Change),
}

/// So many neighbours fit one message.
pub(super) const MOST_HOPS: usize = 1024;

/// A message with its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) of: T,
}

/// The outcome for each neighbour, those to keep first, or for the route.
pub(super) type Outcomes = Vec<Outcome>;

/// What became of one of the requests to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Done,
    /// The number of the kernel's error.
    Kernel(i32),
    NoAnswer,
    /// It is none of what the helper does; its log says why.
    Refused,
}
