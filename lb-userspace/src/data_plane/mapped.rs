//! Array maps in this process's memory: a store is seen by the next packet, without a system call.
//!
//! With `announce::socket_options`, the only files of the crate with unsafe code.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, ensure};
use lb_common::flow_table::FlowSet;
use lb_common::fragments::FragmentSet;
use lb_common::listener::ListenerLine;
use lb_common::maps::{ChainLine, ExceptionLine, SlotLine};
use lb_common::policy::PolicyLine;
use lb_common::shared::Shared;
use memmap2::{MmapOptions, MmapRaw};

use super::carried::CarriedTraffic;
use super::names::NameLine;

/// A value of a mapped array: only [`Shared`] numbers inside, so that it may be read and written while programs
/// do the same.
///
/// # Safety
/// The type is `repr(C)` or `repr(transparent)`, consists of [`Shared`] numbers alone, its size is a multiple of
/// 8, and every bit pattern is a value.
pub unsafe trait SharedValue {}

// SAFETY: arrays of `Shared` numbers, here and below: 8, 64, 64, 64, 64, 64 and 128 bytes.
unsafe impl SharedValue for Shared<u64> {}
// SAFETY: as above.
unsafe impl SharedValue for SlotLine {}
// SAFETY: as above.
unsafe impl SharedValue for ExceptionLine {}
// SAFETY: as above.
unsafe impl SharedValue for ChainLine {}
// SAFETY: as above.
unsafe impl SharedValue for FlowSet {}
// SAFETY: as above.
unsafe impl SharedValue for FragmentSet {}
// SAFETY: as above.
unsafe impl SharedValue for ListenerLine {}
// SAFETY: as above.
unsafe impl SharedValue for PolicyLine {}
// SAFETY: as above.
unsafe impl SharedValue for TargetWords {}
// SAFETY: an array of `Shared` numbers, 64 bytes.
unsafe impl SharedValue for NameLine {}
// SAFETY: an array of `Shared` numbers, 16 bytes.
unsafe impl SharedValue for CarriedTraffic {}

/// A [`lb_common::Target`] as 16 words, each of which is written whole.
#[repr(C, align(64))]
pub struct TargetWords(pub [Shared<u64>; 16]);

/// An array map with `BPF_F_MMAPABLE`, mapped.
pub struct MappedArray<T> {
    memory: MmapRaw,
    length: usize,
    values: PhantomData<T>,
}

impl<T: SharedValue> MappedArray<T> {
    /// Maps the map behind `map`, which has `length` values of type `T`.
    ///
    /// # Errors
    /// If the kernel refuses, which it does for a map without the flag.
    pub fn new(map: impl AsFd, length: u32) -> anyhow::Result<MappedArray<T>> {
        let length = length as usize;
        let bytes = length * size_of::<T>();
        let memory = MmapOptions::new()
            .len(bytes)
            .map_raw(map.as_fd().as_raw_fd())
            .context("mapping an array map into memory")?;
        ensure!(
            memory.as_ptr().addr() % align_of::<T>() == 0,
            "the kernel mapped an array map to an unaligned address"
        );
        Ok(MappedArray { memory, length, values: PhantomData })
    }

    /// All values.
    pub fn values(&self) -> &[T] {
        // SAFETY: the mapping is `length` values long, aligned (checked above), and lives as long as `self`. The
        // kernel and programs write it concurrently, which `SharedValue` allows through a shared reference: all
        // of it is interior-mutable numbers.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast::<T>(), self.length) }
    }
}
