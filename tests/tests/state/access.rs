//! TLS with certificates of both sides, and passwords.

use std::fs;
use std::path::Path;

use anyhow::Result;
use lab::{Lease, require_root};
use lb_userspace::api::store::Etcd;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::node::Node;

#[test]
fn members_and_nodes_show_certificates_to_each_other() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lease = Lease::take()?;
    let directory = lease.directory().to_owned();
    make_certificates(&directory, "127.0.0.1")?;
    let file = |name: &str| directory.join(name).display().to_string();
    let options = ["--cert-file", &file("server.pem"), "--key-file", &file("server.key")];
    let trusts = ["--client-cert-auth", "--trusted-ca-file", &file("ca.pem")];
    let options = [&options[..], &trusts].concat().into_iter().map(str::to_owned).collect();
    let mut cluster = Cluster::of(&lease, 1, "https", options)?;
    // Its client shows the server's certificate, which is good for both.
    cluster.start_all_with(&[
        "--cacert",
        &file("ca.pem"),
        "--cert",
        &file("server.pem"),
        "--key",
        &file("server.key"),
    ])?;
    let tls = json!({ "ca": file("ca.pem"), "certificate": file("client.pem"), "key": file("client.key") });
    let node = Node::start(&cluster.host, &directory.join("a"), etcd(&cluster, &json!({ "tls": tls })))?;
    assert!(node.make_group("web"));
    let nameless = etcd(&cluster, &json!({ "tls": { "ca": file("ca.pem") } }));
    assert!(Node::start(&cluster.host, &directory.join("b"), nameless).is_err());
    Ok(())
}

#[test]
fn a_member_must_have_the_right_authority_and_the_right_name() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lease = Lease::take()?;
    let directory = lease.directory().to_owned();
    let foreign = directory.join("foreign");
    fs::create_dir(&foreign)?;
    make_certificates(&directory, "etcd.test")?;
    make_certificates(&foreign, "etcd.test")?;
    let file = |name: &str| directory.join(name).display().to_string();
    let options = ["--cert-file", &file("server.pem"), "--key-file", &file("server.key")];
    let mut cluster = Cluster::of(&lease, 1, "https", options.map(str::to_owned).to_vec())?;
    // Its client calls an address, for which the certificate is not.
    cluster.start_all_with(&["--insecure-transport=false", "--insecure-skip-tls-verify"])?;
    let start = |name: &str, tls: Value| {
        Node::start(&cluster.host, &directory.join(name), etcd(&cluster, &json!({ "tls": tls })))
    };
    let (own, others) = (file("ca.pem"), file("foreign/ca.pem"));
    let node = start("a", json!({ "ca": own, "server_name": "etcd.test" }))?;
    assert!(node.make_group("web"), "the certificate is the right one");
    // The foreign authority has the name of the right one, and another key.
    for (name, tls, why) in [
        ("b", json!({ "ca": others, "server_name": "etcd.test" }), "BadSignature"),
        ("c", json!({ "ca": own, "server_name": "other.test" }), "other.test"),
        ("d", json!({ "ca": own }), "127.0.0.1"),
    ] {
        let refused = start(name, tls.clone()).err().map(|error| format!("{error:#}"));
        assert!(refused.as_ref().is_some_and(|words| words.contains(why)), "{tls}: {refused:?}");
    }
    Ok(())
}

#[test]
fn a_node_with_the_password_is_let_in_and_one_with_another_is_not() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    for arguments in [
        &["user", "add", "root:secret"][..],
        &["user", "add", "sluice:let me in"],
        &["role", "add", "sluice"],
        &["role", "grant-permission", "sluice", "readwrite", "--prefix=true", "/lb/"],
        &["user", "grant-role", "sluice", "sluice"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        cluster.control(arguments)?;
    }
    let directory = cluster.host.lease().directory();
    let start = |name: &str, password: &str| {
        let file = directory.join(format!("{name}.password"));
        fs::write(&file, format!("{password}\n"))?;
        let access = json!({ "prefix": "/lb/", "user": "sluice", "password_file": file });
        Node::start(&cluster.host, &directory.join(name), etcd(&cluster, &access))
    };
    assert!(start("a", "let me in")?.make_group("web"));
    assert!(start("b", "let me out").is_err());
    Ok(())
}

fn etcd(cluster: &Cluster, more: &Value) -> Etcd {
    let mut section = json!({ "endpoints": cluster.endpoints() });
    for (key, value) in more.as_object().expect("an object") {
        section[key] = value.clone();
    }
    serde_json::from_value(section).expect("a section")
}

/// A certificate authority, a server and a client, both of this name.
fn make_certificates(directory: &Path, subject: &str) -> Result<()> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    fs::write(directory.join("ca.pem"), authority.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(authority, key);
    for name in ["server", "client"] {
        let mut params = CertificateParams::new(vec![subject.to_owned()])?;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        fs::write(directory.join(format!("{name}.pem")), params.signed_by(&key, &issuer)?.pem())?;
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}
