//! Shared.

