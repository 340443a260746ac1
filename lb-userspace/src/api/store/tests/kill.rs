//! The process is killed at a thousand moments.

use std::fs;
use std::io::{BufRead, BufReader, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Scratch;
use super::story::Story;
use crate::api::store::inspect::usable;
use crate::api::store::open;

/// Names the directory of a process that is to be killed.
const DIRECTORY: &str = "SLUICE_TEST_KILLED_STATE";
const KILLS: usize = 1000;

/// Each process begins with the store that the one before left; nobody mends it in between.
#[test]
fn no_kill_loses_an_acknowledged_change() {
    let (scratch, imagined) = (Scratch::new(), Story::imagined());
    drop(open(&scratch.path).unwrap());
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        acknowledged = acknowledged.max(killed_somewhere(&scratch.path));
        let bytes = fs::read(scratch.path.join("state.redb")).unwrap();
        let state = usable(&bytes, 0).unwrap_or_else(|error| panic!("kill {kill}: {error:#}"));
        let possible = acknowledged..=acknowledged + 1;
        assert!(possible.contains(&state.generation), "kill {kill}: {possible:?}, {}", state.generation);
        assert!(state == imagined.at(state.generation), "kill {kill}: another state than was kept");
        acknowledged = state.generation;
    }
    assert!(acknowledged > KILLS as u64, "only {acknowledged} changes were made in all");
}

/// Runs a process that makes changes, kills it after some of them: the last generation that it acknowledged.
fn killed_somewhere(directory: &Path) -> u64 {
    let mut child = start(directory);
    let output = child.stdout.take().unwrap();
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let mut acknowledged = 0;
    for line in lines.by_ref().take(fastrand::usize(..12)) {
        acknowledged = generation(&line).unwrap_or(acknowledged);
    }
    std::thread::sleep(Duration::from_micros(fastrand::u64(..3000)));
    child.kill().unwrap();
    child.wait().unwrap();
    lines.filter_map(|line| generation(&line)).last().unwrap_or(acknowledged)
}

fn start(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "api::store::tests::kill::the_process_that_is_killed"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The lines that the test harness writes are no such line; one that was cut off is none either.
fn generation(line: &str) -> Option<u64> {
    line.strip_prefix("acknowledged ")?.strip_suffix('.')?.parse().ok()
}

#[test]
fn the_process_that_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let story = Story::on(open(&directory).unwrap());
    loop {
        let generation = story.go_on();
        let mut output = stdout();
        output.write_all(format!("\nacknowledged {generation}.\n").as_bytes()).unwrap();
        output.flush().unwrap();
    }
}
