//! The packet of an XDP context, as views that can't outlive a change of its memory.

use aya_ebpf::{
    Global,
    bindings::xdp_md,
    helpers::generated::{
        bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
    },
    programs::{TcContext, XdpContext},
};
use lb_common::memory::{Frame, ViewMut, forget_value};

/// Whether a packet can have more than one buffer, which user space denies to kernels before Linux 5.18. The verifier
/// knows the value, and there skips the helper that those kernels lack. Read where a packet is longer than its first
/// buffer only.
#[unsafe(no_mangle)]
static SEVERAL_BUFFERS: Global<u32> = Global::new(1);

/// An XDP packet. Methods that move it take `&mut self`, so no view of the old memory survives them.
pub struct XdpPacket {
    context: *mut xdp_md,
}

impl XdpPacket {
    /// The packet of this run.
    #[inline(always)]
    pub fn new(context: &XdpContext) -> XdpPacket {
        XdpPacket { context: context.ctx }
    }

    /// The packet's bytes: those of its first buffer, which all headers are in, and the length of all.
    #[inline(always)]
    pub fn frame(&self) -> Frame<'_> {
        // SAFETY: the kernel guarantees data..data_end readable for the run of the program, until the packet is
        // moved, which needs `&mut self`. The verifier checks each access again.
        unsafe { Frame::from_first_buffer(self.start(), self.end(), self.context as usize, whole_length) }
    }

    /// Whether there are bytes behind the first buffer.
    #[inline(always)]
    pub fn has_several_buffers(&self) -> bool {
        SEVERAL_BUFFERS.load() != 0 && self.length() as usize > self.end() - self.start()
    }

    /// `N` bytes at `offset`, to be written, if the packet has them.
    #[inline(always)]
    pub fn view_mut<const N: usize>(&mut self, offset: usize) -> Option<ViewMut<'_, N>> {
        // SAFETY: as in `frame`; `&mut self` excludes other views.
        unsafe { ViewMut::from_pointers(self.start(), self.end(), offset) }
    }

    /// Moves the packet's start by `bytes`: forward (positive) cuts, backward (negative) makes room, whose
    /// content is undefined. Returns whether the driver could.
    #[inline(always)]
    pub fn move_start(&mut self, bytes: i32) -> bool {
        // SAFETY: the context is this run's; the helper checks the amount.
        unsafe { bpf_xdp_adjust_head(self.context, bytes) == 0 }
    }

    /// Cuts `bytes` from the packet's end. Returns whether the driver could.
    #[inline(always)]
    pub fn cut_end(&mut self, bytes: usize) -> bool {
        // SAFETY: the context is this run's; the helper checks the amount.
        unsafe { bpf_xdp_adjust_tail(self.context, -(bytes as i32)) == 0 }
    }

    /// `sum` and the 32-bit words, as they are in memory, of the `N` bytes at `offset`, if the packet has them;
    /// `N` is a multiple of 4 and at most 512 (the helper's scratch space before Linux 6.12).
    #[inline(always)]
    pub fn add_words<const N: usize>(&self, offset: usize, sum: u32) -> Option<u32> {
        const { assert!(N.is_multiple_of(4) && N <= 512) };
        self.frame().view::<N>(offset)?;
        let words = (self.start() + offset) as *mut u32;
        // SAFETY: the frame has the N bytes, and the helper only reads them.
        let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, words, N as u32, sum) };
        Some(sum as u32)
    }

    /// The context, for helpers that want it.
    #[inline(always)]
    pub fn context(&self) -> *mut xdp_md {
        self.context
    }

    /// The index of the interface that the packet came in by.
    #[inline(always)]
    pub fn interface(&self) -> u32 {
        // SAFETY: the context is valid for the run of the program.
        unsafe { (*self.context).ingress_ifindex }
    }

    /// Bytes of the whole frame, those behind its first buffer included (Linux 5.18).
    #[inline(always)]
    pub fn length(&self) -> u32 {
        // SAFETY: the context is this run's.
        unsafe { bpf_xdp_get_buff_len(self.context) as u32 }
    }

    /// Copies the frame's first bytes, at most `MOST`, to `memory[at..]`; returns how many. `at` is at most
    /// `SIZE - MOST` (Linux 5.18).
    #[inline(always)]
    pub fn copy_to<const MOST: usize, const SIZE: usize>(&self, memory: &mut [u8; SIZE], at: usize) -> usize {
        let length = (self.length() as usize).min(MOST);
        // The verifier must see both bounds, and that the helper is not asked for nothing; that of Linux 6.1 forgets
        // the latter, if it is not arithmetic.
        if length == 0 || at > SIZE - MOST {
            return 0;
        }
        let length = forget_value::<MOST>(length - 1, self.interface() as usize) + 1;
        // SAFETY: `at + length` is at most `SIZE`, as just seen; the context is this run's.
        let copied =
            unsafe { bpf_xdp_load_bytes(self.context, 0, memory.as_mut_ptr().add(at).cast(), length as u32) };
        if copied == 0 { length } else { 0 }
    }

    #[inline(always)]
    fn start(&self) -> usize {
        // SAFETY: as in `interface`.
        unsafe { (*self.context).data as usize }
    }

    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as in `interface`.
        unsafe { (*self.context).data_end as usize }
    }
}

/// The bytes of all buffers of the packet of `context`.
#[inline(always)]
fn whole_length(context: usize) -> usize {
    let packet = XdpPacket { context: context as *mut xdp_md };
    if SEVERAL_BUFFERS.load() != 0 { packet.length() as usize } else { packet.end() - packet.start() }
}

/// The bytes of a packet in a socket buffer that are in one piece; the headers are, in what the host itself sends.
#[inline(always)]
pub fn linear_frame(context: &TcContext) -> Frame<'_> {
    // SAFETY: the kernel guarantees data..data_end readable for the run of the program, until a helper changes the
    // packet. The verifier checks each access again, and refuses one that is made after that.
    unsafe { Frame::from_pointers(context.data(), context.data_end()) }
}

/// The index of the interface that the packet leaves by (or came in by).
#[inline(always)]
pub fn interface(context: &TcContext) -> u32 {
    // SAFETY: the context is valid for the run of the program.
    unsafe { (*context.skb.skb).ifindex }
}
