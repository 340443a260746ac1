//! What the programs share: packet memory and the panic handler.
#![no_std]

pub mod packet_memory;

/// A reachable panic becomes an endless loop, which the verifier refuses at load time, where it is seen.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
