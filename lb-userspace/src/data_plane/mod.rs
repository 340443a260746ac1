//! The data plane as the controller sees it: programs loaded and attached, maps filled.
//!
//! This is the rim towards the kernel. It decides nothing: [`Maps`] writes the contents that the reconciler
//! computed, [`load`] brings the programs in, [`attach`] puts them on interfaces.

pub mod arena;
pub mod attach;
pub mod capacity;
mod capture;
mod carried;
mod explain;
mod flow_log;
mod held;
mod listeners;
pub mod load;
mod loaded_maps;
pub mod mapped;
pub mod maps;
mod migration;
pub mod names;
pub mod pins;
pub mod policies;
mod state;
#[cfg(feature = "trace")]
mod trace;
pub mod writer;

pub use attach::Attachment;
pub use capacity::Capacity;
pub use capture::Captures;
pub use explain::{Explained, Explanations, Run};
pub use flow_log::FlowRecords;
pub use load::{DataPlane, Loaded};
pub use loaded_maps::LoadedMaps;
pub use maps::Maps;
pub use pins::Pins;
pub use policies::Policies;
pub use writer::{Writer, Written};
