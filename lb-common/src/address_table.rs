//! A table of addresses in an array map: who is known, answered for less than a hash map of the kernel takes.
//!
//! ```text
//!   hash(address) ─► line │ address │ address │ address │ 3 values │
//!        └─ ^ 1 ───► line │ address │ address │ address │ 3 values │
//! ```
//!
//! An address is in one of two lines of a cache line each. The kernel's hash map hashes 16 bytes by a call and compares
//! them by another, some 12 ns; a look-up here is a multiplication and three comparisons, inlined, some 3 ns. Only the
//! configuration puts addresses in, so nobody outside can choose those that meet.

/// Lines of a table.
pub const LINES: u32 = 4096;
/// Addresses in a line.
const WAYS: usize = 3;

/// The value of the array.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AddressLine {
    addresses: [[u64; 2]; WAYS],
    /// Zero where there is no address.
    values: [u32; WAYS],
    reserved: u32,
}

/// The line where an address is looked for first; the other is its neighbour, [`other_line`].
#[inline(always)]
pub fn first_line(address: [u32; 4]) -> u32 {
    let [high, low] = words(address);
    let mixed = (high ^ low.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - LINES.ilog2())) as u32
}

/// The line where an address is looked for next.
#[inline(always)]
pub const fn other_line(first: u32) -> u32 {
    first ^ 1
}

/// An address as a key (IPv4 mapped into IPv6, bytes as on the wire) in two words.
#[inline(always)]
const fn words([a, b, c, d]: [u32; 4]) -> [u64; 2] {
    [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32]
}

impl AddressLine {
    /// The value of an address; zero if it is not in this line.
    #[inline(always)]
    pub fn value(&self, address: [u32; 4]) -> u32 {
        let address = words(address);
        let [first, second, third] = self.addresses;
        // Few addresses have a line of their own to share, so most are found here, in half the time.
        if first == address && self.values[0] != 0 {
            return self.values[0];
        }
        // Without a branch for each: the verifier would walk what follows once for each place.
        let mask = |there: [u64; 2]| {
            let difference = (there[0] ^ address[0]) | (there[1] ^ address[1]);
            (((difference | difference.wrapping_neg()) >> 63) as u32).wrapping_sub(1)
        };
        (self.values[1] & mask(second)) | (self.values[2] & mask(third))
    }

    /// The same line with another value for the address, zero to remove it; none if there is no room.
    pub fn with(mut self, address: [u32; 4], value: u32) -> Option<AddressLine> {
        let address = words(address);
        let at = (0..WAYS).find(|at| self.values[*at] != 0 && self.addresses[*at] == address);
        let at = at.or_else(|| (0..WAYS).find(|at| self.values[*at] == 0))?;
        (self.addresses[at], self.values[at]) = if value == 0 { ([0; 2], 0) } else { (address, value) };
        Some(self)
    }
}

/// Gives an address a value, not zero, or takes it out with zero: the line to write, with its number. `read` gives the
/// lines as they are. None if both of its lines are full.
pub fn change(
    address: [u32; 4],
    value: u32,
    read: impl Fn(u32) -> AddressLine,
) -> Option<(u32, AddressLine)> {
    let first = first_line(address);
    let lines = [first, other_line(first)];
    let there = lines.into_iter().find(|line| read(*line).value(address) != 0);
    let room = || lines.into_iter().find(|line| read(*line).with(address, value).is_some());
    let line = there.or_else(room)?;
    read(line).with(address, value).map(|changed| (line, changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(table: &[AddressLine], address: [u32; 4]) -> u32 {
        let first = first_line(address);
        match table[first as usize].value(address) {
            0 => table[other_line(first) as usize].value(address),
            value => value,
        }
    }

    proptest::proptest! {
        #[test]
        fn it_holds_what_was_put_in_and_not_taken_out(
            steps in proptest::collection::vec((0..40u32, 0..3u32), 0..200),
            salt: u32,
        ) {
            let mut table = vec![AddressLine::default(); LINES as usize];
            let mut model = std::collections::BTreeMap::new();
            for (number, value) in steps {
                let address = [0, 0, 0xffff_u32.to_be(), salt.wrapping_add(number)];
                let (line, changed) = change(address, value, |line| table[line as usize]).unwrap();
                table[line as usize] = changed;
                model.insert(address, value);
            }
            for (address, expected) in model {
                proptest::prop_assert_eq!(value(&table, address), expected);
            }
            proptest::prop_assert_eq!(value(&table, [1, 2, 3, 4]), 0);
        }
    }

    #[test]
    fn a_thousand_addresses_of_one_network_have_room() {
        for network in [[0, 0, 0xffff_u32.to_be(), 0x0a00], [0x00fd, 0, 0, 0]] {
            let mut table = vec![AddressLine::default(); LINES as usize];
            for host in 0..1000u32 {
                let [a, b, c, d] = network;
                let address = [a, b, c, d | host.to_be()];
                let (line, changed) = change(address, 1, |line| table[line as usize]).expect("room");
                table[line as usize] = changed;
            }
        }
    }
}
