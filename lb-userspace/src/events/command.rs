//! `sluice events`: what changed on this node, once or as it happens.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::event::Event;
use super::journal::Page;
use crate::output::{self, Reader};
use crate::status::client;

/// Between two looks, while following.
const PERIOD: Duration = Duration::from_millis(500);

/// Show what changed, when, by whom and why
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Go on, and print what happens as it happens
    #[arg(long, short)]
    follow: bool,
    /// Only events of this target: ADDRESS or GROUP/ADDRESS
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Only the last so many
    #[arg(long, short = 'n', value_name = "COUNT")]
    last: Option<usize>,
    /// Print JSON for programs, an event a line
    #[arg(long)]
    json: bool,
    /// The runtime directory that the controller was started with
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_RUNTIME_DIRECTORY)]
    runtime_directory: PathBuf,
}

/// Prints the events.
///
/// # Errors
/// If no controller answers; once it has, following goes on until somebody ends it.
pub async fn show(options: Options) -> Result<()> {
    let socket = options.runtime_directory.join(crate::STATUS_SOCKET);
    let page = fetch(&socket, 0).await?;
    if page.forgotten > 0 {
        remark(&format!("the {} oldest events are not kept any more", page.forgotten));
    }
    let mut chosen: Vec<&Event> = page.events.iter().filter(|event| options.wants(event)).collect();
    if let Some(last) = options.last {
        chosen.drain(..chosen.len().saturating_sub(last));
    }
    match options.print(&chosen)? {
        Reader::Reads if options.follow => follow(&options, &socket, Place::after(&page)).await,
        Reader::Reads | Reader::Gone => Ok(()),
    }
}

/// How far a journal was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    journal: String,
    number: u64,
}

impl Place {
    fn after(page: &Page) -> Place {
        Place { journal: page.journal.clone(), number: page.last }
    }
}

async fn follow(options: &Options, socket: &Path, mut place: Place) -> Result<()> {
    let mut is_away = false;
    loop {
        tokio::time::sleep(PERIOD).await;
        let mut page = match fetch(socket, place.number).await {
            Ok(page) => page,
            Err(problem) => {
                if !is_away {
                    remark(&format!("waiting for the controller: {problem:#}"));
                }
                is_away = true;
                continue;
            }
        };
        is_away = false;
        if page.journal != place.journal {
            remark("the controller was started anew");
            page = match fetch(socket, 0).await {
                Ok(page) => page,
                Err(_) => continue,
            };
        }
        if page.forgotten > 0 {
            remark(&format!("{} events were too fast and are lost", page.forgotten));
        }
        let chosen: Vec<&Event> = page.events.iter().filter(|event| options.wants(event)).collect();
        if options.print(&chosen)? == Reader::Gone {
            return Ok(());
        }
        place = Place::after(&page);
    }
}

async fn fetch(socket: &Path, after: u64) -> Result<Page> {
    client::get(socket, &format!("/events?after={after}")).await
}

/// Beside the events, which are the output.
fn remark(text: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("({text})");
    }
}

impl Options {
    fn wants(&self, event: &Event) -> bool {
        self.target.as_ref().is_none_or(|target| event.is_about(target))
    }

    fn print(&self, events: &[&Event]) -> Result<Reader> {
        let mut text = String::new();
        for event in events {
            let line = if self.json {
                serde_json::to_string(event).context("writing an event as JSON")?
            } else {
                event.to_string()
            };
            text += &line;
            text.push('\n');
        }
        output::print_on(&text)
    }
}
