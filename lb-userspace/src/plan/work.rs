//! Makes a plan of the API's state, and carries it out: both by the API's own operations, as one change.

use thiserror::Error;

use super::difference::{self, Findings, Sides, Unnamed};
use super::document::Document;
use super::normal;
use super::report::Difference;
use super::step::Step;
use crate::api::calendar::Timestamp;
use crate::api::domain::{Engine, Outlook, Purpose, Together};
use crate::api::protocol::ApiError;
use crate::config::{ConfigError, Problem};

/// What is wanted, and how.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The document.
    pub document: Document,
    /// Its name in messages.
    pub file: String,
    /// What becomes of what it does not name.
    pub unnamed: Unnamed,
}

/// Why there is no plan.
#[derive(Debug, Error)]
pub enum Refused {
    /// The document is refused.
    #[error(transparent)]
    Document(#[from] ConfigError),
    /// The state could not be changed, or is another one now.
    #[error("{}", .0.message)]
    State(#[from] ApiError),
}

/// The differences in words, with what carrying them out comes to.
#[derive(Debug)]
pub struct Made {
    /// The differences.
    pub differences: Vec<Difference>,
    /// The state before and after.
    pub outlook: Outlook,
}

/// Makes a plan, and keeps what it comes to if that is the purpose.
///
/// # Errors
/// With all that is wrong with the document; with why an operation is refused, or the state was not kept.
pub fn work(engine: &mut Engine, wish: &Wish, purpose: Purpose, now: Timestamp) -> Result<Made, Refused> {
    let mut differences = Vec::new();
    let outlook = engine.together(purpose, now, |together| {
        let Findings { differences: found, schedule, problems, .. } = find(together, wish, now)?;
        refuse(wish, problems)?;
        differences = found;
        carry_out(together, wish, schedule.into_steps())
    })?;
    Ok(Made { differences, outlook })
}

fn find(together: &Together, wish: &Wish, now: Timestamp) -> Result<Findings, Refused> {
    let inventory = together.context().inventory;
    let normal = normal::state(together, wish, now)?;
    Ok(difference::find(&Sides {
        present: together.state(),
        document: &wish.document,
        normal: &normal,
        inventory,
        unnamed: wish.unnamed,
    }))
}

/// Carries out steps. One that is refused is tried again after the others: what was in its way may be gone then.
fn carry_out(together: &mut Together, wish: &Wish, mut steps: Vec<Step>) -> Result<(), Refused> {
    loop {
        let before = steps.len();
        let mut problems = Vec::new();
        steps.retain(|step| match carry_out_one(together, step) {
            Ok(()) => false,
            Err(error) => {
                problems.push(Problem { path: step.place.clone(), message: error.message });
                true
            }
        });
        if steps.is_empty() {
            return Ok(());
        }
        if steps.len() == before {
            return refuse(wish, problems);
        }
    }
}

/// Carries out one step.
pub(super) fn carry_out_one(together: &mut Together, step: &Step) -> Result<(), ApiError> {
    let parameters = step.parameters(together.state(), together.context().identity)?;
    together.carry_out(step.operation, &parameters)
}

/// Refuses a document that has problems.
pub(super) fn refuse(wish: &Wish, problems: Vec<Problem>) -> Result<(), Refused> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(ConfigError::Invalid { file: wish.file.clone(), problems }.into())
}
