//! What differs between two values: the parts of both that are not in the other, and nothing else.

use serde_json::{Map, Value};

/// The parts of `before` and `after` that differ; none where nothing does. Objects are compared member by member,
/// everything else as a whole.
pub(super) fn difference(before: Option<&Value>, after: Option<&Value>) -> (Option<Value>, Option<Value>) {
    match (before, after) {
        (before, after) if before == after => (None, None),
        (Some(Value::Object(before)), Some(Value::Object(after))) => members(before, after),
        (before, after) => (before.cloned(), after.cloned()),
    }
}

fn members(before: &Map<String, Value>, after: &Map<String, Value>) -> (Option<Value>, Option<Value>) {
    let (mut left, mut right) = (Map::new(), Map::new());
    let added = after.keys().filter(|name| !before.contains_key(*name));
    for name in before.keys().chain(added) {
        let (one, other) = difference(before.get(name), after.get(name));
        left.extend(one.map(|value| (name.clone(), value)));
        right.extend(other.map(|value| (name.clone(), value)));
    }
    (Some(Value::Object(left)), Some(Value::Object(right)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let before = json!({ "port": 80, "name": "web", "in": { "a": 1, "b": [1, 2] }, "gone": true });
        let after = json!({ "port": 81, "name": "web", "in": { "a": 1, "b": [1] }, "new": null });
        let (left, right) = difference(Some(&before), Some(&after));
        assert_eq!(left, Some(json!({ "port": 80, "in": { "b": [1, 2] }, "gone": true })));
        assert_eq!(right, Some(json!({ "port": 81, "in": { "b": [1] }, "new": null })));
    }

    #[test]
    fn what_came_or_went_is_told_whole() {
        let value = json!({ "a": 1 });
        assert_eq!(difference(None, Some(&value)), (None, Some(value.clone())));
        assert_eq!(difference(Some(&value), None), (Some(value.clone()), None));
        assert_eq!(difference(Some(&value), Some(&value)), (None, None));
    }
}
