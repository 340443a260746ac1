//! `sluice plan` and `sluice apply`: ask the running controller, and print its answer.

use std::io::{IsTerminal, Write, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::render::render;
use super::report::Plan;
use super::routes::{Ask, Current};
use crate::output;
use crate::status::client;

/// Say what a document would change and move, without doing it
///
/// Exits with 0 if there is no difference, with 2 if there is one, with 1 on an error.
#[derive(Debug, Clone, clap::Args)]
pub struct PlanOptions {
    /// Load balancers and target groups as JSON; where a configuration file owns them: another such file
    #[arg(value_name = "FILE", required_unless_present = "current")]
    file: Option<PathBuf>,
    /// Print the present state as a document instead
    #[arg(long, conflicts_with_all = ["file", "delete", "json"])]
    current: bool,
    /// Delete what the document does not name
    #[arg(long)]
    delete: bool,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// The runtime directory that the controller was started with
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_RUNTIME_DIRECTORY)]
    runtime_directory: PathBuf,
}

/// Change the API's state into what a document says, as a whole
#[derive(Debug, Clone, clap::Args)]
pub struct ApplyOptions {
    /// Load balancers and target groups as JSON
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Delete what the document does not name
    #[arg(long)]
    delete: bool,
    /// Do not ask first
    #[arg(long, short)]
    yes: bool,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// The runtime directory that the controller was started with
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_RUNTIME_DIRECTORY)]
    runtime_directory: PathBuf,
}

/// The exit status for a difference.
const DIFFERENT: u8 = 2;

/// Prints a plan, or the present state.
///
/// # Errors
/// If the document is refused, or no controller answers.
pub async fn plan(options: PlanOptions) -> Result<ExitCode> {
    let socket = options.runtime_directory.join(crate::STATUS_SOCKET);
    let Some(file) = options.file else {
        let current: Current = client::post(&socket, "/plan/current", &()).await?;
        output::print(&current.text)?;
        return Ok(ExitCode::SUCCESS);
    };
    let plan: Plan = client::post(&socket, "/plan", &ask(&file, options.delete)?).await?;
    output::print(&text(&plan, options.json)?)?;
    Ok(if plan.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

/// Shows a plan, asks for a word of consent, and has it carried out.
///
/// # Errors
/// If the document is refused, nobody consents, the state was changed meanwhile, or no controller answers.
pub async fn apply(options: ApplyOptions) -> Result<ExitCode> {
    let socket = options.runtime_directory.join(crate::STATUS_SOCKET);
    let mut ask = ask(&options.file, options.delete)?;
    let plan: Plan = client::post(&socket, "/plan", &ask).await?;
    if plan.owner == "file" {
        // The refusal says what to do instead.
        ask.version = Some(plan.version);
        let _: Plan = client::post(&socket, "/apply", &ask).await?;
    }
    if plan.is_empty() {
        output::print(&text(&plan, options.json)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !options.json {
        output::print(&render(&plan))?;
    }
    if !options.yes {
        consent(&plan, options.json)?;
    }
    ask.version = Some(plan.version);
    let done: Plan = client::post(&socket, "/apply", &ask).await?;
    output::print(&if options.json { text(&done, true)? } else { "applied\n".to_owned() })?;
    Ok(ExitCode::SUCCESS)
}

fn ask(file: &Path, delete: bool) -> Result<Ask> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!("{}: can't be read; expected a JSON file that this user may read", file.display())
    })?;
    Ok(Ask { file: file.display().to_string(), text, delete, version: None })
}

fn text(plan: &Plan, json: bool) -> Result<String> {
    if !json {
        return Ok(render(plan));
    }
    Ok(serde_json::to_string_pretty(plan).context("writing the plan as JSON")? + "\n")
}

/// Asks on the terminal.
fn consent(plan: &Plan, json: bool) -> Result<()> {
    if !stdin().is_terminal() {
        bail!("nobody can be asked here, so nothing was done; say --yes to have it done");
    }
    if json {
        eprint!("{}", render(plan));
    }
    eprint!("Apply this? Only \"yes\" is a yes: ");
    std::io::stderr().flush().context("writing to the terminal")?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).context("reading from the terminal")?;
    if answer.trim() == "yes" { Ok(()) } else { bail!("nothing was done") }
}
