//! The API's parts in a process, joined: the engine with its store, who is let in, the socket, the clock.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tracing::{error, warn};

use super::audit::AuditLog;
use super::calendar::Timestamp;
use super::command::Options;
use super::configuration::Configuration;
use super::credentials_watch;
use super::domain::Engine;
use super::health_board::HealthBoard;
use super::inventory::ec2::{self, Feed};
use super::inventory::{Inventory, Source};
use super::projection::Ground;
use super::room::Room;
use super::server::Server;
use super::service::Service;
use super::signature::{Credentials, Guard};
use super::store;
use crate::data_plane::Capacity;
use crate::model::{HealthView, Node, Oversized};

/// The longest sleep until targets have drained: the clock may be set in between.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// After a change that could not be kept, the time until the next try.
const RETRY: Duration = Duration::from_secs(1);

/// The API, bound and not yet served.
pub struct Api {
    service: Arc<Service>,
    health: Arc<HealthBoard>,
    server: Server,
}

impl Api {
    /// Binds the socket and reads the state that was kept. What a data plane with this capacity can't carry is refused.
    ///
    /// # Errors
    /// If one of the two can't be, or the credentials can't be read.
    pub async fn open(
        configuration: &Configuration,
        options: &Options,
        ground: Ground,
        capacity: Capacity,
    ) -> anyhow::Result<Api> {
        let guard = guard(configuration)?;
        let health = Arc::new(HealthBoard::default());
        let (inventory, feed) = inventory(configuration, options).await?;
        let engine = engine(configuration, options, inventory)?;
        let room = Room::new(ground, Arc::clone(engine.inventory()), capacity);
        let engine = engine.with_health(Box::new(Arc::clone(&health))).with_feasibility(Box::new(room));
        let service =
            if options.ephemeral { Service::ephemeral(engine, guard) } else { Service::new(engine, guard) };
        let audit = configuration.audit_log.as_ref().map(AuditLog::open).transpose()?;
        let service = Arc::new(service.with_audit(audit).with_feed(feed.map(Arc::new)));
        let server =
            Server::bind(configuration.address, configuration.tls.as_ref(), Arc::clone(&service)).await?;
        Ok(Api { service, health, server })
    }

    /// What the API stands on where there is no data plane.
    pub fn no_ground(configuration: &Configuration) -> Ground {
        let node = Node {
            name: String::new(),
            zone: String::new(),
            interfaces: Vec::new(),
            oversized: Oversized::default(),
            health_view: HealthView::default(),
            flow_log: None,
        };
        Ground { node, metrics_address: None, encapsulation: configuration.encapsulation }
    }

    /// What clients call their endpoint.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The API without its socket.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Where the health of targets is told.
    pub fn health(&self) -> &Arc<HealthBoard> {
        &self.health
    }

    /// Serves for ever. Connections end when this is dropped.
    pub async fn serve(self) {
        let watch = async {
            if let Err(problem) = credentials_watch::follow(&self.service).await {
                error!("the credentials are not followed: {problem:#}");
            }
        };
        let inventory = ec2::follow(&self.service);
        tokio::join!(self.server.serve(), expire(&self.service), catch_up(&self.service), watch, inventory);
    }
}

/// The engine with the store that keeps its state: the one place where that is chosen.
fn engine(configuration: &Configuration, options: &Options, inventory: Inventory) -> anyhow::Result<Engine> {
    let identity = configuration.identity.clone();
    if options.ephemeral {
        return Ok(Engine::ephemeral(identity, inventory));
    }
    Engine::kept_in(store::open_configured(&configuration.store)?, identity, inventory)
}

/// The inventory, and who tells it if it is not given.
async fn inventory(
    configuration: &Configuration,
    options: &Options,
) -> anyhow::Result<(Inventory, Option<Feed>)> {
    match &configuration.inventory {
        Source::File(inventory) => Ok((inventory.clone(), None)),
        Source::Ec2(ec2) => {
            let directory = (!options.ephemeral).then_some(configuration.store.directory.as_path());
            let (feed, inventory) = Feed::open(ec2, directory).await?;
            Ok((inventory, Some(feed)))
        }
    }
}

/// Who is let in.
///
/// # Errors
/// When the credentials can't be read.
pub fn guard(configuration: &Configuration) -> anyhow::Result<Guard> {
    match &configuration.credentials {
        Some(file) => {
            let credentials = Credentials::load(file)?;
            Ok(Guard::signed(credentials).in_region(&configuration.identity.region).of_file(file))
        }
        None => {
            warn!("no credentials are set: everybody on this host may do everything");
            Ok(Guard::Open)
        }
    }
}

/// Takes in what others change.
async fn catch_up(service: &Arc<Service>) {
    let Some(mut news) = service.news() else { return };
    while news.changed().await.is_ok() {
        apart(service, Service::catch_up).await;
    }
}

/// Does what may wait for a disk or for other nodes on a thread that may.
async fn apart<T: Send + 'static>(
    service: &Arc<Service>,
    work: impl FnOnce(&Service) -> T + Send + 'static,
) -> T {
    let service = Arc::clone(service);
    spawn_blocking(move || work(&service)).await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// Forgets deregistered targets when they have drained.
async fn expire(service: &Arc<Service>) {
    let mut changes = service.changes();
    loop {
        let now = Timestamp::now();
        let sleep = match apart(service, move |service| service.expire(now)).await {
            Ok(next) => next.map_or(LONGEST_SLEEP, |end| end.distance(now).min(LONGEST_SLEEP)),
            Err(problem) => {
                error!("drained targets can't be removed, and will be tried again: {problem}");
                RETRY
            }
        };
        tokio::select! {
            // The service lives, and with it the sender.
            _ = changes.changed() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}
