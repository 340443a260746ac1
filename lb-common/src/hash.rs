//! The keyed hash of a flow: SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012; one
//! compression and three finalization rounds, as Rust's and Linux's hash tables use it).
//!
//! It is keyed so that nobody outside can choose flows that all meet one target or one set of the flow table.
//! A multiply-xorshift hash would be 7 to 12 ns cheaper alone, but can be inverted by whoever sees its effect.

/// The secret of the hash, the same on every node that announces the same VIPs: 128 bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey {
    /// The first eight bytes of the key as a little-endian number (SipHash's k0).
    pub k0: u64,
    /// The last eight bytes (k1).
    pub k1: u64,
}

/// The state between two words of the message.
pub struct SipHash13 {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl SipHash13 {
    /// The state before the first word.
    #[inline(always)]
    pub fn new(key: HashKey) -> SipHash13 {
        SipHash13 {
            v0: key.k0 ^ 0x736f_6d65_7073_6575,
            v1: key.k1 ^ 0x646f_7261_6e64_6f6d,
            v2: key.k0 ^ 0x6c79_6765_6e65_7261,
            v3: key.k1 ^ 0x7465_6462_7974_6573,
        }
    }

    /// Takes in eight bytes of the message, read as a little-endian number.
    #[inline(always)]
    pub fn word(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    /// The hash of the words so far. The message's length is not part of it, as it is in the paper: the callers'
    /// messages are told apart, and their length fixed, by their first words.
    #[inline(always)]
    pub fn finish(mut self) -> u64 {
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    /// The state, to be continued by [`SipHash13::resume`].
    pub const fn words(&self) -> [u64; 4] {
        [self.v0, self.v1, self.v2, self.v3]
    }

    /// The state that [`SipHash13::words`] gave.
    #[inline(always)]
    pub const fn resume([v0, v1, v2, v3]: [u64; 4]) -> SipHash13 {
        SipHash13 { v0, v1, v2, v3 }
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use siphasher::sip::SipHasher13;

    use super::*;

    const KEY: HashKey = HashKey { k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908 };

    proptest::proptest! {
        #[test]
        fn with_the_length_as_its_last_word_it_is_siphash_1_3(words: [u64; 4], resumed_after in 0usize..5) {
            let mut oracle = SipHasher13::new_with_keys(KEY.k0, KEY.k1);
            words.iter().for_each(|word| oracle.write(&word.to_le_bytes()));
            let message = [&words[..], &[(8 * words.len() as u64) << 56]].concat();
            let mut state = SipHash13::new(KEY);
            for (at, word) in message.into_iter().enumerate() {
                if at == resumed_after {
                    state = SipHash13::resume(state.words());
                }
                state.word(word);
            }
            proptest::prop_assert_eq!(state.finish(), oracle.finish());
        }
    }
}
