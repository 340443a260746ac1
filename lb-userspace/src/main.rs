//! The `sluice` command: dispatch only.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use lb_userspace::privileges::{Jobs, Role, confine};
use lb_userspace::{
    administration, agent, announce, api, capture, config, controller, doctor, events, explain, inspect,
    manual, output, plan, privileges, status, top,
};
use tikv_jemallocator::Jemalloc;
use tracing_subscriber::EnvFilter;

/// With the C library's allocator `cargo xtask bench --control` took nearly twice as long from RegisterTargets to slots.
/// Settings are in `.cargo/config.toml`. It has no thread: one that began before the process has given up its rights
/// would keep them.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[derive(Parser)]
#[command(name = "sluice", version, about, arg_required_else_help = true)]
/// A layer-4 load balancer in XDP
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the controller of this node
    Run(Run),
    /// End the controller of this node; the data plane goes on forwarding
    Stop(controller::StopOptions),
    /// End the data plane that a controller has left
    Detach(controller::DetachOptions),
    /// Receive balanced packets on this target
    Agent(agent::Options),
    /// Check a configuration file without touching anything
    Check {
        /// The configuration: a JSON file
        file: PathBuf,
    },
    /// Show what a running controller does
    Status(status::Options),
    /// Nodes: list those that share the state; take this one out of its routers' tables, and put it back
    Node(announce::NodeOptions),
    /// Leave this zone's own VIPs to other zones for a while
    Zone(announce::ZoneOptions),
    /// Load balancers: list them, show one
    #[command(visible_alias = "load-balancer")]
    Lb {
        #[command(subcommand)]
        verb: inspect::LoadBalancerVerb,
    },
    /// Listeners: list them, show one
    Listener {
        #[command(subcommand)]
        verb: inspect::ListenerVerb,
    },
    /// Target groups: list them, show one
    #[command(visible_alias = "tg")]
    TargetGroup {
        #[command(subcommand)]
        verb: inspect::TargetGroupVerb,
    },
    /// Targets: list them, show one, drain it, give it another weight
    Target {
        #[command(subcommand)]
        verb: administration::TargetVerb,
    },
    /// Show what changed, when, by whom and why
    Events(events::Options),
    /// Show listeners and targets with their rates, on a terminal that stays
    Top(top::Options),
    /// Say what a document would change and move, without doing it
    Plan(plan::PlanOptions),
    /// Change the API's state into what a document says, as a whole
    Apply(plan::ApplyOptions),
    /// Say what the loaded program does with a packet, without sending it
    Explain(explain::Options),
    /// Write packets as they came and as they left, with verdict, target and reason
    Capture(capture::Options),
    /// Look at the state that the API keeps, save it, or make a new one of what was saved
    State(api::store::Options),
    /// Find out why packets are not forwarded, on a node or a target
    Doctor(doctor::Options),
    /// Print the script that completes the words of this command in a shell
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Wait for the end of the controller that has started this, and withdraw its routes from the kernel's table
    #[command(hide = true, name = announce::kernel_table::OUTLIVE_CONTROLLER)]
    OutliveController,
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Manual {
        /// Made if it isn't there
        directory: PathBuf,
    },
    /// Do what takes privileges for the controller that has started this
    #[command(name = privileges::COMMAND, hide = true)]
    PrivilegedHelper(privileges::helper::Options),
}

/// What is done before there are threads.
enum Begun {
    /// The controller has its helper, and no rights.
    Controller(Box<controller::Prepared>, Box<api::Options>),
    /// Whatever else is asked.
    Other(Box<Command>),
}

/// A node's controller, or the API alone.
#[derive(clap::Args)]
#[command(mut_arg("config", |config| config.required(false).required_unless_present("api_only")))]
struct Run {
    #[command(flatten)]
    api: api::Options,
    #[command(flatten)]
    node: Option<controller::Options>,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    match begin_and_run(arguments().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin_and_run(command: Command) -> anyhow::Result<ExitCode> {
    if let Command::PrivilegedHelper(options) = command {
        return privileges::helper::serve(options).map(|()| ExitCode::SUCCESS);
    }
    let begun = begin(command)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("starting the runtime's threads")?.block_on(async {
        match begun {
            Begun::Controller(prepared, api) => {
                controller::run(*prepared, *api).await.map(|()| ExitCode::SUCCESS)
            }
            Begun::Other(command) => run(*command).await,
        }
    })
}

/// Whatever runs for long gives up what it does not need while it is one thread.
fn begin(command: Command) -> anyhow::Result<Begun> {
    match command {
        Command::Run(Run { api, node }) if !api.api_only => {
            let prepared = controller::prepare(node.context("--config FILE is missing")?, &api)?;
            return Ok(Begun::Controller(Box::new(prepared), Box::new(api)));
        }
        Command::Run(Run { ref api, ref node }) => {
            let file = node.as_ref().map(|node| node.config.as_path());
            confine(Role::ApiAlone, Jobs { file, addresses: [api.address(file), None] })?;
        }
        Command::Agent(ref options) => {
            let addresses = [options.serves_metrics_at(), None];
            confine(Role::Agent, Jobs { file: options.config.as_deref(), addresses })?;
        }
        Command::OutliveController => confine(Role::Survivor, Jobs::default())?,
        _ => {}
    }
    Ok(Begun::Other(Box::new(command)))
}

/// The command line. To those who run `sluice plan` in a script 2 says that there is a difference: a wrong command line
/// is an error like others there.
fn arguments() -> Arguments {
    Arguments::try_parse().unwrap_or_else(|error| {
        let is_plan = std::env::args_os().nth(1).is_some_and(|command| command == "plan");
        if is_plan && error.use_stderr() {
            // Where standard error is closed, the exit status alone tells it.
            drop(error.print());
            std::process::exit(1);
        }
        error.exit()
    })
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Run(Run { api, node }) => api::run(api, node.map(|node| node.config)).await,
        Command::Stop(options) => controller::stop(options).await,
        Command::Detach(options) => controller::detach(options).await,
        Command::Agent(options) => agent::run(options).await,
        Command::Check { file } => {
            let content = config::load_content(&file)?;
            config::warnings(&file, &content).iter().for_each(|words| eprintln!("warning: {words}"));
            let held = match &content.owner {
                config::Owner::File => config::summary(&content.desired),
                config::Owner::Api(text) => api::check(text).with_context(|| file.display().to_string())?,
            };
            output::print(&format!("{}: ok: {held}\n", file.display()))
        }
        Command::Status(options) => status::show(options).await,
        Command::Node(options) => announce::node(options).await,
        Command::Zone(options) => announce::zone(options).await,
        Command::Lb { verb } => inspect::load_balancers(verb).await,
        Command::Listener { verb } => inspect::listeners(verb).await,
        Command::TargetGroup { verb } => inspect::target_groups(verb).await,
        Command::Target { verb } => administration::targets(verb).await,
        Command::Events(options) => events::show(options).await,
        Command::Top(options) => top::show(options).await,
        Command::Plan(options) => return plan::plan(options).await,
        Command::Apply(options) => return plan::apply(options).await,
        Command::Explain(options) => explain::show(options).await,
        Command::Capture(options) => capture::run(options).await,
        Command::State(options) => return api::store::run(options),
        Command::Doctor(options) => return doctor::examine(options).await,
        Command::Completions { shell } => output::print(&manual::completions(Arguments::command(), shell)),
        Command::OutliveController => announce::kernel_table::survive().await,
        Command::Manual { directory } => manual::write_pages(Arguments::command(), &directory),
        Command::PrivilegedHelper(_) => bail!("the privileged helper has no other threads"),
    };
    done.map(|()| ExitCode::SUCCESS)
}
