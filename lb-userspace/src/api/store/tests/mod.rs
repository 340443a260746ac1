//! What becomes of a store whose process is killed, whose machine loses its power, and whose files are damaged.

mod commands;
mod damage;
mod embedded;
mod kill;
mod power_cut;
mod scratch;
mod story;

pub(in crate::api::store) use scratch::Scratch;
