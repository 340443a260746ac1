//! The keyed hash of a flow: SipHash-1-3 (Aumasson and Bernstein, 2012) of the words of a flow, without the word
//! that would hold the message's length: a flow's words tell by themselves how many they are.

use std::net::IpAddr;

/// The hash of a flow: the VIP as 16 bytes, the protocol as a word, the client's address and both ports.
pub(super) fn flow(key: [u64; 2], client: IpAddr, vip: IpAddr, ports: [u16; 2], protocol: u8) -> u64 {
    let mut message = match vip {
        IpAddr::V4(vip) => vip.to_ipv6_mapped().octets(),
        IpAddr::V6(vip) => vip.octets(),
    }
    .to_vec();
    message.extend(u64::from(protocol).to_le_bytes());
    match client {
        IpAddr::V4(client) => message.extend(client.octets()),
        IpAddr::V6(client) => message.extend(client.octets()),
    }
    message.extend(ports.map(u16::to_be_bytes).concat());
    message.resize(message.len().next_multiple_of(8), 0);
    sip_1_3(key, &message)
}

/// SipHash-1-3 of whole words.
fn sip_1_3(key: [u64; 2], message: &[u8]) -> u64 {
    let mut state = Sip {
        v0: key[0] ^ 0x736f_6d65_7073_6575,
        v1: key[1] ^ 0x646f_7261_6e64_6f6d,
        v2: key[0] ^ 0x6c79_6765_6e65_7261,
        v3: key[1] ^ 0x7465_6462_7974_6573,
    };
    for word in message.chunks_exact(8) {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        state.v3 ^= word;
        state.round();
        state.v0 ^= word;
    }
    state.v2 ^= 0xff;
    (0..3).for_each(|_| state.round());
    state.v0 ^ state.v1 ^ state.v2 ^ state.v3
}

struct Sip {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl Sip {
    /// The paper's figure 2.1, from its top to its bottom.
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
    use std::hash::{DefaultHasher, Hasher};

    use super::*;

    /// `std`'s hasher is SipHash-1-3 with a key of zeros.
    #[test]
    fn with_a_word_of_the_length_it_is_the_standard_librarys_hash() {
        let message: Vec<u8> = (0..40).collect();
        let mut hasher = DefaultHasher::new();
        hasher.write(&message);
        let length = (message.len() as u64) << 56;
        assert_eq!(sip_1_3([0, 0], &[message, length.to_le_bytes().to_vec()].concat()), hasher.finish());
    }
}
