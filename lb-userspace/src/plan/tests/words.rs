//! What plans say, and what they refuse.

use super::*;

const GROUPS: &str = r#"
    { "name": "one", "protocol": "TCP", "port": 80, "vpc_id": "vpc-1", "target_type": "ip",
      "targets": [ { "id": "10.0.1.1" }, { "id": "10.0.1.2" } ] },
    { "name": "two", "protocol": "TCP", "port": 80, "vpc_id": "vpc-1", "target_type": "ip" }"#;

/// Two load balancers, which forward port 80 to these target groups.
fn document(first: &str, second: &str) -> String {
    let load_balancer = |name: &str, group: &str| {
        format!(
            r#"{{ "name": "{name}", "subnets": ["subnet-a"],
                 "listeners": [ {{ "protocol": "TCP", "port": 80, "forward": "{group}" }} ] }}"#
        )
    };
    format!(
        r#"{{ "load_balancers": [{}, {}], "target_groups": [{GROUPS}] }}"#,
        load_balancer("a", first),
        load_balancer("b", second)
    )
}

fn refused(engine: &mut Engine, text: &str) -> String {
    plan(engine, text, Unnamed::Stays).unwrap_err().to_string()
}

#[test]
fn target_groups_change_places_between_load_balancers() {
    let mut engine = engine();
    apply(&mut engine, &document("one", "two"), Unnamed::Stays).unwrap();
    let swapped = document("two", "one");
    let made = apply(&mut engine, &swapped, Unnamed::Stays).unwrap();
    let anew = "made anew (with another ARN): its target groups change places or are made anew";
    assert_eq!(
        words(&made),
        [
            format!("Remake Listener a TCP 80: forward: one → two; {anew}"),
            "Change Listener b TCP 80: forward: two → one".to_owned()
        ]
    );
    assert_eq!(words(&plan(&mut engine, &swapped, Unnamed::Goes).unwrap()), [""; 0]);
}

#[test]
fn targets_that_are_left_out_drain() {
    let mut engine = engine();
    apply(&mut engine, &document("one", "two"), Unnamed::Stays).unwrap();
    let fewer = document("one", "two").replace(r#"{ "id": "10.0.1.2" }"#, r#"{ "id": "10.0.1.3" }"#);
    let made = apply(&mut engine, &fewer, Unnamed::Stays).unwrap();
    assert_eq!(words(&made), ["Change TargetGroup one: deregistered: 10.0.1.2:80; registered: 10.0.1.3:80"]);
    let targets = &engine.state().target_groups["one"].targets;
    let drains: Vec<bool> = targets.iter().map(|target| target.drains_until.is_some()).collect();
    assert_eq!(drains, [false, true, false]);
}

#[test]
fn targets_are_left_to_others_where_the_document_does_not_speak_of_them() {
    let mut engine = engine();
    apply(&mut engine, &document("one", "two"), Unnamed::Stays).unwrap();
    let silent = document("one", "two")
        .replace(r#""targets": [ { "id": "10.0.1.1" }, { "id": "10.0.1.2" } ]"#, r#""tags": {}"#);
    assert_eq!(words(&plan(&mut engine, &silent, Unnamed::Goes).unwrap()), [""; 0]);
}

#[test]
fn what_is_not_named_stays_until_its_deletion_is_asked_for() {
    let mut engine = engine();
    apply(&mut engine, &document("one", "two"), Unnamed::Stays).unwrap();
    let nothing = "{}";
    let stays = plan(&mut engine, nothing, Unnamed::Stays).unwrap();
    assert!(stays.outlook.changes.is_empty());
    assert_eq!(
        words(&stays),
        [
            "Leave LoadBalancer a: VIPs: 10.200.1.1",
            "Leave LoadBalancer b: VIPs: 10.200.1.2",
            "Leave TargetGroup one: TCP port 80, 2 targets",
            "Leave TargetGroup two: TCP port 80, 0 targets"
        ]
    );
    apply(&mut engine, nothing, Unnamed::Goes).unwrap();
    assert!(engine.state().load_balancers.is_empty() && engine.state().target_groups.is_empty());
}

#[test]
fn what_is_for_life_is_made_anew_only_if_that_is_asked_for() {
    let mut engine = engine();
    apply(&mut engine, &document("one", "two"), Unnamed::Stays).unwrap();
    let other = document("one", "two").replace(
        r#""name": "two", "protocol": "TCP", "port": 80"#,
        r#""name": "two", "protocol": "TCP", "port": 81"#,
    );
    assert_eq!(
        refused(&mut engine, &other),
        "web.json: target_groups[1]: two would have to be deleted and made anew: its port is 80 for life, not 81; \
         leave that as it is, or say --delete"
    );
    apply(&mut engine, &other, Unnamed::Goes).unwrap();
    assert_eq!(words(&plan(&mut engine, &other, Unnamed::Goes).unwrap()), [""; 0]);
}

#[test]
fn what_the_api_refuses_is_refused_with_its_place() {
    let mut engine = engine();
    let unknown = document("one", "two").replace("subnet-a", "subnet-z");
    let told = refused(&mut engine, &unknown);
    assert!(
        told.starts_with("web.json: load_balancers[0]: The subnet ID 'subnet-z' does not exist\n"),
        "{told}"
    );
    let shared = document("one", "one");
    let told = refused(&mut engine, &shared);
    assert!(told.contains("load_balancers[1].listeners[0]: The following target groups cannot be"), "{told}");
    assert_eq!(*engine.state(), State::default());
}

#[test]
fn slips_are_told_with_the_nearest_right_name() {
    for (text, told) in [
        (r#"{ "load_balancer": [] }"#, "load_balancer: unknown field; did you mean \"load_balancers\"?"),
        (
            r#"{ "target_groups": [ { "name": "web", "protocol": "TPC", "port": "80" } ] }"#,
            "target_groups[0].protocol: expected \"TCP\", \"UDP\", \"TCP_UDP\" or \"QUIC\", found the string \"TPC\"",
        ),
        (
            r#"{ "load_balancers": [ { "name": "a", "subnets": ["subnet-a"],
                 "listeners": [ { "protocol": "TCP", "port": 80, "forward": "wbe" } ] } ],
                 "target_groups": [ { "name": "web", "protocol": "TCP", "port": 80 } ] }"#,
            "there is no target group \"wbe\" in target_groups; did you mean \"web\"?",
        ),
        (r#"{ "load_balancers": [ { "name": "a" } ] }"#, "load_balancers[0]: has no subnets"),
        (
            r#"{ "target_groups": [ { "name": "a", "protocol": "TCP", "port": 1 }, { "name": "a", "protocol": "TCP", "port": 1 } ] }"#,
            "target_groups[1].name: \"a\" is the name of target_groups[0] already",
        ),
    ] {
        let problem = read("web.json", text).unwrap_err().to_string();
        assert!(problem.contains(told), "{problem}");
    }
}
