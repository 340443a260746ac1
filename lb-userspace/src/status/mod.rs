//! What `sluice status` shows: the report's shape, the socket that serves it, and its rendering.

pub mod report;
