//! How much the data plane is made for, as it is asked for on the command line: `--max flows=2097152`.

use std::fmt;

use crate::data_plane::Capacity;

/// What there can be so many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Flows,
    Targets,
    Listeners,
    Slots,
    AllowedPrefixes,
}

/// All of them, with the numbers that are taken.
const ALL: [(&str, What, std::ops::RangeInclusive<u32>); 5] = [
    ("flows", What::Flows, 524_288..=8_388_608),
    ("targets", What::Targets, 255..=65_535),
    ("listeners", What::Listeners, 64..=65_535),
    ("slots", What::Slots, 65_536..=67_108_864),
    ("allowed-prefixes", What::AllowedPrefixes, 1..=16_777_216),
];

/// So many of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(What, u32);

impl Size {
    /// Reads `WHAT=N`.
    ///
    /// # Errors
    /// With what would be right.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Size> {
        let names: Vec<&str> = ALL.iter().map(|(name, ..)| *name).collect();
        let expected = || format!("expected WHAT=N, where WHAT is one of {}", names.join(", "));
        let (name, number) = text.split_once('=').ok_or_else(|| anyhow::anyhow!(expected()))?;
        let (_, what, range) =
            ALL.iter().find(|(known, ..)| *known == name).ok_or_else(|| anyhow::anyhow!(expected()))?;
        let number = number.parse().ok().filter(|number| range.contains(number));
        let about = || format!("expected a number from {} to {} of {name}", range.start(), range.end());
        Ok(Size(*what, number.ok_or_else(|| anyhow::anyhow!(about()))?))
    }
}

/// As it is read.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size(what, number) = self;
        let name = ALL.iter().find(|(_, known, _)| known == what).map_or("", |(name, ..)| name);
        write!(f, "{name}={number}")
    }
}

/// The maps' sizes: where nothing is said, the usual ones.
pub(crate) fn capacity(sizes: &[Size]) -> Capacity {
    let mut capacity = Capacity::default();
    for Size(what, number) in sizes {
        match what {
            // Eight flows are in a set.
            What::Flows => capacity.flow_sets_log2 = log2(number.div_ceil(8)),
            // One id is nobody's.
            What::Targets => capacity.targets = number + 1,
            What::Listeners => capacity.listeners = *number,
            What::Slots => capacity.slots_log2 = log2(*number),
            What::AllowedPrefixes => capacity.allowed_prefixes = *number,
        }
    }
    capacity
}

/// Of the next power of two.
fn log2(number: u32) -> u8 {
    number.next_power_of_two().trailing_zeros() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Capacity {
        let sizes: Vec<Size> = words.iter().map(|word| Size::parse(word).unwrap()).collect();
        capacity(&sizes)
    }

    #[test]
    fn what_is_said_to_be_usual_is() {
        let said =
            ["flows=1048576", "targets=16383", "listeners=8192", "slots=4194304", "allowed-prefixes=131072"];
        assert_eq!(said.map(|size| Size::parse(size).unwrap().to_string()), said);
        assert_eq!(of(&said), Capacity::default());
        assert_eq!(of(&[]), Capacity::default());
    }

    #[test]
    fn numbers_between_powers_of_two_are_rounded_up_and_the_last_word_counts() {
        let capacity = of(&["flows=8388608", "flows=524289", "slots=65537"]);
        assert_eq!((capacity.flow_sets_log2, capacity.slots_log2), (17, 17));
    }

    #[test]
    fn what_is_no_size_is_answered_with_what_would_be_one() {
        let words =
            "expected WHAT=N, where WHAT is one of flows, targets, listeners, slots, allowed-prefixes";
        for text in ["flows", "flow=1000000", "=", ""] {
            assert_eq!(Size::parse(text).unwrap_err().to_string(), words, "{text}");
        }
        for text in ["targets=", "targets=254", "targets=65536", "targets=-1", "targets=1e3"] {
            let error = Size::parse(text).unwrap_err().to_string();
            assert_eq!(error, "expected a number from 255 to 65535 of targets", "{text}");
        }
    }
}
