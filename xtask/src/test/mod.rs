//! `cargo xtask test`: lint, build, every test as root, the lab's story. Ends with `N passed, N failed`.

mod cargo_test;
mod lint;
mod summary;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::build::{self, Profile};
use crate::invocation::{say, status_of};
use crate::kernel::Kernel;
use crate::privilege::Privilege;
use crate::run;
use crate::toolchain;
use crate::verify;
use crate::workspace::Workspace;
use summary::Summary;

/// Under it a test that needs root fails where it would be skipped.
const PRIVILEGED: (&str, &str) = ("SLUICE_TEST_PRIVILEGED", "required");

/// With `--long`: how many packets each test of the data plane's model plays, how often targets change beneath ten
/// thousand connections, the controller is killed beneath a crowd, programs are replaced beneath a stream, and maps
/// change their sizes beneath both.
const LONG: [(&str, &str); 5] = [
    ("SLUICE_TEST_MODEL_PACKETS", "10000000"),
    ("SLUICE_TEST_CHANGES", "100"),
    ("SLUICE_TEST_KILLS", "100"),
    ("SLUICE_TEST_SWAPS", "100"),
    ("SLUICE_TEST_SIZES", "20"),
];

/// Arguments of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Test {
    /// Leave out rustfmt and clippy
    #[arg(long)]
    no_lint: bool,
    /// Boot this kernel in an emulator and run the smoke tests there, instead of all others
    #[arg(long, conflicts_with_all = ["no_lint", "filter", "long"])]
    kernel: Option<Kernel>,
    /// Play 10 million packets in each test of the model, 100 changes beneath ten thousand connections, 100 kills of the
    /// controller, and 100 replacements of the programs
    #[arg(long)]
    long: bool,
    /// Run only the tests whose name contains this, without lint and the lab's story
    filter: Option<String>,
}

impl Test {
    /// Runs everything, and says what failed.
    pub(crate) fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let privilege = Privilege::find("cargo xtask test")?;
        toolchain::ensure_build()?;
        toolchain::ensure_tests()?;
        build::ebpf(workspace)?;
        let mut summary = Summary::default();
        if let Some(kernel) = self.kernel {
            guest(workspace, kernel, &mut summary)?;
            return Ok(conclude(&summary));
        }
        if !self.no_lint && self.filter.is_none() {
            lint::run(workspace, &mut summary)?;
        }
        toolchain::promtool::ensure(workspace)?;
        toolchain::python::ensure_clients(workspace)?;
        toolchain::routers::ensure()?;
        build::user_space(workspace, Profile::Debug, &["lb-userspace", "lab"])?;
        if self.filter.is_none() {
            say("the verifier's budgets (cargo xtask verify)");
            summary.add_check(
                "the verifier's budgets (cargo xtask verify)",
                verify::passes(workspace, privilege)?,
            );
        }
        self.tests(workspace, privilege, &mut summary)?;
        if self.filter.is_none() {
            demo(workspace, privilege, &mut summary)?;
        }
        Ok(conclude(&summary))
    }

    /// First the cheap layers, then the hosts in network namespaces.
    fn tests(&self, workspace: &Workspace, privilege: Privilege, summary: &mut Summary) -> Result<()> {
        let long = if self.long { &LONG[..] } else { &[] };
        let environment = &[&[PRIVILEGED], long].concat();
        for selection in [&["--workspace", "--exclude", "lab"][..], &["--package", "lab"][..]] {
            say(format_args!("cargo test {}", selection.join(" ")));
            let outcome =
                cargo_test::run(workspace, privilege, environment, selection, self.filter.as_deref())?;
            summary.add_tests(&format!("cargo test {}", selection.join(" ")), &outcome);
        }
        Ok(())
    }
}

fn conclude(summary: &Summary) -> ExitCode {
    print!("{summary}");
    if summary.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn guest(workspace: &Workspace, kernel: Kernel, summary: &mut Summary) -> Result<()> {
    build::user_space(workspace, Profile::Debug, &["lb-userspace", "lab"])?;
    for check in kernel.checks(workspace)? {
        summary.add_guest_check(&format!("{}: {}", kernel.name(), check.name), check.is_success);
    }
    Ok(())
}

fn demo(workspace: &Workspace, privilege: Privilege, summary: &mut Summary) -> Result<()> {
    say("the lab's story (cargo xtask run --demo)");
    let status = status_of(&mut run::demo(workspace, Profile::Debug, privilege, 3))?;
    summary.add_demo(status.success());
    Ok(())
}
