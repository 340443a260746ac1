//! The clients that the API's tests run: packages from PyPI, in a virtual environment of this workspace.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::apt;
use crate::invocation::{clean, on_path, say, succeed, try_output};
use crate::workspace::Workspace;

/// Which packages, beside the tests that run them.
const REQUIREMENTS: &str = "tests/tests/api/requirements.txt";

/// Makes sure that `python` in the target directory has just what the requirements name. The tests find it there.
pub(crate) fn ensure_clients(workspace: &Workspace) -> Result<()> {
    let environment = workspace.target.join("python");
    let requirements = workspace.root.join(REQUIREMENTS);
    let wanted =
        fs::read_to_string(&requirements).with_context(|| format!("reading {}", requirements.display()))?;
    // Written last: an environment without it was not finished.
    let installed = environment.join("requirements.txt");
    if fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(());
    }
    let python = python()?;
    say(format_args!("installing the API's clients into {} ({})", environment.display(), REQUIREMENTS));
    succeed(clean(python).args(["-m", "venv", "--clear"]).arg(&environment))?;
    let mut pip = clean(environment.join("bin").join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    succeed(pip.arg(&requirements))?;
    fs::write(&installed, wanted).with_context(|| format!("writing {}", installed.display()))
}

/// A Python that can make virtual environments.
fn python() -> Result<PathBuf> {
    let usable = || on_path("python3").filter(has_venv);
    if let Some(python) = usable() {
        return Ok(python);
    }
    say("there is no python3 with venv: the API's tests run boto3 and the aws CLI with it");
    apt::install(&["python3", "python3-venv"])?;
    usable().context("python3 can't make virtual environments although python3-venv is installed")
}

fn has_venv(python: &PathBuf) -> bool {
    try_output(clean(python).args(["-c", "import ensurepip, venv"])).is_some()
}
