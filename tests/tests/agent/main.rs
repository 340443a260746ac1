//! The agent: its program over packets of an independent builder, and the whole of it on a host.

mod host;
mod mss;
mod program;
