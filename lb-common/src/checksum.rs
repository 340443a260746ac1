//! The Internet checksum (RFC 1071), over numbers in host order.

/// Folds a sum of big-endian 16-bit words (each read as a number) into 16 bits.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The sum of `bytes` as big-endian 16-bit words, not folded; an odd last byte is padded with zero. At most
/// 64 KiB, or the sum overflows.
pub fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0))).sum()
}

/// The same fold for a sum of 32-bit words as they are in memory: the sum does not depend on the byte order but
/// for the order of its own two bytes (RFC 1071, 2(B)).
#[inline(always)]
pub const fn fold_memory_words(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    u16::from_be(fold(sum as u32))
}

/// The checksum that replaces `checksum` when a 16-bit word changes from `old` to `new` (RFC 1624, eqn. 3).
///
/// Never zero: that is written as 0xffff, its other form in ones' complement. Receivers take either, but for a
/// message of zeros alone (the reply to a ping with no identifier, sequence number and payload) only 0xffff is
/// right, and eqn. 3 cannot tell that message from others.
#[inline(always)]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let updated = !fold(!checksum as u32 + !old as u32 % 0x10000 + new as u32);
    if updated == 0 { 0xffff } else { updated }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    #[test]
    fn words_of_memory_add_up_to_the_same() {
        for bytes in [[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], [0xff; 8], [0; 8]] {
            let words = bytes.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_ne_bytes(*word)));
            assert_eq!(fold_memory_words(words.sum()), fold(sum(&bytes)));
        }
    }

    #[test]
    fn an_update_equals_a_fresh_sum() {
        let mut bytes = [0x45, 0, 0x12, 0x34, 0xff, 0xff, 0, 1];
        let before = !fold(sum(&bytes));
        bytes[4..6].copy_from_slice(&[0x00, 0x03]);
        assert_eq!(update(before, 0xffff, 0x0003), !fold(sum(&bytes)));
    }

    #[test]
    fn a_message_that_becomes_all_zeros_has_the_checksum_of_zeros() {
        let before = !fold(sum(&[8, 0, 0, 0]));
        assert_eq!(update(before, 0x0800, 0), !fold(sum(&[0; 4])));
    }
}
