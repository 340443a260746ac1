//! Numbers in map memory that programs and user space read and write at the same time.
//!
//! `core`'s atomics would say it, but on BPF targets only the 64-bit ones exist. An aligned load or store of 16,
//! 32 or 64 bits is one access on every 64-bit processor; `volatile` keeps the compiler from splitting or
//! repeating it.

use core::cell::UnsafeCell;

/// A number in shared memory. Every access is whole; there is no order between accesses of different numbers.
#[repr(transparent)]
#[derive(Default)]
pub struct Shared<T>(UnsafeCell<T>);

macro_rules! shared {
    ($($number:ident $atomic:ident)*) => { $(
        // SAFETY: all accesses are whole (below), so threads that share it see one value or another.
        unsafe impl Sync for Shared<$number> {}

        impl Shared<$number> {
            /// A cell that holds `value`.
            pub const fn new(value: $number) -> Self {
                Shared(UnsafeCell::new(value))
            }

            /// The value now.
            #[inline(always)]
            pub fn load(&self) -> $number {
                #[cfg(target_arch = "bpf")]
                // SAFETY: the pointer is valid and aligned as `self` is; racing writers write whole values.
                return unsafe { core::ptr::read_volatile(self.0.get()) };
                #[cfg(not(target_arch = "bpf"))]
                // SAFETY: valid and aligned as `self` is, and only accessed atomically on this side.
                return unsafe { core::sync::atomic::$atomic::from_ptr(self.0.get()) }
                    .load(core::sync::atomic::Ordering::Acquire);
            }

            /// Writes `value`; all stores that user space made before are visible to who reads it.
            #[inline(always)]
            pub fn store(&self, value: $number) {
                #[cfg(target_arch = "bpf")]
                // SAFETY: as in `load`.
                unsafe { core::ptr::write_volatile(self.0.get(), value) };
                #[cfg(not(target_arch = "bpf"))]
                // SAFETY: as in `load`.
                unsafe { core::sync::atomic::$atomic::from_ptr(self.0.get()) }
                    .store(value, core::sync::atomic::Ordering::Release);
            }

            /// Writes `new` if the value is still `old`; returns whether it was.
            #[cfg(not(target_arch = "bpf"))]
            pub fn replace_if(&self, old: $number, new: $number) -> bool {
                use core::sync::atomic::Ordering::{AcqRel, Acquire};
                // SAFETY: as in `load`.
                unsafe { core::sync::atomic::$atomic::from_ptr(self.0.get()) }
                    .compare_exchange(old, new, AcqRel, Acquire)
                    .is_ok()
            }
        }
    )* };
}

#[cfg(target_arch = "bpf")]
impl Shared<u64> {
    /// Writes `new` if the value is still `old` (Linux 5.12); returns whether it was.
    #[inline(always)]
    pub fn replace_if(&self, old: u64, new: u64) -> bool {
        let found: u64;
        // SAFETY: one aligned 8-byte access of what `self` is; the instruction changes r0 alone. `core` has no
        // compare-and-swap for BPF.
        unsafe {
            core::arch::asm!(
                "r0 = cmpxchg_64(r1 + 0, r0, r2)",
                inout("r0") old => found,
                in("r1") self.0.get(),
                in("r2") new,
            );
        }
        found == old
    }
}

shared! { u16 AtomicU16 u32 AtomicU32 u64 AtomicU64 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_replaced_only_while_it_is_the_old_one() {
        let cell = Shared::<u64>::new(1);
        assert!(cell.replace_if(1, 2));
        assert!(!cell.replace_if(1, 3));
        cell.store(4);
        assert_eq!(cell.load(), 4);
    }
}
