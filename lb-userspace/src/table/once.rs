//! What is looked up once for each target. A table has thousands of slots and few targets, so that looking up what is
//! said of the target of each slot would be most of the time.

use std::cell::RefCell;

use lb_common::TargetId;

/// A word for each target that was asked for: two bytes of an id make a small place.
#[derive(Debug)]
pub struct OncePerTarget<T>(RefCell<Vec<Option<T>>>);

impl<T> Default for OncePerTarget<T> {
    fn default() -> OncePerTarget<T> {
        OncePerTarget(RefCell::default())
    }
}

impl<T: Copy> OncePerTarget<T> {
    /// The target's word; the first time it is what `look_up` says, which must not ask for another one.
    pub fn of(&self, target: TargetId, look_up: impl FnOnce() -> T) -> T {
        let mut known = self.0.borrow_mut();
        let place = usize::from(target.0);
        if known.len() <= place {
            known.resize(place + 1, None);
        }
        *known[place].get_or_insert_with(look_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_is_looked_up_once() {
        let (once, mut asked) = (OncePerTarget::default(), Vec::new());
        for id in [3, 0, 65535, 3, 0, 65535] {
            let said = once.of(TargetId(id), || {
                asked.push(id);
                u32::from(id) + 1
            });
            assert_eq!(said, u32::from(id) + 1);
        }
        assert_eq!(asked, [3, 0, 65535]);
    }
}
