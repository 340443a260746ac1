//! Who answers plans: it knows the owner of the state, and the data plane if there is one.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use super::effects::effects;
use super::files;
use super::report::Plan;
use super::work::{Made, Refused, Wish};
use crate::api::calendar::Timestamp;
use crate::api::domain::State;
use crate::api::inventory::Inventory;
use crate::api::projection::{Ground, Projector};
use crate::api::service::Service;
use crate::config::{self, Owner};
use crate::data_plane::Capacity;
use crate::model::Desired;
use crate::reconcile::Reconciler;

/// Who owns the load balancers and target groups.
#[derive(Clone)]
pub enum Source {
    /// The API, and what the data plane stands on besides.
    Api(Arc<Service>),
    /// A configuration file.
    File {
        /// Its name.
        file: String,
        /// The interfaces that are used instead of the file's, if there are any.
        interfaces: Vec<String>,
    },
}

/// Asks the controller for a stage.
pub type Stages = mpsc::Sender<oneshot::Sender<Stage>>;

/// What a change is rehearsed on: a copy of what the controller knows.
pub struct Stage {
    /// The tables, and what they follow from.
    pub reconciler: Reconciler,
    /// What of the desired state is not the API's.
    pub ground: Ground,
}

/// Answers plans.
#[derive(Clone)]
pub struct Planner {
    source: Source,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Controller(Stages),
    Nothing(Ground),
}

impl Planner {
    /// One that asks a controller what a change would move.
    pub fn beside_data_plane(source: Source, stages: Stages) -> Planner {
        Planner { source, way: Way::Controller(stages) }
    }

    /// One where there is no data plane.
    pub fn alone(service: Arc<Service>, ground: Ground) -> Planner {
        Planner { source: Source::Api(service), way: Way::Nothing(ground) }
    }

    /// The owner.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What to rehearse on; nothing where there is no data plane.
    ///
    /// # Errors
    /// When the controller ends.
    pub async fn stage(&self) -> anyhow::Result<Option<Stage>> {
        let Way::Controller(stages) = &self.way else { return Ok(None) };
        let (sender, receiver) = oneshot::channel();
        stages.send(sender).await.ok().context("the controller is stopping")?;
        Ok(Some(receiver.await.context("the controller is stopping")?))
    }

    /// The plan of a document for the API's state; with a version, the document is applied to the state of that version.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn of_document(
        &self,
        service: &Service,
        wish: &Wish,
        apply: Option<(u64, u32)>,
        stage: Option<Stage>,
    ) -> Result<Plan, Refused> {
        let (now, (_, inventory)) = (Timestamp::now(), service.snapshot());
        let made = match apply {
            None => service.plan(wish, now)?,
            Some((base, user)) => service.apply(wish, base, user, now)?,
        };
        let Made { differences, outlook } = made;
        let is_live = stage.is_some();
        let (reconciler, after) = match stage {
            Some(Stage { reconciler, ground }) => {
                (Ok(reconciler), project(&ground, &inventory, &outlook.after))
            }
            None => self.imagined(&inventory, &outlook.before, &outlook.after),
        };
        let tables = reconciler.and_then(|one| {
            let tables = one.rehearse(after.clone(), Instant::now())?;
            Ok((one, tables))
        });
        let mut effects = match tables {
            Ok((one, tables)) => effects(one.desired(), &after, tables),
            // The state is as it is; only what the data plane would make of it can't be told.
            Err(problem) => {
                tracing::warn!("what a plan would move can't be told: {problem}");
                super::report::Effects::default()
            }
        };
        effects.of_data_plane = is_live;
        let version = outlook.before.generation;
        Ok(Plan { owner: "api".to_owned(), version, applied: apply.is_some(), differences, effects })
    }

    /// A node's tables where there is no node: it finds all targets healthy, and uses those of all zones.
    fn imagined(
        &self,
        inventory: &Arc<Inventory>,
        before: &State,
        after: &State,
    ) -> (Result<Reconciler, crate::reconcile::Refused>, Desired) {
        let Way::Nothing(ground) = &self.way else { unreachable!("a controller has a stage") };
        let of_all_zones = |state: &State| {
            let mut desired = project(ground, inventory, state);
            desired.target_groups.values_mut().for_each(|group| Arc::make_mut(group).cross_zone = true);
            desired
        };
        let (before, after) = (of_all_zones(before), of_all_zones(after));
        (Reconciler::new(before, Capacity::default(), Instant::now()), after)
    }

    /// The plan of a configuration file that is to take the place of the one that owns the state.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn of_file(file: &str, text: &str, interfaces: &[String], stage: &Stage) -> anyhow::Result<Plan> {
        let content = config::parse_content(file, text.to_owned())?;
        anyhow::ensure!(
            matches!(content.owner, Owner::File),
            "{file}: api: a file owns the state until the next start; restart with this one to leave it to the API"
        );
        let mut after = content.desired;
        if !interfaces.is_empty() {
            after.node.interfaces = interfaces.to_vec();
        }
        let before = stage.reconciler.desired();
        let tables = stage.reconciler.rehearse(after.clone(), Instant::now()).context(file.to_owned())?;
        Ok(Plan {
            owner: "file".to_owned(),
            version: 0,
            applied: false,
            differences: files::differences(before, &after),
            effects: effects(before, &after, tables),
        })
    }
}

fn project(ground: &Ground, inventory: &Arc<Inventory>, state: &State) -> Desired {
    Projector::new(ground.clone(), Arc::clone(inventory)).project(state, inventory)
}
