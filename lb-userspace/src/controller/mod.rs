//! `sluice run`: one node's controller.
//!
//! ```text
//!   file, SIGHUP ─┐
//!   the API ──────┤ (if it owns the state)
//!   health events ┼─► events ─► node (reconciler → difference → maps) ─► status, metrics
//!   next hops ────┤                                              └─► announcing ─► routers
//!   time ─────────┘
//! ```
//!
//! One task owns all state; everything else sends it events. Only this module and `node` know of all the parts.

mod announce;
mod capture;
mod chronicle;
mod configuration;
mod detach;
mod events;
mod explain;
mod flow_log;
mod hash_key;
mod health_board;
mod health_views;
pub(crate) mod names;
mod node;
mod observers;
mod own_addresses;
mod owner;
mod pace;
mod preflight;
mod report;
mod sharing;
pub(crate) mod sizes;
mod stop;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tracing::{debug, info, warn};

use crate::config;
use crate::data_plane::Capacity;
use crate::plan::Planner;
use crate::privileges::{self, Helper, Talk};
use crate::service_manager::{self, Watchdog};
use crate::status::server;
use announce::Announcing;
use configuration::ConfigurationFile;
pub use detach::{Options as DetachOptions, run as detach};
use events::{Doors, Event, Events};
use node::Node;
use owner::Owner;
pub use preflight::{OLDEST_KERNEL, OLDEST_KERNEL_THAT_CAPTURES};
use sizes::Size;
pub use stop::{Options as StopOptions, run as stop};

/// Run the controller of this node
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The configuration: a JSON file. A change of it is applied at once.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Use these interfaces instead of the configuration's (repeatable)
    #[arg(long = "interface", value_name = "IF")]
    pub interfaces: Vec<String>,
    /// Where the status socket and the key of the flow hash are kept
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_RUNTIME_DIRECTORY)]
    pub runtime_directory: PathBuf,
    /// Where the data plane stays while no controller runs: a directory in a BPF file system, of its own
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PINS)]
    pub pins: PathBuf,
    /// Pin nothing: the data plane ends with the controller
    #[arg(long, conflicts_with = "pins")]
    pub unpinned: bool,
    /// Make the data plane for so many flows (of changed slots), targets, listeners, slots or allowed-prefixes
    /// (repeatable); what is pinned in another size is moved
    ///
    /// Usual are flows=1048576, targets=16383, listeners=8192, slots=4194304, allowed-prefixes=131072.
    #[arg(long, value_name = "WHAT=N", value_parser = Size::parse)]
    pub max: Vec<Size>,
}

/// Where the data plane stays, if nothing else is asked for.
const DEFAULT_PINS: &str = "/sys/fs/bpf/sluice";

/// A controller that has its helper, and no rights any more.
pub struct Prepared {
    options: Options,
    content: config::Content,
    helper: Helper,
}

/// Reads the configuration, starts the helper, and gives up all rights that it has then. To be called by the process's only
/// thread.
///
/// # Errors
/// If the configuration is bad, or the process lacks privileges or the kernel something.
pub fn prepare(options: Options, api: &crate::api::Options) -> anyhow::Result<Prepared> {
    let content = options.load()?;
    config::warnings(&options.config, &content).iter().for_each(|words| warn!("{words}"));
    preflight::check()?;
    let pins = (!options.unpinned).then(|| options.pins.clone());
    let orders = privileges::helper::Options {
        config: options.config.clone(),
        interfaces: options.interfaces.clone(),
        pins,
        max: options.max.clone(),
    };
    let addresses = [content.desired.metrics_address, owner::api_address(&content, api)];
    let helper = privileges::start(orders, addresses)?;
    Ok(Prepared { options, content, helper })
}

/// Runs until SIGINT or SIGTERM. What is pinned goes on forwarding then; without pins, the interfaces are left as they
/// were.
///
/// # Errors
/// If it can't start: an interface is missing or taken, somebody else works with the pins. Once it runs, the end of its
/// helper alone ends it: what is pinned goes on forwarding.
pub async fn run(prepared: Prepared, api: crate::api::Options) -> anyhow::Result<()> {
    let Prepared { options, content, helper } = prepared;
    let Talk { mut helper, mut programs, network, survivor } = helper.talk()?;
    let held = programs.begin()?;
    let announce = content.announce.clone();
    let (mut owner, desired) = Owner::open(content, &options, &api).await?;
    let hash_key = hash_key::load_or_make(&options.runtime_directory, held)?;
    let file = ConfigurationFile::watch(options.config.clone())?;
    let metrics_address = desired.metrics_address;
    let orders = owner.state_directory(&options.runtime_directory, &api);
    let is_pinned = programs.pins().is_some();
    let announcing = Announcing::open(announce, &orders, is_pinned, network.clone(), survivor);
    let fallback = owner.fallback();
    let (mut node, refused) =
        Node::start(desired, fallback, &options, hash_key, programs, network, announcing).await?;
    owner.started(&mut node, refused);
    node.set_health_board(owner.health_board());
    node.configuration.owner = owner.report();
    owner.note_calls_in(&node.journal);
    node.sharing = owner.sharing();
    let (mut events, doors) = Events::listen(file, owner.changes(), &mut node)?;
    let Doors { reports, questions, captures, orders, stages, records } = doors;
    let socket = options.runtime_directory.join(crate::STATUS_SOCKET);
    let planner = Planner::beside_data_plane(owner.source(&options), stages);
    let routes = crate::explain::routes(questions)
        .merge(crate::plan::routes(planner))
        .merge(crate::announce::routes::routes(orders))
        .merge(crate::events::routes::routes(Arc::clone(&node.journal)))
        .merge(crate::administration::routes::routes(owner.administration(&options)));
    let _status =
        server::serve_socket(&socket, reports.clone(), routes).await.context("serving the status")?;
    let _captures =
        crate::capture::socket::serve(&options.runtime_directory.join(crate::CAPTURE_SOCKET), captures)
            .await
            .context("serving captures")?;
    let _metrics = match metrics_address {
        Some(address) => {
            let api = owner.service().map(Arc::clone);
            let api = Box::new(move || api.as_ref().map(|api| api.scrape()));
            Some(server::serve_metrics(address, reports, api))
        }
        None => None,
    };
    node.attach_at_start()?;
    owner.serve(&node, records);
    node.note_start();
    let mut watchdog = Watchdog::of_this_process(Instant::now());
    info!("ready: {}", config::summary(node.desired()));
    service_manager::ready(&config::summary(node.desired()));
    loop {
        let deadlines = [node.next_deadline(), owner.next_deadline(), watchdog.next_deadline()];
        let first = tokio::select! {
            event = events.next(deadlines.into_iter().flatten().min()) => event,
            how = helper.ended() => return node.stop_without_helper(&how).await,
        };
        let (mut asked, mut is_changed, mut can_wait) = (Vec::new(), false, true);
        for event in std::iter::once(first).chain(events.pending()) {
            can_wait &= event.can_wait();
            match event {
                Event::Stop => {
                    service_manager::stopping();
                    return node.stop().await;
                }
                Event::Reload => owner.reload(&mut node, &options).await,
                Event::Changed => is_changed = true,
                Event::Health(event) => node.observe(event),
                Event::Agent(event) => node.observe_agent(event),
                Event::Told(told) => node.take_connections(&told),
                Event::NextHops(next_hops) => node.set_next_hops(&next_hops),
                Event::Interfaces(interfaces) => node.set_interfaces(&interfaces),
                Event::Report(answer) => asked.push(answer),
                Event::Question(question) => node.answer_question(question),
                Event::Capture(ask) => node.attend(ask),
                Event::Order(ordered) => node.order(ordered),
                // Who asked may have gone.
                Event::Rehearse(answer) => drop(answer.send(owner.stage(&node))),
                Event::Record(answer) => node.tell_of_itself(answer),
                Event::Nodes => node.hear_others(),
                Event::Tick => {}
            }
        }
        let begun = is_changed.then(Instant::now);
        if is_changed {
            owner.follow(&mut node);
        }
        owner.retry(&mut node);
        node.follow(can_wait);
        if let Some(begun) = begun {
            debug!("the API's state is in force after {:.2} ms", begun.elapsed().as_secs_f64() * 1000.0);
        }
        node.announce();
        node.note_progress();
        watchdog.feed(Instant::now());
        // Only now: what a report says of health and configuration is in force.
        asked.into_iter().for_each(|answer| node.answer(answer));
    }
}

impl Options {
    fn load(&self) -> anyhow::Result<config::Content> {
        let mut content = config::load_content(&self.config)?;
        if !self.interfaces.is_empty() {
            content.desired.node.interfaces.clone_from(&self.interfaces);
        }
        Ok(content)
    }

    /// How much the data plane is made for.
    fn capacity(&self) -> Capacity {
        sizes::capacity(&self.max)
    }

    /// The configuration file as messages name it.
    fn file(&self) -> String {
        self.config.display().to_string()
    }
}
