//! The state that a document makes out of nothing: with the API's defaults in it, and checked by the API.
//!
//! Each load balancer is made with the target groups alone: what load balancers may not have together (a VIP, a target
//! group) is found where the steps are carried out, and VIPs from pools are in nobody's way here.

use std::sync::Arc;

use super::document::LoadBalancer;
use super::making;
use super::step::Step;
use super::work::{Refused, Wish, carry_out_one, refuse};
use crate::api::calendar::Timestamp;
use crate::api::domain::{Engine, Purpose, State, Together};
use crate::config::Problem;

/// The state of a document.
///
/// # Errors
/// With all that is wrong.
pub(super) fn state(together: &Together, wish: &Wish, now: Timestamp) -> Result<State, Refused> {
    let context = together.context();
    let mut empty = Engine::ephemeral(context.identity.clone(), context.inventory.clone());
    let document = &wish.document;
    let mut problems = Vec::new();
    empty.together(Purpose::Keep { base: empty.state().generation }, now, |together| {
        for group in &document.target_groups {
            make(together, &making::target_group(group, context.inventory), &mut problems);
        }
        Ok::<(), Refused>(())
    })?;
    let has_groups = problems.is_empty();
    let mut normal = empty.state().clone();
    for wanted in &document.load_balancers {
        let alone = empty.together(Purpose::Try, now, |together| {
            let is_made = make(together, &making::load_balancer(wanted), &mut problems);
            if is_made && has_groups {
                make_listeners(together, wanted, &mut problems);
            }
            Ok::<(), Refused>(())
        })?;
        let made = alone.after.load_balancers.get(&wanted.name);
        normal.load_balancers.extend(made.map(|record| (wanted.name.clone(), Arc::clone(record))));
    }
    refuse(wish, problems)?;
    Ok(normal)
}

fn make_listeners(together: &mut Together, wanted: &LoadBalancer, problems: &mut Vec<Problem>) {
    for listener in &wanted.listeners {
        make(together, &making::listener(&wanted.name, listener), problems);
    }
}

/// Makes one thing, until a step of it is refused: whether all are done.
fn make(together: &mut Together, steps: &[Step], problems: &mut Vec<Problem>) -> bool {
    for step in steps {
        if let Err(error) = carry_out_one(together, step) {
            problems.push(Problem { path: step.place.clone(), message: error.message });
            return false;
        }
    }
    true
}
