//! The agent: its programs over packets of an independent builder, with real sockets, and the whole of it on a host.

mod host;
mod loaded;
mod mss;
mod ports;
mod probe;
mod program;
mod second_chance;
mod spoofed;
