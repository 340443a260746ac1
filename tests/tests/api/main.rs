//! The API from outside: on the wire, by boto3 and the aws CLI, and compared with the service model that these have.
//!
//! The clients are in a virtual environment of the target directory, which `cargo xtask test` makes.

#![allow(missing_docs, reason = "a test binary has no users")]

mod audit;
mod balanced;
mod clients;
mod hostile;
mod inventory;
mod late;
mod model;
mod operator;
mod planned;
mod served;
mod wire;
