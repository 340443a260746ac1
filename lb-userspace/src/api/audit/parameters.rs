//! A request's parameters as the log tells them: without secrets, and not endless.

use serde_json::{Map, Value};

use crate::api::protocol::Node;

/// Characters of one text that are told.
const LONGEST_TEXT: usize = 512;

/// Parts of a parameter's name whose value nobody may read: those of an OIDC client, and of a presigned request.
const SECRET: [&str; 6] = ["secret", "password", "privatekey", "security-token", "signature", "credential"];

/// Every parameter by its name, in the tree's form.
pub(super) fn told(parameters: &Node) -> Value {
    let children: Map<String, Value> = parameters
        .children()
        .map(|(name, child)| (shortened(name), if is_secret(name) { "(secret)".into() } else { told(child) }))
        .collect();
    match (parameters.text(), children.is_empty()) {
        (Some(text), true) => shortened(text).into(),
        // A text beside children is one that no shape reads.
        _ => Value::Object(children),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|secret| name.contains(secret))
}

/// The text, or its beginning with a note of what is missing.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tell(pairs: &[(&str, &str)]) -> Value {
        let pairs = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        told(&Node::from_pairs(pairs).unwrap())
    }

    #[test]
    fn parameters_are_told_as_a_tree() {
        let value = tell(&[("Action", "AddTags"), ("Tags.member.1.Key", "a"), ("Tags.member.1.Value", "")]);
        let tags = json!({ "member": { "1": { "Key": "a", "Value": "" } } });
        assert_eq!(value, json!({ "Action": "AddTags", "Tags": tags }));
    }

    #[test]
    fn secrets_are_not_told() {
        let name = "DefaultActions.member.1.AuthenticateOidcConfig.ClientSecret";
        for name in [name, "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential"] {
            let text = tell(&[(name, "hush")]).to_string();
            assert!(text.contains("(secret)") && !text.contains("hush"), "{text}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = shortened(&"ü".repeat(1000));
        assert!(text.starts_with("üü") && text.ends_with("… (2000 bytes)"), "{text}");
        assert_eq!(text.chars().filter(|at| *at == 'ü').count(), LONGEST_TEXT);
    }
}
