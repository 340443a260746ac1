//! Pagination: a page's marker is the key of the last thing on the page before.

use crate::api::shapes::{Marker, PageSize};

/// A page without a `PageSize`.
const DEFAULT: usize = 400;

/// The items after `marker`, at most a page of them, and the next page's marker if there are more. The items are in
/// the order of their keys.
pub(super) fn page<T>(
    items: impl IntoIterator<Item = (String, T)>,
    marker: Option<&Marker>,
    size: Option<&PageSize>,
) -> (Vec<T>, Option<Marker>) {
    let size = size.map_or(DEFAULT, |size| usize::try_from(size.0).unwrap_or(DEFAULT));
    let mut rest =
        items.into_iter().skip_while(|(key, _)| marker.is_some_and(|marker| key.as_str() <= &**marker));
    let (mut page, mut last) = (Vec::new(), None);
    for (key, item) in rest.by_ref().take(size) {
        page.push(item);
        last = Some(Marker(key));
    }
    (page, last.filter(|_| rest.next().is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let items = || ["a", "b", "c"].map(|key| (key.to_owned(), key));
        let (size, mut marker, mut seen) = (PageSize(2), None, Vec::new());
        loop {
            let (page, next) = page(items(), marker.as_ref(), Some(&size));
            seen.push(page);
            marker = next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(seen, [vec!["a", "b"], vec!["c"]]);
        assert_eq!(page(items(), None, Some(&PageSize(3))).1, None);
        assert_eq!(page(items(), Some(&Marker("bb".into())), None), (vec!["c"], None));
    }
}
