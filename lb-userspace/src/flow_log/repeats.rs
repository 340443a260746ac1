//! What was said lately, so that it is said once: a SYN or FIN that its sender repeats, and a RST behind a FIN, tell
//! nothing new of a flow.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use lb_common::flow_log::Sign;

/// A flow.
pub(super) type FlowKey = (SocketAddr, SocketAddr, u8);

/// Longer than Linux waits before it repeats a SYN or FIN for the last time.
const MEMORY: Duration = Duration::from_secs(65);
/// Flows that are remembered, at most twice as many; beyond that the oldest are forgotten.
const FLOWS: usize = 32_768;

/// What was said of a flow last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Begun,
    Ended,
}

/// What was said lately. Flows are in one of two generations; the older one is forgotten as a whole.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    young: HashMap<FlowKey, Said>,
    old: HashMap<FlowKey, Said>,
    /// When the young generation began, in nanoseconds.
    began: u64,
}

impl Repeats {
    /// Whether a record that is `sign` of the flow, at `time` (in nanoseconds), says something new.
    pub(super) fn is_news(&mut self, flow: FlowKey, sign: Sign, time: u64) -> bool {
        self.age(time);
        let said = match sign {
            Sign::Syn | Sign::FirstSeen => Said::Begun,
            Sign::Fin | Sign::Rst => Said::Ended,
        };
        let before = self.young.get(&flow).or_else(|| self.old.get(&flow)).copied();
        self.young.insert(flow, said);
        // UDP's flows are forgotten before they are new again.
        sign == Sign::FirstSeen || before != Some(said)
    }

    fn age(&mut self, time: u64) {
        let age = Duration::from_nanos(time.saturating_sub(self.began));
        if age < MEMORY && self.young.len() < FLOWS {
            return;
        }
        self.old = std::mem::take(&mut self.young);
        if age >= 2 * MEMORY {
            self.old.clear();
        }
        self.began = time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn flow(port: u16) -> FlowKey {
        (([10, 0, 0, 1], port).into(), ([10, 200, 1, 1], 80).into(), 6)
    }

    #[test]
    fn a_repeated_syn_and_whatever_follows_the_end_say_nothing_new() {
        let mut repeats = Repeats::default();
        let mut news = |sign, second| repeats.is_news(flow(1), sign, second * SECOND);
        assert!(news(Sign::Syn, 1));
        assert!(!news(Sign::Syn, 2));
        assert!(news(Sign::Fin, 3));
        assert!(!news(Sign::Fin, 4) && !news(Sign::Rst, 5));
        assert!(news(Sign::Syn, 6), "the same ports again");
        assert!(news(Sign::Rst, 7));
    }

    #[test]
    fn an_end_whose_beginning_was_not_seen_is_news() {
        assert!(Repeats::default().is_news(flow(1), Sign::Fin, SECOND));
    }

    #[test]
    fn a_flow_is_remembered_for_a_minute_and_not_for_three() {
        for (later, is_news) in [(60, false), (200, true)] {
            let mut repeats = Repeats::default();
            assert!(repeats.is_news(flow(1), Sign::Syn, 1_000 * SECOND));
            assert_eq!(repeats.is_news(flow(1), Sign::Syn, (1_000 + later) * SECOND), is_news, "{later} s");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut repeats = Repeats::default();
        for number in 0..200_000u32 {
            let client = (std::net::Ipv4Addr::from(number), 1).into();
            repeats.is_news((client, ([10, 200, 1, 1], 80).into(), 6), Sign::Syn, SECOND);
        }
        assert!(repeats.young.len() + repeats.old.len() <= 2 * FLOWS);
    }
}
