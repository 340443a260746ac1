//! The number that the data plane calls a target by.

/// A target's index in the `TARGETS` map: 1 to 65535. Zero is no target.
///
/// An id belongs to one (target group, address) and is not given to another while a slot, a flow entry or a
/// packet in flight may still name it.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TargetId(pub u16);

impl TargetId {
    /// No target.
    pub const NONE: TargetId = TargetId(0);

    /// Whether this names no target.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}
