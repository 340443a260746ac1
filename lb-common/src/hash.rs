//! The keyed hash of a flow: multiplications and xor-shifts whose every constant is secret.
//!
//! ```text
//!   once a listener:  secret key, VIP, protocol ── SipHash-1-3, four times ──→ state: four odd 64-bit words
//!   once a packet:    state, client's address, ports ── mix ──→ 64 bits
//! ```
//!
//! BPF has no rotation, so SipHash itself cost a packet 7 ns (IPv4) to 13 ns (IPv6), a fifth to a third of its whole
//! way; this is 7 to 11 ns cheaper. It is no pseudo-random function, and need not be:
//!
//! * Without the key nobody can compute which flows share a slot, a set of the flow table or a target: every word
//!   that a packet's words are combined with is unknown to him and another one for each VIP and protocol.
//! * Who sees which target answers a flow can sort flows by target by trying them, whatever the hash is: one in N
//!   meets the one that he wants. A pseudo-random function would withhold nothing from him that this one tells.
//! * What is left for the hash to do is statistical: [`HashState::of_word`] is a bijection (no two flows of an IPv4
//!   listener have the same hash), [`HashState::of_words`] brings two flows that were chosen without the key
//!   together under at most one of 2^32 keys, and in both every bit of the flow changes every bit of the hash in half
//!   of the cases. The tests state how well.

/// The secret of the hash, the same on every node that announces the same VIPs: 128 bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey {
    /// The first eight bytes of the key as a little-endian number (SipHash's k0).
    pub k0: u64,
    /// The last eight bytes (k1).
    pub k1: u64,
}

/// What is hashed with: four secret odd numbers, derived from the key for one purpose.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashState(pub [u64; 4]);

impl HashState {
    /// The state for what these words name (SipHash-1-3 of them and of 0 to 3, made odd). The last word is less
    /// than 2^32.
    pub fn derive(key: HashKey, [first, second, third]: [u64; 3]) -> HashState {
        let word = |number: u64| {
            let mut state = SipHash13::new(key);
            [first, second, third | number << 32].into_iter().for_each(|word| state.word(word));
            state.finish() | 1
        };
        HashState([word(0), word(1), word(2), word(3)])
    }

    /// The hash of one word: a bijection, because each step can be undone.
    #[inline(always)]
    pub const fn of_word(&self, word: u64) -> u64 {
        self.mix(word ^ self.0[0])
    }

    /// The hash of two words and `more`.
    ///
    /// Before it is mixed this is MULTILINEAR-HM (Lemire and Kaser, "Strongly universal string hashing is fast",
    /// 2014): halves of words, each added to a secret word, are multiplied in pairs. A sum of whole words times
    /// secret numbers would not do: two words that differ in their top bits only would differ by 2^63 whatever
    /// the secret is, and cancel each other.
    #[inline(always)]
    pub const fn of_words(&self, [first, second]: [u64; 2], more: u64) -> u64 {
        let [a, b, c, d] = self.0;
        let first = multiply_halves(first, a, b);
        let second = multiply_halves(second, c, d);
        self.mix(first.wrapping_add(second).wrapping_add(more))
    }

    /// A multiplication carries a difference to higher bits only, and a shift by half a word brings it back to the
    /// lower ones.
    #[inline(always)]
    const fn mix(&self, word: u64) -> u64 {
        let word = (word ^ word >> 32).wrapping_mul(self.0[1]);
        let word = (word ^ word >> 32).wrapping_mul(self.0[2]);
        word ^ word >> 32
    }
}

/// The product of a word's two halves, each added to a secret word.
#[inline(always)]
const fn multiply_halves(word: u64, low: u64, high: u64) -> u64 {
    (word & 0xffff_ffff).wrapping_add(low).wrapping_mul((word >> 32).wrapping_add(high))
}

/// SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012; one compression and three
/// finalization rounds, as Rust's and Linux's hash tables use it): the state between two words of the message.
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
    /// messages are of one length each, and told apart by their words.
    #[inline(always)]
    pub fn finish(mut self) -> u64 {
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
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
mod tests;
