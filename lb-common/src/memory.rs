//! Packet memory: the only place of this crate that reads and writes through raw pointers.
//!
//! A [`Frame`] is the memory between a packet's first byte and its end, or the end of its first buffer if a driver
//! needs several for it (a jumbo frame). [`Frame::view`] proves once that N bytes are there; the accessors of the
//! [`View`] that it returns are then checked at compile time. The same code runs over a slice on the host and over
//! `xdp_md`'s packet pointers in the kernel, where the comparison in `view` is what the verifier must see between
//! computing a pointer and using it.

use core::marker::PhantomData;

/// The memory of one packet, readable.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    start: usize,
    end: usize,
    /// Tells from `context` how many bytes the frame has in all its buffers.
    whole_length: fn(usize) -> usize,
    context: usize,
    memory: PhantomData<&'a [u8]>,
}

impl<'a> Frame<'a> {
    /// The frame in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Frame<'a> {
        let start = bytes.as_ptr() as usize;
        // SAFETY: the slice is borrowed for as long as the frame.
        unsafe { Frame::from_pointers(start, start + bytes.len()) }
    }

    /// The frame between two packet pointers.
    ///
    /// # Safety
    /// All memory in `start..end` is readable for `'a`, and is not written while a view of it is used.
    #[inline(always)]
    pub unsafe fn from_pointers(start: usize, end: usize) -> Frame<'a> {
        // SAFETY: the caller's.
        unsafe { Frame::from_first_buffer(start, end, end - start, |length| length) }
    }

    /// The frame whose first buffer is between two packet pointers. `whole_length` is called with `context` where a
    /// header announces more than that buffer has; it tells how many bytes all buffers have.
    ///
    /// # Safety
    /// As for [`Frame::from_pointers`].
    #[inline(always)]
    pub unsafe fn from_first_buffer(
        start: usize,
        end: usize,
        context: usize,
        whole_length: fn(usize) -> usize,
    ) -> Frame<'a> {
        Frame { start, end, whole_length, context, memory: PhantomData }
    }

    /// Bytes of the first buffer from `offset` on; zero if it ends before it.
    #[inline(always)]
    pub fn length_from(self, offset: usize) -> usize {
        (self.end - self.start).saturating_sub(offset)
    }

    /// Bytes of all buffers together.
    #[inline(always)]
    pub fn whole_length(self) -> usize {
        (self.whole_length)(self.context)
    }

    /// Whether the frame has `length` bytes from `offset` on, those in further buffers included.
    #[inline(always)]
    pub fn has(self, length: usize, offset: usize) -> bool {
        length + offset <= self.end - self.start || length + offset <= self.whole_length()
    }

    /// `N` bytes at `offset`, if the frame has them.
    ///
    /// `offset` must stay far under `usize::MAX` (the parsers' offsets are under 32 KiB): the verifier refuses
    /// an unbounded one, and on the host the addition would overflow.
    #[inline(always)]
    pub fn view<const N: usize>(self, offset: usize) -> Option<View<'a, N>> {
        let at = self.start + offset;
        if at + N > self.end { None } else { Some(View { at, memory: PhantomData }) }
    }
}

/// `offset`, of which the verifier then knows only that it is less than `BOUND`, a power of two; `noise` is any
/// number that it does not know, such as a field of the packet.
///
/// The verifier walks the rest of a program once for every value that it can tell apart here, so an offset that
/// depends on how many headers were skipped multiplies all that follows.
#[inline(always)]
pub fn forget_value<const BOUND: usize>(offset: usize, noise: usize) -> usize {
    const { assert!(BOUND.is_power_of_two()) };
    #[cfg(target_arch = "bpf")]
    {
        let mut mixed = offset ^ noise;
        // SAFETY: a move of a register onto itself; the compiler must only not see that the two `noise` cancel.
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) mixed) };
        (mixed ^ noise) & (BOUND - 1)
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = noise;
        offset & (BOUND - 1)
    }
}

/// `N` bytes of a packet that are known to be there.
#[derive(Clone, Copy)]
pub struct View<'a, const N: usize> {
    at: usize,
    memory: PhantomData<&'a [u8; N]>,
}

impl<'a, const N: usize> View<'a, N> {
    /// The view of an array.
    #[inline(always)]
    pub fn new(bytes: &'a [u8; N]) -> View<'a, N> {
        View { at: bytes.as_ptr() as usize, memory: PhantomData }
    }

    #[inline(always)]
    fn load<const AT: usize, T: Copy>(self) -> T {
        const { assert!(AT + size_of::<T>() <= N, "the field ends outside the view") };
        // SAFETY: `Frame::view` has compared `at + N` with the end of the memory that its maker vouched for,
        // and the line above keeps the field inside those N bytes; any bytes are a valid integer.
        unsafe { load_unaligned((self.at + AT) as *const T) }
    }

    /// The byte at `AT`.
    #[inline(always)]
    pub fn u8<const AT: usize>(self) -> u8 {
        self.load::<AT, u8>()
    }

    /// The big-endian 16-bit number at `AT`.
    #[inline(always)]
    pub fn be16<const AT: usize>(self) -> u16 {
        u16::from_be(self.load::<AT, u16>())
    }

    /// Two bytes at `AT` as they are in memory.
    #[inline(always)]
    pub fn raw16<const AT: usize>(self) -> u16 {
        self.load::<AT, u16>()
    }

    /// Four bytes at `AT` as they are in memory.
    #[inline(always)]
    pub fn raw32<const AT: usize>(self) -> u32 {
        self.load::<AT, u32>()
    }

    /// Eight bytes at `AT` as they are in memory.
    #[inline(always)]
    pub fn raw64<const AT: usize>(self) -> u64 {
        self.load::<AT, u64>()
    }
}

/// `N` bytes of a packet that may be written.
pub struct ViewMut<'a, const N: usize> {
    at: usize,
    memory: PhantomData<&'a mut [u8; N]>,
}

impl<'a, const N: usize> ViewMut<'a, N> {
    /// The view of an array.
    pub fn new(bytes: &'a mut [u8; N]) -> ViewMut<'a, N> {
        ViewMut { at: bytes.as_mut_ptr() as usize, memory: PhantomData }
    }

    /// The view of the `N` bytes at `offset` from `start`, if they end before `end`.
    ///
    /// # Safety
    /// All memory in `start..end` is writable for `'a`, and nothing else reads or writes it meanwhile.
    #[inline(always)]
    pub unsafe fn from_pointers(start: usize, end: usize, offset: usize) -> Option<ViewMut<'a, N>> {
        let at = start + offset;
        if at + N > end { None } else { Some(ViewMut { at, memory: PhantomData }) }
    }

    /// The first `M` of the bytes.
    #[inline(always)]
    pub fn first<const M: usize>(&mut self) -> ViewMut<'_, M> {
        self.part::<0, M>()
    }

    /// The `M` bytes from `AT` on.
    #[inline(always)]
    pub fn part<const AT: usize, const M: usize>(&mut self) -> ViewMut<'_, M> {
        const { assert!(AT + M <= N, "the part ends outside the view") };
        ViewMut { at: self.at + AT, memory: PhantomData }
    }

    /// The same bytes, to read.
    #[inline(always)]
    pub fn read(&self) -> View<'_, N> {
        View { at: self.at, memory: PhantomData }
    }

    #[inline(always)]
    fn store<const AT: usize, T: Copy>(&mut self, value: T) {
        const { assert!(AT + size_of::<T>() <= N, "the field ends outside the view") };
        // SAFETY: as in `View::load`; `&mut self` makes this the only access.
        unsafe { store_unaligned((self.at + AT) as *mut T, value) }
    }

    /// Writes the byte at `AT`.
    #[inline(always)]
    pub fn set_u8<const AT: usize>(&mut self, value: u8) {
        self.store::<AT, u8>(value);
    }

    /// Writes a 16-bit number at `AT`, big-endian.
    #[inline(always)]
    pub fn set_be16<const AT: usize>(&mut self, value: u16) {
        self.store::<AT, u16>(value.to_be());
    }

    /// Writes two bytes at `AT` as they are in memory.
    #[inline(always)]
    pub fn set_raw16<const AT: usize>(&mut self, value: u16) {
        self.store::<AT, u16>(value);
    }

    /// Writes four bytes at `AT` as they are in memory.
    #[inline(always)]
    pub fn set_raw32<const AT: usize>(&mut self, value: u32) {
        self.store::<AT, u32>(value);
    }

    /// Writes eight bytes at `AT` as they are in memory.
    #[inline(always)]
    pub fn set_raw64<const AT: usize>(&mut self, value: u64) {
        self.store::<AT, u64>(value);
    }
}

/// # Safety
/// `at` is readable for the size of `T`.
#[inline(always)]
unsafe fn load_unaligned<T: Copy>(at: *const T) -> T {
    // LLVM's BPF target splits an access that it takes for unaligned into bytes (seven instructions more for a
    // 32-bit load). The kernel allows unaligned packet access wherever it defines
    // HAVE_EFFICIENT_UNALIGNED_ACCESS (x86-64, arm64), so there the access is made as if it were aligned.
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's; BPF has no alignment trap.
    return unsafe { core::ptr::read(at) };
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's.
    return unsafe { core::ptr::read_unaligned(at) };
}

/// # Safety
/// `at` is writable for the size of `T`.
#[inline(always)]
unsafe fn store_unaligned<T: Copy>(at: *mut T, value: T) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's; see `load_unaligned`.
    unsafe {
        core::ptr::write(at, value)
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's.
    unsafe {
        core::ptr::write_unaligned(at, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_exists_exactly_where_its_bytes_do() {
        let bytes = [1, 2, 3, 4];
        let frame = Frame::new(&bytes);
        assert_eq!(frame.view::<4>(0).expect("four bytes").be16::<2>(), 0x0304);
        assert!(frame.view::<4>(1).is_none());
        assert!(frame.view::<1>(4).is_none());
        assert_eq!((frame.length_from(3), frame.length_from(9)), (1, 0));
    }

    #[test]
    fn a_frame_may_go_on_behind_its_first_buffer() {
        let bytes = [1, 2, 3, 4];
        let start = bytes.as_ptr() as usize;
        // SAFETY: the frame is used while the array is.
        let frame = unsafe { Frame::from_first_buffer(start, start + 4, 90, |context| context / 10) };
        assert_eq!((frame.length_from(1), frame.whole_length()), (3, 9));
        assert!(frame.has(3, 1) && frame.has(8, 1) && !frame.has(9, 1));
        assert!(frame.view::<5>(0).is_none());
        assert!(Frame::new(&bytes).has(4, 0) && !Frame::new(&bytes).has(4, 1));
    }

    #[test]
    fn what_is_written_is_read_back_in_its_byte_order() {
        let mut bytes = [0; 8];
        let mut view = ViewMut::new(&mut bytes);
        view.set_be16::<1>(0x1234);
        view.part::<6, 2>().set_u8::<1>(9);
        assert_eq!(view.read().be16::<1>(), 0x1234);
        assert_eq!(bytes, [0, 0x12, 0x34, 0, 0, 0, 0, 9]);
    }
}
