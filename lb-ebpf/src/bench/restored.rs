//! A frame that user space made, restored byte for byte before each run: what a target's agent gets.
//!
//! Programs read it with loads of many sizes at many places, so no stores would be the right ones. The wrapper waits
//! instead until its stores are in the cache, where a network card's would be.

use aya_ebpf::{macros::map, maps::Array};
use lb_common::{
    bench::RestoredFrame,
    memory::{ViewMut, forget_value},
    shared::Shared,
};
use lb_ebpf::packet_memory::XdpPacket;

/// The frame.
#[map]
static FRAME: Array<RestoredFrame> = Array::with_max_entries(1, 0);
/// A number for an atomic operation, which waits for all stores before it.
#[map]
static BARRIER: Array<Shared<u64>> = Array::with_max_entries(1, 0);

/// Above the length of every frame.
const BOUND: usize = 2048;

/// Makes the packet the frame again, whatever it has become.
#[inline(always)]
pub fn restore(packet: &mut XdpPacket) -> Option<()> {
    let frame = FRAME.get(0)?;
    let length = forget_value::<BOUND>(frame.length as usize, packet.interface() as usize);
    let grown = packet.frame().length_from(0) as i32 - length as i32;
    if !packet.move_start(grown) {
        return None;
    }
    store::<0>(packet, frame)?;
    store::<1>(packet, frame)?;
    store::<2>(packet, frame)?;
    BARRIER.get(0)?.replace_if(0, 0);
    Some(())
}

/// One of the frame's parts.
#[inline(always)]
fn store<const PART: usize>(packet: &mut XdpPacket, frame: &RestoredFrame) -> Option<()> {
    let (words, mut bytes): (_, ViewMut<'_, 56>) = (&frame.parts[PART], packet.view_mut(PART * 56)?);
    bytes.set_raw64::<0>(words[0]);
    bytes.set_raw64::<8>(words[1]);
    bytes.set_raw64::<16>(words[2]);
    bytes.set_raw64::<24>(words[3]);
    bytes.set_raw64::<32>(words[4]);
    bytes.set_raw64::<40>(words[5]);
    bytes.set_raw64::<48>(words[6]);
    Some(())
}
