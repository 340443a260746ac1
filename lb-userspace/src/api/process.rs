//! The API's parts in a process, joined: the engine with its store, who is let in, the socket, the clock.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::{JoinError, spawn_blocking};
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

/// The status of a process that panicked, as Rust has it.
const PANICKED: i32 = 101;

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
    /// Beside a data plane, which goes on without it, the API may wait for its address, its certificate or its
    /// credentials: until they are there nobody is served, or let in.
    ///
    /// # Errors
    /// If the state can't be read; alone, if the API can't be served at once.
    pub async fn open(
        configuration: &Configuration,
        options: &Options,
        ground: Ground,
        capacity: Capacity,
    ) -> anyhow::Result<Api> {
        let guard = first_guard(configuration, options)?;
        let health = Arc::new(HealthBoard::default());
        let (inventory, feed) = inventory(configuration, options).await?;
        let engine = engine(configuration, options, inventory)?;
        let room = Room::new(ground, Arc::clone(engine.inventory()), capacity);
        let room = if feed.is_none() { room.with_given_inventory() } else { room };
        let engine = engine.with_health(Box::new(Arc::clone(&health))).with_feasibility(Box::new(room));
        let service =
            if options.ephemeral { Service::ephemeral(engine, guard) } else { Service::new(engine, guard) };
        let audit = configuration.audit_log.as_ref().map(AuditLog::open).transpose()?;
        let service = Arc::new(service.with_audit(audit).with_feed(feed.map(Arc::new)));
        let (address, tls) = (configuration.address, configuration.tls.as_ref());
        let server = match options.api_only {
            true => Server::bind(address, tls, Arc::clone(&service))?,
            false => Server::bind_when_possible(address, tls, Arc::clone(&service)),
        };
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
        let (served, expire, catch_up) =
            (self.server.serve(), expire(&self.service), catch_up(&self.service));
        indispensable("the API", async { tokio::join!(served, expire, catch_up, watch, inventory) }).await;
    }
}

/// Ends the process if what is done for it panics. The data plane would go on without, and by all other signs be well,
/// while nothing that is changed reaches it any more; started anew, it has lost nothing.
pub(super) async fn indispensable<T>(what: &str, work: impl Future<Output = T>) -> T {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(done) => done,
        Err(_) => {
            error!("{what} has panicked: the process ends, to be started anew");
            exit(PANICKED)
        }
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

/// Who is let in from the start. Beside a data plane that is nobody while the credentials can't be read: they are read
/// again when the file changes.
fn first_guard(configuration: &Configuration, options: &Options) -> anyhow::Result<Guard> {
    match (guard(configuration), &configuration.credentials) {
        (Err(_), Some(file)) if !options.api_only => Ok(of_file(Credentials::default(), file, configuration)),
        (guard, _) => guard,
    }
}

fn of_file(credentials: Credentials, file: &Path, configuration: &Configuration) -> Guard {
    Guard::signed(credentials).in_region(&configuration.identity.region).of_file(file)
}

/// Who is let in.
///
/// # Errors
/// When the credentials can't be read.
pub fn guard(configuration: &Configuration) -> anyhow::Result<Guard> {
    match &configuration.credentials {
        Some(file) => Ok(of_file(Credentials::load(file)?, file, configuration)),
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
    match spawn_blocking(move || work(&service)).await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // The process ends.
        Err(Err(_)) => std::future::pending().await,
    }
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::api::domain::arn::Identity;

    /// Says that it is the process that panics.
    const PANICS: &str = "SLUICE_TEST_PANICKING_API";

    #[test]
    fn a_process_whose_api_panics_ends() {
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "api::process::tests::the_process_that_panics"])
            .env(PANICS, "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ended.stdout);
        assert_eq!(ended.status.code(), Some(PANICKED), "{told}");
        assert!(told.contains("it begins") && !told.contains("test result"), "{told}");
    }

    #[test]
    fn the_process_that_panics() {
        if std::env::var_os(PANICS).is_none() {
            return;
        }
        println!("it begins");
        let engine = Engine::ephemeral(Identity::default(), Inventory::sample());
        let service = Arc::new(Service::ephemeral(engine, Guard::Open));
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            // Nobody waits for it.
            drop(tokio::spawn(async move {
                indispensable("the API", apart(&service, |_| panic!("as asked"))).await
            }));
            tokio::time::sleep(Duration::from_secs(20)).await;
        });
    }
}
