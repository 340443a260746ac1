//! `sluice explain` as people type it.

use anyhow::{Context, Result};
use lab::process::{binary, output_of};
use lab::{Lab, VIP4, VIP6};
use serde_json::Value;

/// What `sluice explain` prints on the first node.
fn explain(lab: &Lab, arguments: &[&str]) -> Result<String> {
    let node = &lab.nodes[0];
    let mut command = std::process::Command::new(binary("sluice")?);
    command.arg("explain").args(arguments).arg("--runtime-directory").arg(node.runtime_directory()?);
    node.host.enter(|| output_of(&mut command))
}

#[test]
fn explain_names_the_target_of_a_living_connection() -> Result<()> {
    if !lab::require_root() {
        return Ok(());
    }
    let lab = super::lab()?;
    for vip in [VIP4.into(), VIP6.into()] {
        for _ in 0..10 {
            let mut connection = lab.connect(vip)?;
            let answering = connection.get()?.target;
            let client = connection.local_address()?.to_string();
            let to = std::net::SocketAddr::new(vip, 80).to_string();
            let told: Value = serde_json::from_str(&explain(&lab, &["--ack", "--json", &client, &to])?)?;
            let target = told["target"]["address"].as_str().context("a target")?;
            let expected = lab.targets.iter().find(|one| one.name == answering).context("a target's name")?;
            assert_eq!(target, expected.v4.to_string(), "{told:#}");
            assert_eq!(
                (&told["verdict"]["verdict"], &told["outer"]["destination"]),
                (&"forwarded".into(), &target.into())
            );
        }
    }
    words(&lab)
}

/// What people read.
fn words(lab: &Lab) -> Result<()> {
    let text = explain(lab, &["--ack", "[fd01::2]:40000", &format!("[{VIP6}]:80")])?;
    assert!(text.contains("listener   load balancer web, TCP 80, forwards to web"), "{text}");
    assert!(text.contains("verdict    forwarded (XDP_TX)"), "{text}");
    let text = explain(lab, &["10.201.0.2:40000", "10.200.1.1:81"])?;
    assert!(text.contains("passed (XDP_PASS), not_ours"), "{text}");
    let text = explain(lab, &["--length", "1600", "10.201.0.2:40000", "10.200.1.1:80"])?;
    assert!(text.contains("too big: 1600 + 20 >"), "{text}");
    let error = explain(lab, &["--interface", "eth9", "10.201.0.2:40000", "10.200.1.1:80"]).unwrap_err();
    assert!(format!("{error:#}").contains("not on an interface eth9; it is on: eth0"), "{error:#}");
    Ok(())
}
