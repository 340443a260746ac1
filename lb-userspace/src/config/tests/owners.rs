//! Files that leave the load balancers and target groups to the API.

use super::bad_files::said_about;
use crate::config::{Owner, parse_content};

const NODE: &str = r#""node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] }"#;

#[test]
fn a_file_with_an_api_leaves_the_rest_to_it() {
    let text = format!(r#"{{ {NODE}, "api": {{ "anything": 1 }}, "inventory": [] }}"#);
    let content = parse_content("api.json", text.clone()).unwrap();
    assert_eq!(content.owner, Owner::Api(text));
    assert!(content.desired.load_balancers.is_empty() && content.desired.target_groups.is_empty());
    assert_eq!(content.desired.node.name, "lb1");
}

#[test]
fn a_file_without_one_owns_everything() {
    let text = format!(r#"{{ {NODE}, "load_balancers": [], "target_groups": [] }}"#);
    assert_eq!(parse_content("file.json", text).unwrap().owner, Owner::File);
}

#[test]
fn there_are_never_two_owners() {
    let said =
        said_about(&format!(r#"{{ {NODE}, "api": {{}}, "load_balancers": [], "target_groups": [] }}"#));
    for section in ["load_balancers", "target_groups"] {
        let why = format!("bad.json: {section}: the API owns the load balancers and target groups");
        assert!(said.contains(&why), "{said}");
    }
    let said =
        said_about(&format!(r#"{{ {NODE}, "inventory": {{}}, "load_balancers": [], "target_groups": [] }}"#));
    assert!(said.starts_with("bad.json: inventory: only the API has an inventory"), "{said}");
}
