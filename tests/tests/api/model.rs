//! Our description of the shapes against the service model in the Python package botocore.

use std::process::Command;

use lab::process::output_of;
use lb_userspace::api::domain::{ELSEWHERE, OPERATIONS};
use lb_userspace::api::protocol::Code;
use lb_userspace::api::shapes::{Kind, Shape};
use serde_json::{Value, json};

use crate::served::{client, has_clients};

const PRINT: &str = "import json, botocore.loaders\n\
                     print(json.dumps(botocore.loaders.Loader().load_service_model('elbv2', 'service-2')))";

fn service_model() -> Value {
    let text = output_of(Command::new(client("python").unwrap()).args(["-c", PRINT])).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_shape_is_as_the_service_model_says() {
    if !has_clients() {
        return;
    }
    let model = service_model();
    let (mut differences, mut compared) = (Vec::new(), 0);
    for operation in OPERATIONS {
        let theirs = &model["operations"][operation.name];
        assert_eq!(theirs["output"]["resultWrapper"], format!("{}Result", operation.name));
        for (part, shape) in [("input", (operation.input)()), ("output", (operation.output)())] {
            let path = format!("{}.{part}", operation.name);
            compare(
                &model,
                theirs[part]["shape"].as_str().unwrap(),
                shape,
                &path,
                &mut differences,
                &mut compared,
            );
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(compared > 1000, "only {compared} places were compared");
}

fn compare(
    model: &Value,
    name: &str,
    ours: &Shape,
    path: &str,
    differences: &mut Vec<String>,
    compared: &mut usize,
) {
    *compared += 1;
    let theirs = &model["shapes"][name];
    let mut check = |what: &str, theirs: Value, ours: Value| {
        if theirs != ours {
            differences.push(format!("{path}: {what} is {theirs} in the service model, {ours} here"));
        }
    };
    check("min", theirs["min"].clone(), json!(ours.min));
    check("max", theirs["max"].clone(), json!(ours.max));
    check("pattern", theirs["pattern"].clone(), json!(ours.pattern.map(|pattern| pattern.text)));
    check("type", theirs["type"].clone(), json!(kind(&ours.kind)));
    if let Kind::Enumeration(values) = &ours.kind {
        check("enum", theirs["enum"].clone(), json!(values));
    } else {
        check("enum", theirs["enum"].clone(), Value::Null);
    }
    match &ours.kind {
        Kind::Structure(members) => {
            let names: Vec<_> = members.iter().map(|member| member.name).collect();
            let theirs_names: Vec<_> = theirs["members"]
                .as_object()
                .map(|members| members.keys().cloned().collect())
                .unwrap_or_default();
            check("the set of members", json!(sorted(&theirs_names)), json!(sorted(&names)));
            let required: Vec<_> =
                members.iter().filter(|member| member.required).map(|member| member.name).collect();
            let theirs_required: Vec<String> = theirs["required"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|name| name.as_str().unwrap().into())
                .collect();
            check("required", json!(sorted(&theirs_required)), json!(sorted(&required)));
            for member in *members {
                let Some(shape) = theirs["members"][member.name]["shape"].as_str() else { continue };
                compare(
                    model,
                    shape,
                    (member.shape)(),
                    &format!("{path}.{}", member.name),
                    differences,
                    compared,
                );
            }
        }
        Kind::List(item) => {
            let shape = theirs["member"]["shape"].as_str().unwrap_or_default();
            compare(model, shape, item(), &format!("{path}.member"), differences, compared);
        }
        _ => {}
    }
}

fn kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Enumeration(_) => "string",
        Kind::Integer => "integer",
        Kind::Long => "long",
        Kind::Double => "double",
        Kind::Boolean => "boolean",
        Kind::Timestamp => "timestamp",
        Kind::List(_) => "list",
        Kind::Map { .. } => "map",
        Kind::Structure(_) => "structure",
    }
}

fn sorted<T: AsRef<str>>(names: &[T]) -> Vec<&str> {
    let mut names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    names.sort_unstable();
    names
}

#[test]
fn every_operation_of_the_service_model_is_served_or_known() {
    if !has_clients() {
        return;
    }
    let model = service_model();
    let theirs: Vec<_> = model["operations"].as_object().unwrap().keys().cloned().collect();
    let ours: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).chain(ELSEWHERE).collect();
    assert_eq!(sorted(&theirs), sorted(&ours));
}

#[test]
fn every_modelled_error_code_has_the_models_status() {
    if !has_clients() {
        return;
    }
    let model = service_model();
    let errors = model["shapes"].as_object().unwrap().values().filter(|shape| shape["exception"] == true);
    let modelled: Vec<_> = errors.map(|shape| &shape["error"]).collect();
    let mut found = 0;
    for code in Code::ALL {
        let Some(theirs) = modelled.iter().find(|error| error["code"] == code.wire()) else { continue };
        assert_eq!(theirs["httpStatusCode"], code.status(), "{code:?}");
        found += 1;
    }
    assert_eq!(found, 34, "modelled codes that can be answered");
}
