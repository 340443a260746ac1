//! What is taken, with which defaults, and what is refused, in which words.

mod bad_attributes;
mod bad_files;
mod bad_policies;
mod good_files;
mod mutations;
mod owners;
