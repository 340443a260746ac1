//! A lab's number and directory under `/run/sluice-lab`, held for the lab's life.
//!
//! The directory's lock is the kernel's, so it is free as soon as its owner is dead, however it died. What such
//! an owner left (processes in its namespaces, the namespaces, what is mounted in the directory, and that) the next lease
//! clears.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

const DIRECTORY: &str = "/run/sluice-lab";

/// The most labs at one time; a bound for the search of a free number.
const MAX_LABS: u32 = 1000;

/// The labs of this process.
static OWN: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn own() -> MutexGuard<'static, Vec<u32>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that no other living lab has, and a directory for the lab's files.
#[derive(Debug)]
pub struct Lease {
    number: u32,
    directory: PathBuf,
    /// Its lock says that the owner lives; closed (by the kernel, if need be) with the process.
    _lock: File,
}

impl Lease {
    /// Clears what dead labs left, and takes the smallest free number.
    pub fn take() -> Result<Arc<Lease>> {
        fs::create_dir_all(DIRECTORY).with_context(|| format!("making {DIRECTORY} (are you root?)"))?;
        // Nobody may take a number for dead between its directory's making and its lock.
        let _everybody = lock_everybody()?;
        for number in numbers_in_use()? {
            clear_if_dead(number)?;
        }
        Lease::take_free_number().map(Arc::new)
    }

    fn take_free_number() -> Result<Lease> {
        for number in 1..=MAX_LABS {
            let directory = directory_of(number);
            if directory.exists() {
                continue;
            }
            fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
            let lock = open_lock(&directory)?;
            lock.lock().with_context(|| format!("locking {}", directory.display()))?;
            own().push(number);
            return Ok(Lease { number, directory, _lock: lock });
        }
        bail!("{MAX_LABS} labs live in {DIRECTORY}: end some of them")
    }

    /// The lab's number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Where the lab's files are: configurations, logs, runtime directories, the control socket.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The network namespace of a host in this lab.
    pub fn namespace(&self, role: &str) -> String {
        format!("sluice-{}-{role}", self.number)
    }

    /// The directories of the labs that are alive, the oldest number first.
    pub fn living() -> Result<Vec<PathBuf>> {
        if !Path::new(DIRECTORY).exists() {
            return Ok(Vec::new());
        }
        let mut living = Vec::new();
        for number in numbers_in_use()? {
            if is_locked(&directory_of(number))? {
                living.push(directory_of(number));
            }
        }
        Ok(living)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Another lease must not find half of the directory and take this lab for a dead one.
        let _everybody = lock_everybody();
        own().retain(|number| *number != self.number);
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("lab: removing {}: {error}", self.directory.display());
        }
    }
}

fn directory_of(number: u32) -> PathBuf {
    Path::new(DIRECTORY).join(number.to_string())
}

fn open_lock(directory: &Path) -> Result<File> {
    let path = directory.join("lock");
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))
}

/// One lease at a time is taken or given back.
fn lock_everybody() -> Result<File> {
    let lock = open_lock(Path::new(DIRECTORY))?;
    lock.lock().with_context(|| format!("locking {DIRECTORY}"))?;
    Ok(lock)
}

fn is_locked(directory: &Path) -> Result<bool> {
    // Not made if it is missing: its directory may be about to go.
    let Ok(lock) = File::open(directory.join("lock")) else { return Ok(false) };
    match lock.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", directory.display()))
        }
    }
}

/// Of labs that have a directory, or namespaces alone: those of one that ended before it could remove them.
fn numbers_in_use() -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for namespace in namespaces()? {
        let number =
            namespace.strip_prefix("sluice-").and_then(|rest| rest.split_once('-')?.0.parse::<u32>().ok());
        numbers.extend(number);
    }
    for entry in fs::read_dir(DIRECTORY).with_context(|| format!("listing {DIRECTORY}"))? {
        let name = entry.with_context(|| format!("listing {DIRECTORY}"))?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

fn clear_if_dead(number: u32) -> Result<()> {
    if is_locked(&directory_of(number))? { Ok(()) } else { clear(number) }
}

/// Ends all processes of this process's labs and removes them, for one that has to end at once.
pub fn clear_own() -> Result<()> {
    let numbers = own().clone();
    numbers.into_iter().try_for_each(clear)
}

/// Ends all processes of a lab and removes all of it.
fn clear(number: u32) -> Result<()> {
    let directory = directory_of(number);
    for namespace in namespaces_of(number)? {
        end_processes_in(&namespace);
        ip(&["netns", "delete", &namespace])?;
    }
    if !directory.exists() {
        return Ok(());
    }
    unmount_all_in(&directory)?;
    fs::remove_dir_all(&directory).with_context(|| format!("removing {}", directory.display()))
}

/// Detaches the file systems in a directory, the one mounted last first; somebody may still have a file there open.
fn unmount_all_in(directory: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("listing what is mounted")?;
    let points = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1));
    for point in points.filter(|point| Path::new(point).starts_with(directory)) {
        crate::process::output_of(Command::new("umount").args(["--lazy", point]))?;
    }
    Ok(())
}

fn namespaces_of(number: u32) -> Result<Vec<String>> {
    let prefix = format!("sluice-{number}-");
    Ok(namespaces()?.into_iter().filter(|name| name.starts_with(&prefix)).collect())
}

fn namespaces() -> Result<Vec<String>> {
    let listed = ip(&["netns", "list"])?;
    Ok(listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_string).collect())
}

/// Only a dead lab's processes are in a dead lab's namespaces.
fn end_processes_in(namespace: &str) {
    let Ok(pids) = ip(&["netns", "pids", namespace]) else { return };
    for pid in pids.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
        // It may have ended by itself in the meantime.
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn ip(arguments: &[&str]) -> Result<String> {
    crate::process::output_of(Command::new("ip").args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Host;
    use crate::bpf_file_system::BpfFileSystem;

    #[test]
    fn two_labs_have_two_numbers_and_leave_nothing() {
        if !crate::require_root() {
            return;
        }
        let (one, two) = (Lease::take().unwrap(), Lease::take().unwrap());
        assert_ne!(one.number(), two.number());
        assert!(Lease::living().unwrap().contains(&two.directory().to_path_buf()));
        // Another test may take the number, and with it the directory, as soon as it is free.
        let log = two.directory().join("two.log");
        fs::write(&log, "of the second lab").unwrap();
        drop(two);
        assert!(!log.exists());
    }

    #[test]
    fn what_a_killed_lab_left_is_cleared() {
        if !crate::require_root() {
            return;
        }
        let lease = Lease::take().unwrap();
        let host = Host::new(&lease, "left").unwrap();
        let mut sleeper = host.enter(|| Command::new("sleep").arg("600").spawn()).unwrap();
        let namespace = host.name().to_string();
        let directory = lease.directory().to_path_buf();
        let log = directory.join("left.log");
        fs::write(&log, "of the killed lab").unwrap();
        std::mem::forget(BpfFileSystem::mount(&lease).unwrap());
        // As if killed: nothing is dropped but the lock, which the kernel gives back.
        std::mem::forget(host);
        let lease = Arc::into_inner(lease);
        assert!(lease.is_none(), "the host holds the lease too");
        let number: u32 = directory.file_name().unwrap().to_str().unwrap().parse().unwrap();
        // As whoever takes a lease: two that clear one lab are in each other's way.
        let everybody = lock_everybody().unwrap();
        release_lock_as_the_kernel_does(&directory);
        clear_if_dead(number).unwrap();
        drop(everybody);
        assert!(!log.exists());
        assert!(!Path::new("/run/netns").join(namespace).exists());
        assert!(!sleeper.wait().unwrap().success());
    }

    #[test]
    fn namespaces_without_a_lab_are_cleared() {
        if !crate::require_root() {
            return;
        }
        // A number that no lab takes.
        let namespace = format!("sluice-{}-alone", MAX_LABS + 1);
        fs::create_dir_all(DIRECTORY).unwrap();
        // A lease that is taken meanwhile would remove it half made.
        let everybody = lock_everybody().unwrap();
        ip(&["netns", "add", &namespace]).unwrap();
        drop(everybody);
        drop(Lease::take().unwrap());
        assert!(!Path::new("/run/netns").join(namespace).exists());
    }

    /// The lock's file is replaced, which is to the next lease what a closed file is.
    fn release_lock_as_the_kernel_does(directory: &Path) {
        fs::remove_file(directory.join("lock")).unwrap();
    }
}
