//! A QUIC server id that is another target's in the next state that a node gets to see.

use serde_json::json;

use super::*;

/// The first target is gone, and another has its server id.
const REUSED: [(&str, u64); 3] = [("10.0.0.9", 0xa1), IDS[1], IDS[2]];

impl Bench {
    /// Takes over a state as far as that can be; why it can't be whole.
    fn follow(&mut self, desired: Desired) -> Option<QuicServerIdInUse> {
        let (reconciler, now) = (&mut self.reconciler, self.now);
        apply_in_turn(desired, |desired| reconciler.apply(desired, now)).expect("nothing else is wrong")
    }

    fn knows(&self, id: &str) -> bool {
        self.reconciler.registry().record(&key(id)).is_some()
    }
}

#[test]
fn a_node_that_missed_the_draining_of_a_server_ids_owner_lets_it_drain_before_the_next_has_the_id() {
    let mut bench = Bench::quic(&IDS);
    let first = bench.owner(0xa1).expect("it is registered");
    let waits = bench.follow(quic(json!({}), &REUSED)).expect("the id is not free yet");
    assert!(matches!(waits, QuicServerIdInUse::Draining { .. }), "{waits}");
    assert_eq!(bench.owner(0xa1), Some(first), "its connections are kept");
    assert_eq!((bench.share("10.0.0.1"), bench.knows("10.0.0.9")), (0, false));
    bench.pass(DRAINING / 2);
    let later = [REUSED[0], IDS[1], IDS[2], ("10.0.0.4", 0xa4)];
    assert!(bench.follow(quic(json!({}), &later)).is_some());
    assert!(bench.knows("10.0.0.4"), "what else was changed is followed meanwhile");
    bench.pass(DRAINING / 2);
    assert_eq!(bench.follow(quic(json!({}), &later)), None);
    assert_eq!(bench.owner(0xa1), Some(bench.id("10.0.0.9")));
}

#[test]
fn a_target_that_is_to_have_another_server_id_drains_first() {
    let mut bench = Bench::quic(&IDS);
    let other = quic(json!({}), &[("10.0.0.1", 0xff), IDS[1], IDS[2]]);
    assert!(bench.follow(other.clone()).is_some());
    assert_eq!(bench.share("10.0.0.1"), 0);
    bench.pass(DRAINING);
    assert_eq!(bench.follow(other), None);
    assert_eq!((bench.owner(0xff), bench.owner(0xa1)), (Some(bench.id("10.0.0.1")), None));
}

#[test]
fn a_controller_starts_with_a_state_in_which_a_server_id_has_changed_its_owner() {
    let bench = Bench::quic(&IDS);
    let (held, first) = (bench.reconciler.contents(), bench.owner(0xa1));
    let capacity = Capacity { targets: 16, ..Capacity::default() };
    let started = Reconciler::adopt(quic(json!({}), &REUSED), capacity, &held, bench.now);
    let mut bench = Bench { reconciler: started.expect("it starts"), now: bench.now };
    let (whole, why) = bench.reconciler.take_awaited().expect("the id is not free yet");
    assert!(why.to_string().contains("web/10.0.0.1"), "{why}");
    assert_eq!(bench.owner(0xa1), first);
    bench.pass(DRAINING);
    assert_eq!(bench.follow(whole), None);
    assert_eq!(bench.owner(0xa1), Some(bench.id("10.0.0.9")));
}

#[test]
fn what_is_refused_for_another_reason_is_refused_whole() {
    let mut bench = Bench::quic(&IDS);
    let ids: Vec<String> = (1..=20).map(|host| format!("10.0.1.{host}")).collect();
    let many: Vec<(&str, u64)> = ids.iter().zip(0xb0..).map(|(id, number)| (id.as_str(), number)).collect();
    let (reconciler, now) = (&mut bench.reconciler, bench.now);
    let refused = apply_in_turn(quic(json!({}), &many), |desired| reconciler.apply(desired, now));
    assert!(matches!(refused, Err(Refused::TooBig(_))), "{refused:?}");
    assert!(IDS.iter().all(|(id, _)| bench.share(id) > 0));
}
