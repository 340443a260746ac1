//! A store in a directory, while nothing goes wrong, and while writing does.

use std::fs;
use std::time::Instant;

use super::Scratch;
use super::story::Story;
use crate::api::store::open;

#[test]
fn what_was_kept_is_there_again() {
    let (scratch, imagined) = (Scratch::new(), Story::imagined());
    for generation in [0, 1, 2, 7, 50, 51] {
        let story = Story::on(open(&scratch.path).unwrap());
        let state = story.at(generation);
        assert_eq!(state, imagined.at(generation));
    }
}

/// Changes that are asked for at the same time wait for the disk together.
#[test]
fn many_clients_changes_are_all_kept_and_share_the_disk() {
    const CLIENTS: usize = 40;
    const CHANGES: usize = 25;
    let scratch = Scratch::new();
    let story = Story::on(open(&scratch.path).unwrap());
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let story = &story;
            scope.spawn(move || {
                for change in 0..CHANGES {
                    let group = format!("c{client}-{change}");
                    let settings = format!("Name={group}&Protocol=TCP&Port=80&VpcId=vpc-1&TargetType=ip");
                    assert_eq!(story.ask(&format!("CreateTargetGroup&{settings}")).status, 200);
                }
            });
        }
    });
    let took = begin.elapsed();
    println!("{:.0} changes a second", (CLIENTS * CHANGES) as f64 / took.as_secs_f64());
    let state = story.state();
    assert_eq!((state.generation, state.target_groups.len()), (1000, 1000));
    drop(story);
    assert!(Story::on(open(&scratch.path).unwrap()).state() == state);
}

#[test]
fn a_state_that_went_away_is_missed() {
    let scratch = Scratch::new();
    Story::on(open(&scratch.path).unwrap()).at(5);
    let file = scratch.path.join("state.redb");
    fs::remove_file(&file).unwrap();
    let error = format!("{:#}", open(&scratch.path).err().unwrap());
    assert!(error.contains("5 changes were acknowledged"), "{error}");
    fs::write(&file, "").unwrap();
    let error = format!("{:#}", open(&scratch.path).err().unwrap());
    assert!(error.contains("it is empty") && error.contains("sluice state import --replace"), "{error}");
}

#[test]
fn an_older_copy_is_not_taken_for_the_state() {
    let scratch = Scratch::new();
    let (file, copy) = (scratch.path.join("state.redb"), scratch.path.join("copy"));
    Story::on(open(&scratch.path).unwrap()).at(5);
    fs::copy(&file, &copy).unwrap();
    Story::on(open(&scratch.path).unwrap()).at(6);
    fs::rename(&copy, &file).unwrap();
    let error = format!("{:#}", open(&scratch.path).err().unwrap());
    assert!(error.contains("of generation 5, but 6 was acknowledged"), "{error}");
}

/// While the disk is full nothing is acknowledged, and afterwards everything goes on. A full disk is a limit on the
/// size of files here.
#[test]
fn what_can_not_be_written_is_refused_and_then_written() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    if std::env::var_os(FULL).is_none() {
        // The limit is the whole process's, so it has one of its own, which outlives the limit's signal.
        let name = "api::store::tests::embedded::what_can_not_be_written_is_refused_and_then_written";
        let child = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env(FULL, "1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        return;
    }
    let (scratch, imagined) = (Scratch::new(), Story::imagined());
    let story = Story::on(open(&scratch.path).unwrap());
    story.at(20);
    let whole = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(4096), maximum: whole.maximum }).unwrap();
    for _ in 0..3 {
        assert_eq!(story.try_to_go_on().status, 503);
        assert_eq!(story.state(), imagined.at(20));
    }
    setrlimit(Resource::Fsize, whole).unwrap();
    assert_eq!(story.at(40), imagined.at(40));
    drop(story);
    assert_eq!(Story::on(open(&scratch.path).unwrap()).state(), imagined.at(40));
}

const FULL: &str = "SLUICE_TEST_FULL_DISK";
