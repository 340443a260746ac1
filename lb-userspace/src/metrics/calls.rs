//! The API's calls, counted by operation: how they ended and how long they took.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::histogram::{Durations, Histogram};
use crate::api::domain::{OPERATIONS, Operation};
use crate::api::protocol::Code;

/// What calls of no operation are counted under: those that were refused before it was known which one they are.
pub const NO_OPERATION: &str = "none";

/// How a good call ended, where a refused one has the error's code.
pub const DONE: &str = "OK";

/// All calls since the start; any thread may add one.
#[derive(Debug)]
pub struct Calls {
    /// By the operation's place in [`OPERATIONS`]; the last is [`NO_OPERATION`].
    operations: Vec<Counted>,
    changes: AtomicU64,
}

#[derive(Debug)]
struct Counted {
    took: Histogram,
    done: AtomicU64,
    /// By the code's place in [`Code::ALL`].
    refused: Vec<AtomicU64>,
}

/// The calls of one operation at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationCalls {
    /// The operation's name, or [`NO_OPERATION`].
    pub operation: &'static str,
    /// How long they took.
    pub took: Durations,
    /// How many ended how: [`DONE`] and those error codes that there were.
    pub ends: Vec<(&'static str, u64)>,
}

impl Default for Calls {
    fn default() -> Calls {
        let counted = || Counted {
            took: Histogram::default(),
            done: AtomicU64::new(0),
            refused: Code::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
        };
        Calls { operations: (0..=OPERATIONS.len()).map(|_| counted()).collect(), changes: AtomicU64::new(0) }
    }
}

impl Calls {
    /// Counts a call; one of an operation that is not known has none.
    pub fn count(&self, operation: Option<&Operation>, refusal: Option<Code>, took: Duration) {
        let named = |operation: &Operation| OPERATIONS.iter().position(|at| at.name == operation.name);
        let place = operation.and_then(named).unwrap_or(OPERATIONS.len());
        let counted = &self.operations[place];
        counted.took.observe(took);
        let refused = refusal.and_then(|code| Code::ALL.iter().position(|at| *at == code));
        refused.map_or(&counted.done, |code| &counted.refused[code]).fetch_add(1, Relaxed);
    }

    /// Counts a change of the state.
    pub fn count_change(&self) {
        self.changes.fetch_add(1, Relaxed);
    }

    /// How often the state was changed.
    pub fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// The calls of each operation that was called.
    pub fn snapshot(&self) -> Vec<OperationCalls> {
        let names = OPERATIONS.iter().map(|operation| operation.name).chain([NO_OPERATION]);
        let called = names.zip(&self.operations).map(|(name, counted)| counted.snapshot(name));
        called.filter(|calls| calls.took.count() > 0).collect()
    }
}

impl Counted {
    fn snapshot(&self, operation: &'static str) -> OperationCalls {
        let refused =
            Code::ALL.iter().zip(&self.refused).map(|(code, count)| (code.wire(), count.load(Relaxed)));
        let ends =
            [(DONE, self.done.load(Relaxed))].into_iter().chain(refused.filter(|(_, count)| *count > 0));
        OperationCalls { operation, took: self.took.durations(), ends: ends.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_operation_and_end() {
        let (calls, took) = (Calls::default(), Duration::from_millis(3));
        let create = Operation::named("CreateListener");
        calls.count(create, None, took);
        calls.count(create, Some(Code::DuplicateListener), took);
        calls.count(None, Some(Code::SignatureDoesNotMatch), took);
        let [create, none] = &calls.snapshot()[..] else { panic!("{:?}", calls.snapshot()) };
        assert_eq!(create.operation, "CreateListener");
        assert_eq!(create.ends, [(DONE, 1), ("DuplicateListener", 1)]);
        assert_eq!(create.took.count(), 2);
        assert_eq!((none.operation, &none.ends[1]), (NO_OPERATION, &("SignatureDoesNotMatch", 1)));
    }
}
