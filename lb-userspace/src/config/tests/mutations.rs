//! No content crashes the parser, and a refused one says why.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::config::{ConfigError, parse};

const EXAMPLE: &str = include_str!("../../../examples/sluice.json");

/// How many values are in `value`, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// The value with that number, in the order of the text.
fn nth<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(members) => members.values_mut().find_map(|member| nth(member, left)),
        _ => None,
    }
}

/// What a hand or a program may write where something else belongs.
fn replacement() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..70_000_u64).prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(Value::from),
        "[a-z]{1,12}(-[0-9]{1,3})?".prop_map(Value::from),
        any::<std::net::IpAddr>().prop_map(|address| Value::from(address.to_string())),
        prop::sample::select(vec!["TCP", "UDP", "any", "web", "dns-blue", "10.200.1.1", "gue", "/", "200-"])
            .prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 16, 4, |inner| {
        let name = prop_oneof![any::<String>(), "(name|port|id|weight|vips|targets|zone)s?"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Parsing ends in a state or in at least one reason, each of one line.
fn check(text: &str) {
    match parse("f", text) {
        Ok(_) => {}
        Err(ConfigError::Invalid { problems, .. }) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(!problem.message.is_empty());
                assert!(!problem.to_string().contains(char::is_control), "{problem:?}");
            }
        }
        Err(error) => assert!(error.to_string().starts_with("f: line "), "{error}"),
    }
}

proptest! {
    #[test]
    fn a_file_with_values_replaced_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), replacement()), 1..5)
    ) {
        let mut file: Value = serde_json::from_str(EXAMPLE).unwrap();
        for (place, value) in changes {
            let mut left = place.index(count(&file));
            if let Some(found) = nth(&mut file, &mut left) {
                *found = value;
            }
        }
        check(&file.to_string());
    }

    #[test]
    fn a_file_with_a_piece_of_text_replaced_never_panics(
        start in any::<prop::sample::Index>(), length in 0..40_usize, piece in any::<String>()
    ) {
        let start = start.index(EXAMPLE.len());
        let end = (start + length).min(EXAMPLE.len());
        check(&format!("{}{piece}{}", &EXAMPLE[..start], &EXAMPLE[end..]));
    }

    #[test]
    fn any_text_at_all_never_panics(text in any::<String>()) {
        check(&text);
    }
}

#[test]
fn every_truncation_of_a_file_is_refused() {
    for end in 0..EXAMPLE.trim_end().len() {
        let error = parse("f", &EXAMPLE[..end]).unwrap_err().to_string();
        assert!(error.contains("the file ends too early") || error.contains("the file is empty"), "{error}");
    }
}

#[test]
fn a_deeply_nested_file_is_refused() {
    check(&"[".repeat(1_000_000));
    assert!(parse("f", &"[".repeat(1_000_000)).is_err());
}
