//! The scenario of a store that goes away at a size for every day.

use lab::scenario::{Options, play};

#[test]
fn nodes_go_on_while_etcd_is_away_and_are_equal_when_it_is_back() {
    if !lab::require_root() {
        return;
    }
    play("etcd-outage", &Options { seconds: Some(10), ..Options::default() }).unwrap();
}
