//! What is installed: units that systemd takes, that are as confined as they say and not more than the programs can bear,
//! and a package that brings all of it and leaves nothing.

mod confined;
mod copy;
mod installed;
mod lab_of_units;
mod lifetimes;
mod manager;
mod scratch;
mod unit;
mod units;

use std::path::PathBuf;

/// A file of `packaging/`.
fn packaging(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(path)
}
