//! Manual pages and shell completions, made from the command line's own definition, so that they can't differ from it.

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;

/// Writes the manual: `sluice.1`, and a page for each subcommand, `sluice-run.1` and the like.
///
/// # Errors
/// If the directory can't be made or written to.
pub fn write_pages(command: Command, directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    clap_mangen::generate_to(command, directory)
        .with_context(|| format!("writing manual pages to {}", directory.display()))
}

/// The script that completes the command's words in a shell.
pub fn completions(mut command: Command, shell: Shell) -> String {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
