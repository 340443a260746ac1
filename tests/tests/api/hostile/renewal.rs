//! Keys and certificates that come and go while the API runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{require_root, wait};
use rustix::process::Signal;

use super::connection::Client;
use super::forge::{READ, Signer};
use crate::served::Served;

/// How soon a change of the file must be in force.
const SOON: Duration = Duration::from_secs(10);

fn status(served: &Served, key: &str) -> Result<u16> {
    let signer = Signer { key: key.to_owned(), ..Signer::of("ADMIN") };
    Ok(Client::of(served)?.ask(&signer.post(READ.as_bytes()))?.status)
}

fn until_let_in(served: &Served, key: &str) {
    wait::until(&format!("{key} to be let in"), SOON, || {
        let status = status(served, key)?;
        ensure!(status == 200, "status {status}; the log:\n{}", served.process.log());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_changed_file_of_credentials_is_taken_over_unless_it_is_bad() {
    if !require_root() {
        return;
    }
    let mut served = Served::signed().unwrap();
    let file = served.host.lease().directory().join("credentials.json");
    let first = fs::read_to_string(&file).unwrap();
    until_let_in(&served, "ADMIN");
    fs::write(&file, first.replace("ADMIN", "SECOND")).unwrap();
    until_let_in(&served, "SECOND");
    assert_eq!(status(&served, "ADMIN").unwrap(), 403);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(&file, first.replace("ADMIN", "THIRD")).unwrap();
    wait::until("the refusal in the log", SOON, || {
        let log = served.process.log();
        ensure!(log.contains("the earlier credentials stay in force") && log.contains("chmod 600"), "{log}");
        Ok(())
    })
    .unwrap();
    assert_eq!(status(&served, "THIRD").unwrap(), 403);
    until_let_in(&served, "SECOND");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    served.process.signal(Signal::HUP);
    until_let_in(&served, "THIRD");
    fs::write(&file, "{").unwrap();
    wait::until("the bad file in the log", SOON, || {
        let log = served.process.log();
        ensure!(log.contains("expected {\"credentials\""), "{log}");
        Ok(())
    })
    .unwrap();
    until_let_in(&served, "THIRD");
    served.process.check_running().unwrap();
}

#[test]
fn a_renewed_certificate_is_taken_over_unless_it_is_bad() {
    if !require_root() {
        return;
    }
    let mut served = Served::secured().unwrap();
    let [certificate, key] =
        ["certificate.pem", "key.pem"].map(|name| served.host.lease().directory().join(name));
    let trusts_what_is_there = |served: &Served| {
        wait::until("a certificate that is trusted", SOON, || {
            let status = status(served, "ADMIN")?;
            ensure!(status == 200, "status {status}");
            Ok(())
        })
    };
    trusts_what_is_there(&served).unwrap();
    let earlier = fs::read(&certificate).unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs::write(&certificate, made.cert.pem()).unwrap();
    // For this moment the certificate is not the key's.
    served.process.signal(Signal::HUP);
    wait::until("the refusal in the log", SOON, || {
        let log = served.process.log();
        ensure!(log.contains("the earlier certificate stays in force"), "{log}");
        Ok(())
    })
    .unwrap();
    fs::write(&certificate, &earlier).unwrap();
    trusts_what_is_there(&served).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::write(&certificate, made.cert.pem()).unwrap();
    trusts_what_is_there(&served).unwrap();
    fs::remove_file(&key).unwrap();
    wait::until("the missing key in the log", SOON, || {
        let log = served.process.log();
        ensure!(log.contains("the earlier certificate stays in force: reading"), "{log}");
        Ok(())
    })
    .unwrap();
    trusts_what_is_there(&served).unwrap();
    served.process.check_running().unwrap();
}
