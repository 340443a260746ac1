//! The keyed hash of a flow. A purpose (a VIP and a protocol; or all clients) has four odd numbers of its own, made of
//! the key by SipHash-1-3 (Aumasson and Bernstein, 2012) without the word that would hold the message's length. IPv4's
//! eight bytes are hashed as one word, IPv6's by MULTILINEAR-HM (Lemire and Kaser, 2014), and both are mixed.

use std::net::IpAddr;

/// The hash of a flow.
pub(super) fn flow(key: [u64; 2], client: IpAddr, vip: IpAddr, ports: [u16; 2], protocol: u8) -> u64 {
    let numbers = numbers(key, octets(vip), protocol);
    let ports = ports.map(u16::to_be_bytes).concat();
    match client {
        IpAddr::V4(client) => one_word(numbers, &[&client.octets(), &ports[..]].concat()),
        IpAddr::V6(client) => two_words(numbers, &client.octets(), word(&[&ports[..], &[0; 4]].concat())),
    }
}

/// The hash of all flows between a client and a VIP, where it chooses their slot.
pub(super) fn client(key: [u64; 2], client: IpAddr, vip: IpAddr) -> u64 {
    let numbers = numbers(key, [0; 16], 0);
    match (client, vip) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => one_word(numbers, &[client.octets(), vip.octets()].concat()),
        (client, vip) => two_words(numbers, &octets(client), two_words(numbers, &octets(vip), 0)),
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn numbers(key: [u64; 2], vip: [u8; 16], protocol: u8) -> [u64; 4] {
    [0, 1, 2, 3].map(|number: u8| {
        let message = [&vip[..], &[protocol, 0, 0, 0, number, 0, 0, 0]].concat();
        sip_1_3(key, &message) | 1
    })
}

fn one_word(numbers: [u64; 4], bytes: &[u8]) -> u64 {
    mix(numbers, word(bytes) ^ numbers[0])
}

fn two_words(numbers: [u64; 4], bytes: &[u8; 16], more: u64) -> u64 {
    let halves =
        bytes.chunks(4).map(|half| u64::from(u32::from_le_bytes(half.try_into().expect("four bytes"))));
    let sums: Vec<u64> = halves.zip(numbers).map(|(half, number)| half.wrapping_add(number)).collect();
    let products = sums.chunks(2).map(|pair| pair[0].wrapping_mul(pair[1]));
    mix(numbers, products.fold(more, u64::wrapping_add))
}

fn mix(numbers: [u64; 4], word: u64) -> u64 {
    let shifted = |word: u64| word ^ (word >> 32);
    numbers[1..3].iter().fold(shifted(word), |word, number| shifted(word.wrapping_mul(*number)))
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

/// The hash of a fragmented datagram's identity: its number, the protocol where that tells datagrams apart, a bit
/// that says what this is, and both addresses as 16 bytes.
pub(super) fn datagram(key: [u64; 2], identification: u32, source: IpAddr, vip: IpAddr, protocol: u8) -> u64 {
    // In IPv6 the numbers of all protocols are one sequence (RFC 8200, 4.5).
    let protocol = if source.is_ipv4() { protocol } else { 0 };
    let mut message = identification.to_le_bytes().to_vec();
    message.extend([protocol, 1, 0, 0]);
    message.extend([source, vip].map(octets).concat());
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
        let word = self::word(word);
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
