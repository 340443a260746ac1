//! Which of few shapes each slot of a table has. A change moves thousands of slots at once, and they share some tens of
//! shapes: a byte for every slot is an eighth of a list of those that moved.

/// The place of each slot's shape, for slots that have one.
#[derive(Debug, Clone, Default)]
pub(super) enum Marks {
    /// No slot has one.
    #[default]
    None,
    /// Slot by slot the place and one; 0 if it has none. Places are below 255.
    Narrow(Box<[u8]>),
    /// The same, whatever the place.
    Wide(Box<[u32]>),
}

impl Marks {
    /// The place of a slot's shape.
    pub(super) fn get(&self, slot: usize) -> Option<usize> {
        match self {
            Marks::None => None,
            Marks::Narrow(marks) => usize::from(marks[slot]).checked_sub(1),
            Marks::Wide(marks) => (marks[slot] as usize).checked_sub(1),
        }
    }

    /// The slots that have a shape, in their order, with its place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.slots()).filter_map(|slot| Some((slot, self.get(slot)?)))
    }

    /// Gives a slot of `slots` the shape at `place`.
    pub(super) fn set(&mut self, slot: usize, place: usize, slots: usize) {
        match (&mut *self, u8::try_from(place + 1)) {
            (Marks::Narrow(marks), Ok(mark)) => marks[slot] = mark,
            (Marks::Wide(marks), _) => {
                marks[slot] =
                    u32::try_from(place + 1).expect("there are at most 2^17 slots, and no more shapes");
            }
            (Marks::None, Ok(_)) => {
                *self = Marks::Narrow(vec![0; slots].into());
                self.set(slot, place, slots);
            }
            (Marks::None, Err(_)) => {
                *self = Marks::Wide(vec![0; slots].into());
                self.set(slot, place, slots);
            }
            (Marks::Narrow(marks), Err(_)) => {
                *self = Marks::Wide(marks.iter().copied().map(u32::from).collect());
                self.set(slot, place, slots);
            }
        }
    }

    /// Makes `copies` slots of each.
    pub(super) fn grow(&mut self, copies: usize) {
        *self = match self {
            Marks::None => Marks::None,
            Marks::Narrow(marks) => Marks::Narrow(repeated(marks, copies)),
            Marks::Wide(marks) => Marks::Wide(repeated(marks, copies)),
        };
    }

    fn slots(&self) -> usize {
        match self {
            Marks::None => 0,
            Marks::Narrow(marks) => marks.len(),
            Marks::Wide(marks) => marks.len(),
        }
    }

    /// What they take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        match self {
            Marks::None => 0,
            Marks::Narrow(marks) => size_of_val(&marks[..]),
            Marks::Wide(marks) => size_of_val(&marks[..]),
        }
    }
}

fn repeated<T: Copy>(marks: &[T], copies: usize) -> Box<[T]> {
    marks.iter().flat_map(|mark| std::iter::repeat_n(*mark, copies)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn marks_are_a_map_of_slots(
            marks in proptest::collection::vec((0usize..64, prop_oneof![0usize..3, 250usize..260, 0usize..(1 << 17)]), 0..40),
            copies in 1usize..4,
        ) {
            let (mut known, mut expected) = (Marks::default(), BTreeMap::new());
            for (slot, place) in marks {
                known.set(slot, place, 64);
                expected.insert(slot, place);
            }
            prop_assert!((0..64).all(|slot| known.get(slot) == expected.get(&slot).copied()));
            prop_assert_eq!(known.iter().collect::<BTreeMap<_, _>>(), expected.clone());
            known.grow(copies);
            let grown = expected
                .into_iter()
                .flat_map(|(slot, place)| (slot * copies..(slot + 1) * copies).map(move |slot| (slot, place)));
            prop_assert_eq!(known.iter().collect::<Vec<_>>(), grown.collect::<Vec<_>>());
        }
    }
}
