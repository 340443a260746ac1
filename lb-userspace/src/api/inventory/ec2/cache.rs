//! The last good answer on the disk, beside the state: what a start begins with.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::super::RawInventory;
use super::configuration::Configuration;
use crate::api::calendar::Timestamp;

/// The file's name.
const FILE: &str = "inventory-ec2.json";

/// Where the last good answer is kept; nowhere, where the state is not kept either.
#[derive(Debug)]
pub(super) struct Cache(Option<PathBuf>);

/// What is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    /// Whose answer it is: another endpoint's says nothing about this network.
    endpoint: String,
    region: String,
    /// When it was given, in milliseconds since 1970.
    at: u64,
    network: RawInventory,
}

impl Cache {
    /// A file in a directory.
    pub(super) fn inside(directory: Option<&Path>) -> Cache {
        Cache(directory.map(|directory| directory.join(FILE)))
    }

    /// What this endpoint answered last, and when. A file that can't be read is as good as none.
    pub(super) fn load(&self, configuration: &Configuration) -> Option<(RawInventory, Timestamp)> {
        let file = self.0.as_ref().filter(|file| file.exists())?;
        match read(file) {
            Ok(kept) if kept.is_of(configuration) => Some((kept.network, Timestamp(kept.at))),
            Ok(_) => None,
            Err(problem) => {
                warn!("the endpoint's last answer can't be read: {problem:#}");
                None
            }
        }
    }

    /// Keeps an answer; whole or not at all, and for a power cut's other side.
    pub(super) fn keep(&self, configuration: &Configuration, network: &RawInventory, at: Timestamp) {
        let Some(file) = &self.0 else { return };
        let Configuration { endpoint, region, .. } = configuration;
        let kept = Kept {
            endpoint: endpoint.to_string(),
            region: region.clone(),
            at: at.0,
            network: network.clone(),
        };
        if let Err(problem) = write(file, &kept) {
            warn!("the endpoint's answer is not on this node's disk: {problem:#}");
        }
    }
}

impl Kept {
    fn is_of(&self, configuration: &Configuration) -> bool {
        self.endpoint == configuration.endpoint.to_string() && self.region == configuration.region
    }
}

fn read(file: &Path) -> anyhow::Result<Kept> {
    let text = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{}", file.display()))
}

fn write(file: &Path, kept: &Kept) -> anyhow::Result<()> {
    let new = file.with_extension("json.new");
    let written = || {
        let mut options = fs::OpenOptions::new();
        let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        out.write_all(&serde_json::to_vec(kept)?)?;
        out.sync_all()?;
        fs::rename(&new, file)
    };
    written().with_context(|| format!("writing {}", file.display()))
}
