//! What differs between two versions of a map whose values are shared: found by pointers, which go side by side in the
//! order of the names, so that a thousand equal ones cost some microseconds.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Shared values by name.
pub(in crate::api) type Shared<T> = BTreeMap<String, Arc<T>>;

/// What has another pointer `now` than `before`, or was not there.
pub(in crate::api) fn changed<'a, T>(
    before: &'a Shared<T>,
    now: &'a Shared<T>,
) -> impl Iterator<Item = (&'a String, &'a Arc<T>)> {
    let mut before = before.iter().peekable();
    now.iter().filter(move |(name, one)| {
        while before.next_if(|(earlier, _)| earlier < name).is_some() {}
        before.next_if(|(same, _)| same == name).is_none_or(|(_, before)| !Arc::ptr_eq(before, one))
    })
}

/// Whether both have the same pointers.
pub(in crate::api) fn is_same<T>(before: &Shared<T>, now: &Shared<T>) -> bool {
    before.len() == now.len() && changed(before, now).next().is_none()
}

/// Makes `known` the same as `now`, by what differs.
pub(in crate::api) fn follow<T>(known: &mut Shared<T>, now: &Shared<T>) {
    let others: Vec<(String, Arc<T>)> =
        changed(known, now).map(|(name, one)| (name.clone(), Arc::clone(one))).collect();
    known.extend(others);
    forget_others(known, now);
}

/// Takes away what is not there `now`; `known` has all that is.
pub(in crate::api) fn forget_others<T, U>(known: &mut BTreeMap<String, T>, now: &BTreeMap<String, U>) {
    if known.len() > now.len() {
        known.retain(|name, _| now.contains_key(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(values: &[(&str, u32)]) -> Shared<u32> {
        values.iter().map(|(name, value)| ((*name).to_owned(), Arc::new(*value))).collect()
    }

    #[test]
    fn what_has_another_pointer_differs() {
        let before = shared(&[("a", 1), ("c", 3), ("e", 5)]);
        let mut now = before.clone();
        assert!(is_same(&before, &now));
        now.remove("a");
        assert!(!is_same(&before, &now));
        now.extend(shared(&[("b", 2), ("c", 3)]));
        let names: Vec<&String> = changed(&before, &now).map(|(name, _)| name).collect();
        assert_eq!(names, ["b", "c"]);
        let mut known = before;
        follow(&mut known, &now);
        assert!(is_same(&known, &now));
    }
}
