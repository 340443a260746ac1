//! Who owns the load balancers and target groups: the configuration file, or the API whose state the data plane follows.
//!
//! The API answers as soon as it keeps a change. The data plane follows level-triggered: it takes over the newest state,
//! however many changes led there, and tries again what it could not take over.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::{error, info, warn};

use super::node::Node;
use super::sharing::Shared;
use super::{Options, own_addresses};
use crate::announce;
use crate::api::configuration::Configuration;
use crate::api::domain::{Snapshot, State};
use crate::api::health_board::HealthBoard;
use crate::api::inventory::ec2::FeedReport;
use crate::api::inventory::{Inventory, Source};
use crate::api::process::{self, Api};
use crate::api::projection::{Ground, Projector};
use crate::api::service::Service;
use crate::api::store::{self, LastGood};
use crate::config::{self, Content};
use crate::data_plane::Capacity;
use crate::events::Journal;
use crate::membership::Records;
use crate::model::{Desired, Encapsulation};
use crate::plan::{self, Stage};
use crate::reconcile::{QuicServerIdInUse, Refused, apply_in_turn};
use crate::status::report::{InventoryReport, OwnerReport};

/// After a state that could not be taken over, the time until the next try.
const RETRY: Duration = Duration::from_secs(1);

/// The owner of the load balancers and target groups.
pub(super) enum Owner {
    /// The configuration file.
    File(Box<FileOwner>),
    /// The API.
    Api(Box<ApiOwner>),
}

/// The configuration file as the owner.
#[derive(Default)]
pub(super) struct FileOwner {
    /// What it says where that is not whole in force yet, and when that is tried again.
    awaited: Option<(Desired, Instant)>,
}

/// The API as the owner.
pub(super) struct ApiOwner {
    options: crate::api::Options,
    /// What is in force; a change of some of it takes effect at the next start.
    configuration: Configuration,
    service: Arc<Service>,
    health: Arc<HealthBoard>,
    projector: Projector,
    /// Generation of the state that the data plane follows.
    in_force: u64,
    /// Why the newest state is not the one to start with, if it is not.
    refused: Option<String>,
    /// Where the last generation that could be carried is kept, where others may make one that can't be.
    last_good: Option<LastGood>,
    url: String,
    /// Bound, and not yet served.
    waiting: Option<Api>,
    serving: Option<AbortHandle>,
    retry: Option<Instant>,
    /// Why a target of the state in force is not there yet, if so.
    latecomer: Option<QuicServerIdInUse>,
}

impl Owner {
    /// The owner that a file names, with what it wants.
    ///
    /// # Errors
    /// If the API can't be opened, or a target of the file is this host.
    pub(super) async fn open(
        content: Content,
        options: &Options,
        api: &crate::api::Options,
    ) -> anyhow::Result<(Owner, Desired)> {
        match content.owner {
            config::Owner::File => {
                if api.ephemeral || api.api_address.is_some() || api.state_directory.is_some() {
                    bail!(
                        "{}: the file owns the state, it has no section \"api\": leave the API's options out",
                        options.file()
                    );
                }
                own_addresses::refuse_as_targets(&content.desired).await.with_context(|| options.file())?;
                Ok((Owner::File(Box::default()), content.desired))
            }
            config::Owner::Api(text) => {
                let configuration = configuration(&text, api).with_context(|| options.file())?;
                let (owner, desired) =
                    ApiOwner::open(configuration, &content.desired, api, options.capacity()).await?;
                Ok((Owner::Api(Box::new(owner)), desired))
            }
        }
    }

    /// When the API has changed its state.
    pub(super) fn changes(&self) -> Option<watch::Receiver<u64>> {
        match self {
            Owner::File(_) => None,
            Owner::Api(api) => Some(api.service.changes()),
        }
    }

    /// The API, where it is the owner.
    pub(super) fn service(&self) -> Option<&Arc<Service>> {
        match self {
            Owner::File(_) => None,
            Owner::Api(api) => Some(&api.service),
        }
    }

    /// Who could carry out what an operator orders of targets.
    pub(super) fn administration(&self, options: &Options) -> crate::administration::routes::Owner {
        match self {
            Owner::File(_) => crate::administration::routes::Owner::File(options.file()),
            Owner::Api(api) => crate::administration::routes::Owner::Api(Arc::clone(&api.service)),
        }
    }

    /// From now on the API's calls are noted there.
    pub(super) fn note_calls_in(&self, journal: &Arc<Journal>) {
        if let Owner::Api(api) = self {
            api.service.note_in(Arc::clone(journal));
        }
    }

    /// Where the targets' health is told.
    pub(super) fn health_board(&self) -> Option<Arc<HealthBoard>> {
        match self {
            Owner::File(_) => None,
            Owner::Api(api) => Some(Arc::clone(&api.health)),
        }
    }

    /// As the status tells it.
    pub(super) fn report(&self) -> OwnerReport {
        match self {
            Owner::File(_) => OwnerReport::File,
            Owner::Api(api) => {
                let (url, service) = (api.url.clone(), &api.service);
                let (changes, problems) = (*service.changes().borrow(), service.problems());
                let inventory = service.feed().map(|feed| inventory_report(feed.report()));
                OwnerReport::Api { url, changes, problems, inventory }
            }
        }
    }

    /// Where orders outlive the controller: with the API's state; else where the service manager keeps state; else
    /// beside the status socket.
    pub(super) fn state_directory(&self, runtime: &Path, options: &crate::api::Options) -> PathBuf {
        if let (Owner::Api(api), false) = (self, options.ephemeral) {
            return api.configuration.store.directory.clone();
        }
        let managed = std::env::var("STATE_DIRECTORY").ok();
        let first = managed.as_deref().and_then(|all| all.split(':').find(|one| !one.is_empty()));
        first.map_or_else(|| runtime.to_owned(), PathBuf::from)
    }

    /// Whom plans are asked of.
    pub(super) fn source(&self, options: &Options) -> plan::Source {
        match self {
            Owner::File(_) => {
                plan::Source::File { file: options.file(), interfaces: options.interfaces.clone() }
            }
            Owner::Api(api) => plan::Source::Api(Arc::clone(&api.service)),
        }
    }

    /// What a change is rehearsed on.
    pub(super) fn stage(&self, node: &Node) -> Stage {
        let ground = match self {
            Owner::Api(api) => api.projector.ground().clone(),
            Owner::File(_) => Ground {
                node: node.desired().node.clone(),
                metrics_address: node.desired().metrics_address,
                encapsulation: Encapsulation::Gue,
            },
        };
        Stage { reconciler: node.reconciler.clone(), ground }
    }

    /// What the node may start with where it can't start with what is wanted: the last good state.
    pub(super) fn fallback(&mut self) -> Option<Desired> {
        match self {
            Owner::File(_) => None,
            Owner::Api(api) => api.fallback(),
        }
    }

    /// The node has started; `refused` is why it could not with what was wanted.
    pub(super) fn started(&mut self, node: &mut Node, refused: Option<String>) {
        let awaited = node.reconciler.take_awaited();
        if let Some((_, why)) = &awaited {
            tell_of_waiting(why);
        }
        match self {
            Owner::File(file) => {
                file.awaited = awaited.map(|(desired, _)| (desired, Instant::now() + RETRY));
            }
            Owner::Api(api) => {
                if let Some((_, why)) = awaited {
                    (api.latecomer, api.retry) = (Some(why), Some(Instant::now() + RETRY));
                }
                api.started(node, refused);
            }
        }
    }

    /// Who shares the API's state, if anybody could.
    pub(super) fn sharing(&self) -> Option<Shared> {
        match self {
            Owner::File(_) => None,
            Owner::Api(api) => {
                let mut shared = Shared::of(api.service.sharing()?, api.in_force);
                shared.follow(api.in_force, api.refused.clone());
                Some(shared)
            }
        }
    }

    /// Begins to serve the API, and to tell other nodes of this one: `records` asks for what.
    pub(super) fn serve(&mut self, node: &Node, records: Records) {
        if let Owner::Api(api) = self
            && let Some(waiting) = api.waiting.take()
        {
            let membership = node.sharing.as_ref().map(|shared| Arc::clone(&shared.membership));
            let (store, journal) = (api.configuration.store.clone(), Arc::clone(&node.journal));
            let attending = async move {
                if let Some(membership) = membership {
                    store::attend(&store, &membership, &journal, &records).await;
                }
            };
            let serving = async { tokio::join!(waiting.serve(), attending) };
            api.serving = Some(tokio::spawn(serving).abort_handle());
            info!("the API owns the state; its clients come to {}", api.url);
        }
    }

    /// When [`Owner::retry`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Owner::File(file) => file.awaited.as_ref().map(|(_, at)| *at),
            Owner::Api(api) => api.retry,
        }
    }

    /// Tries again what could not be taken over.
    pub(super) fn retry(&mut self, node: &mut Node) {
        if self.next_deadline().is_some_and(|at| at <= Instant::now()) {
            match self {
                Owner::File(file) => file.follow(node),
                Owner::Api(_) => self.follow(node),
            }
        }
    }

    /// Takes over what the API wants now.
    pub(super) fn follow(&mut self, node: &mut Node) {
        let Owner::Api(api) = self else { return };
        let latest = api.service.latest();
        match &latest.unfit {
            None => api.follow(node, &latest),
            Some(why) => api.stay(node, latest.state.generation, why),
        }
        node.configuration.owner = self.report();
    }

    /// Reads the file anew and takes it over, whole or not at all.
    pub(super) async fn reload(&mut self, node: &mut Node, options: &Options) {
        match self {
            Owner::File(file) => match load_own(options).await {
                Ok((desired, announce)) => {
                    if node.reload_all(desired, announce).await {
                        file.awaited = None;
                    }
                }
                Err(problem) => drop(node.reload(Err(problem))),
            },
            Owner::Api(api) => api.reload(node, options).await,
        }
    }
}

fn inventory_report(report: FeedReport) -> InventoryReport {
    let FeedReport { endpoint, at, problem, remarks, .. } = report;
    InventoryReport { endpoint, answered: at.to_string(), problem, remarks }
}

/// The desired state of a file that owns it.
async fn load_own(options: &Options) -> anyhow::Result<(Desired, Option<announce::Configuration>)> {
    let content = options.load()?;
    if matches!(content.owner, config::Owner::Api(_)) {
        bail!(
            "{}: api: the file owns the state until the next start; restart to leave it to the API",
            options.file()
        );
    }
    own_addresses::refuse_as_targets(&content.desired).await.with_context(|| options.file())?;
    Ok((content.desired, content.announce))
}

/// Where the API is to be served, if it is, and what says so can be read.
pub(super) fn api_address(content: &Content, api: &crate::api::Options) -> Option<SocketAddr> {
    match &content.owner {
        config::Owner::File => None,
        config::Owner::Api(text) => configuration(text, api).ok().map(|configuration| configuration.address),
    }
}

fn configuration(text: &str, api: &crate::api::Options) -> anyhow::Result<Configuration> {
    api.apply(Configuration::parse(text)?)
}

fn ground(configuration: &Configuration, desired: &Desired) -> Ground {
    Ground {
        node: desired.node.clone(),
        metrics_address: desired.metrics_address,
        encapsulation: configuration.encapsulation,
    }
}

impl FileOwner {
    /// Takes over what could not be whole in force at the start.
    fn follow(&mut self, node: &mut Node) {
        let Some((desired, _)) = self.awaited.take() else { return };
        match take_over(node, desired.clone()) {
            Ok(None) => info!("the desired state is in force whole"),
            Ok(Some(_)) => self.awaited = Some((desired, Instant::now() + RETRY)),
            Err(problem) => {
                error!("the configuration can't be taken over whole, and will be tried again: {problem}");
                self.awaited = Some((desired, Instant::now() + RETRY));
            }
        }
    }
}

impl ApiOwner {
    async fn open(
        configuration: Configuration,
        desired: &Desired,
        options: &crate::api::Options,
        capacity: Capacity,
    ) -> anyhow::Result<(ApiOwner, Desired)> {
        let ground = ground(&configuration, desired);
        let api = Api::open(&configuration, options, ground.clone(), capacity).await?;
        let (service, health) = (Arc::clone(api.service()), Arc::clone(api.health()));
        let latest = service.latest();
        let newest = latest.state.generation;
        let is_shared = service.sharing().is_some();
        let directory = &configuration.store.directory;
        let last_good = is_shared.then(|| LastGood::open(directory, newest)).transpose()?;
        let found = last_good.as_ref().and_then(LastGood::found);
        let (state, refused) = match (&latest.unfit, found) {
            (None, _) => (&latest.state, None),
            (Some(why), Some(good)) => (good, Some(why.clone())),
            (Some(why), None) => bail!(
                "generation {newest} of the state does not fit this node, and there is no earlier one on its disk that \
                 did: {why}"
            ),
        };
        let mut projector = Projector::new(ground, Arc::clone(&latest.inventory));
        let desired = projector.project(state, &latest.inventory);
        let owner = ApiOwner {
            options: options.clone(),
            configuration,
            service,
            health,
            projector,
            in_force: state.generation,
            refused,
            last_good,
            url: api.url(),
            waiting: Some(api),
            serving: None,
            retry: None,
            latecomer: None,
        };
        Ok((owner, desired))
    }

    /// Takes over a state that the node can carry.
    fn follow(&mut self, node: &mut Node, latest: &Snapshot) {
        let desired = self.projector.project(&latest.state, &latest.inventory);
        let taken = take_over(node, desired);
        let refused = match taken {
            Ok(latecomer) => {
                self.wait_for(latecomer);
                None
            }
            Err(problem) => Some(format!("{:#}", anyhow::Error::from(problem))),
        };
        match &refused {
            None => {
                self.in_force = latest.state.generation;
                self.keep(&latest.state);
            }
            Some(problem) => {
                error!("the API's state can't be taken over, and will be tried again: {problem}");
                if self.retry.is_none() {
                    node.note_not_followed(problem);
                }
                self.retry = Some(Instant::now() + RETRY);
            }
        }
        if let Some(shared) = &mut node.sharing {
            shared.follow(self.in_force, refused);
        }
    }

    /// The state is in force, but for targets that are to come by another try if they wait for something.
    fn wait_for(&mut self, latecomer: Option<QuicServerIdInUse>) {
        self.retry = latecomer.is_some().then(|| Instant::now() + RETRY);
        match &latecomer {
            Some(why) if latecomer != self.latecomer => tell_of_waiting(why),
            None if self.latecomer.is_some() => info!("the desired state is in force whole"),
            _ => {}
        }
        self.latecomer = latecomer;
    }

    /// The data plane carries that state.
    fn keep(&self, state: &State) {
        if let Some(last_good) = &self.last_good {
            last_good.keep(state);
        }
    }

    /// The last good state, if it is an older one than the node is to start with.
    fn fallback(&mut self) -> Option<Desired> {
        let good = self.last_good.as_ref()?.found().filter(|good| good.generation < self.in_force)?;
        let (_, inventory) = self.service.snapshot();
        Some(self.projector.project(good, &inventory))
    }

    /// Goes on from what the node has started with: says so if that is an older generation, and tries the newest again if
    /// that could help.
    fn started(&mut self, node: &mut Node, refused: Option<String>) {
        let newest = self.service.latest();
        if let (Some(_), Some(good)) = (&refused, self.last_good.as_ref().and_then(LastGood::found)) {
            // What is left of an earlier controller goes with time.
            (self.in_force, self.retry) = (good.generation, Some(Instant::now() + RETRY));
            self.refused = refused;
        }
        match &self.refused {
            None if newest.state.generation == self.in_force => self.keep(&newest.state),
            // Somebody has made another one meanwhile, which is followed soon.
            None => {}
            Some(why) => {
                let (newest, in_force) = (newest.state.generation, self.in_force);
                error!(
                    "generation {newest} can't be carried by this node, started with {in_force}, the last one that \
                     could: {why}"
                );
                node.note_not_followed(&format!("started with generation {in_force}, not {newest}: {why}"));
            }
        }
    }

    /// Goes on with what is in force: others made a state that this node can't carry. The next one may be better.
    fn stay(&mut self, node: &mut Node, generation: u64, why: &str) {
        self.retry = None;
        let Some(shared) = &mut node.sharing else { return };
        if shared.follow(self.in_force, Some(why.to_owned())) {
            error!("generation {generation} is refused, {} stays in force: {why}", self.in_force);
            node.note_not_followed(&format!("generation {generation}: {why}"));
        }
    }

    async fn reload(&mut self, node: &mut Node, options: &Options) {
        let (content, announce, configuration) = match self.read(options) {
            Ok(read) => read,
            Err(problem) => {
                node.reload(Err(problem));
                return;
            }
        };
        // The file that there is is followed already: only another one is read here.
        let is_other = configuration.credentials != self.configuration.credentials;
        let guard = match is_other.then(|| process::guard(&configuration)).transpose() {
            Ok(guard) => guard,
            Err(problem) => {
                node.reload(Err(problem.context(options.file())));
                return;
            }
        };
        self.warn_of_later(&configuration);
        let (state, present) = self.service.snapshot();
        let inventory = match self.inventory(&configuration) {
            Ok(inventory) => inventory,
            Err(problem) => {
                node.reload(Err(problem.context(options.file())));
                return;
            }
        };
        let inventory = if *present == inventory { present } else { Arc::new(inventory) };
        if let Err(problem) = self.service.check(&inventory) {
            node.reload(Err(anyhow::Error::from(problem).context(options.file())));
            return;
        }
        let ground = ground(&configuration, &content);
        let mut projector = Projector::new(ground, Arc::clone(&inventory));
        if !node.reload_all(projector.project(&state, &inventory), announce).await {
            return;
        }
        self.projector = projector;
        self.configuration = configuration;
        self.in_force = state.generation;
        self.keep(&state);
        if let Some(shared) = &mut node.sharing {
            shared.follow(self.in_force, None);
        }
        if let Err(problem) = self.service.reconfigure(inventory, guard) {
            error!("the inventory is refused, the earlier one stays: {problem}");
        }
        if let (Source::Ec2(ec2), Some(feed)) = (&self.configuration.inventory, self.service.feed()) {
            feed.reconfigure(ec2);
        }
    }

    /// The inventory that a configuration means now.
    fn inventory(&self, configuration: &Configuration) -> anyhow::Result<Inventory> {
        match (&configuration.inventory, self.service.feed()) {
            (Source::File(inventory), None) => Ok(inventory.clone()),
            (Source::Ec2(ec2), Some(feed)) => Ok(feed.rejoined(ec2)?),
            _ => bail!("inventory: whether the file or an endpoint tells it changes at the next start only"),
        }
    }

    fn read(
        &self,
        options: &Options,
    ) -> anyhow::Result<(Desired, Option<announce::Configuration>, Configuration)> {
        let content = options.load()?;
        let config::Owner::Api(text) = content.owner else {
            bail!(
                "{}: api: missing; the API owns the state until the next start, restart to leave it to the file",
                options.file()
            );
        };
        let configuration = configuration(&text, &self.options).with_context(|| options.file())?;
        Ok((content.desired, content.announce, configuration))
    }

    /// What a running API can't change.
    fn warn_of_later(&self, wanted: &Configuration) {
        let present = &self.configuration;
        let later = [
            ("address", present.address != wanted.address),
            ("tls", present.tls != wanted.tls),
            ("audit_log", present.audit_log != wanted.audit_log),
            ("partition, region, account or domain", present.identity != wanted.identity),
        ];
        for (name, _) in later.iter().filter(|(_, is_other)| *is_other) {
            warn!("api.{name}: the change takes effect at the next start");
        }
    }
}

impl Drop for ApiOwner {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// Takes over a desired state; targets that wait for a QUIC server id come later, and it says why.
fn take_over(node: &mut Node, desired: Desired) -> Result<Option<QuicServerIdInUse>, Refused> {
    apply_in_turn(
        desired,
        |desired| {
            if desired == *node.desired() { Ok(()) } else { node.take_over(desired) }
        },
    )
}

fn tell_of_waiting(why: &QuicServerIdInUse) {
    warn!("the desired state is in force but for a target that comes later: {why}");
}
