//! The unit files as systemd reads them; nothing is started.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use lab::process::output_of;

use crate::scratch::Scratch;
use crate::unit::Unit;

/// Both units.
pub(crate) const UNITS: [&str; 2] = ["sluice.service", "sluice-agent.service"];

/// What `systemd-analyze security` says at most, in tenths: 0 is nothing exposed, 100 everything. Most of what is left
/// is that they have networks, netlink, three capabilities and the system call `bpf`: their job.
const EXPOSURE: &str = "20";

#[test]
fn systemd_takes_the_units_without_a_word() {
    let scratch = Scratch::new("verify");
    let root = scratch.path().join("root");
    for directory in ["usr/bin", "usr/lib/systemd/system", "bin"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for program in ["usr/bin/sluice", "usr/bin/install", "bin/kill"] {
        fs::write(root.join(program), "#!/bin/sh\n").unwrap();
        fs::set_permissions(root.join(program), Permissions::from_mode(0o755)).unwrap();
    }
    let helper = "sluice-pins@.service";
    fs::copy(crate::packaging("systemd").join(helper), root.join("usr/lib/systemd/system").join(helper))
        .unwrap();
    // Targets that the units name are systemd's own.
    for target in ["network-online", "multi-user", "basic", "sysinit", "shutdown", "network"] {
        let file = root.join(format!("usr/lib/systemd/system/{target}.target"));
        fs::write(file, "[Unit]\nDescription=A target\nDefaultDependencies=no\n").unwrap();
    }
    for name in UNITS {
        let place = root.join("usr/lib/systemd/system").join(name);
        // The users come with the package; here they are nobody's.
        fs::copy(crate::packaging("systemd").join(name), &place).unwrap();
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--root"])
            .args([&root, &place])
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && words.is_empty(), "{name}: {}: {words}", output.status);
    }
}

#[test]
fn a_mistake_in_a_unit_would_be_seen() {
    let scratch = Scratch::new("mistaken");
    let place = scratch.path().join("sluice.service");
    let text = fs::read_to_string(crate::packaging("systemd/sluice.service")).unwrap();
    fs::write(&place, text.replace("ProtectHome=yes", "ProtectHomes=yes")).unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&place).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("ProtectHomes"), "{output:?}");
}

#[test]
fn the_units_are_exposed_no_more_than_their_job_demands() {
    for name in UNITS {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE]);
        output_of(command.arg(crate::packaging("systemd").join(name))).unwrap();
    }
}

#[test]
fn a_restarted_agent_leaves_its_work_in_place_and_a_stopped_one_takes_it_away() {
    let agent = Unit::of("sluice-agent.service");
    assert_eq!(agent.only("RestartKillSignal"), "SIGUSR2");
    assert_eq!(agent.only("KillSignal"), "SIGTERM");
    for unit in UNITS.map(Unit::of) {
        assert_eq!(unit.only("Restart"), "on-failure", "who ends it by SIGTERM would have it back");
        assert_eq!(unit.only("RuntimeDirectoryPreserve"), "yes");
        assert_eq!(unit.only("ExecReload"), "/bin/kill -HUP $MAINPID");
    }
}

#[test]
fn the_key_that_nodes_share_reaches_the_controller_at_boot() {
    if !lab::require_root() {
        return;
    }
    let scratch = Scratch::new("boot");
    for directory in ["etc/sluice", "usr/lib/tmpfiles.d"] {
        fs::create_dir_all(scratch.path().join(directory)).unwrap();
    }
    fs::write(scratch.path().join("etc/passwd"), "sluice:x:64117:64117::/:/bin/false\n").unwrap();
    fs::write(scratch.path().join("etc/group"), "sluice:x:64117:\n").unwrap();
    let rules = scratch.path().join("usr/lib/tmpfiles.d/sluice.conf");
    fs::copy(crate::packaging("tmpfiles.d/sluice.conf"), rules).unwrap();
    let boot = || {
        let mut command = Command::new("systemd-tmpfiles");
        command.arg("--root").arg(scratch.path()).args(["--create", "sluice.conf"]);
        output_of(&mut command).unwrap()
    };
    let key = scratch.path().join("run/sluice/hash.key");
    assert_eq!(boot(), "");
    assert!(!key.exists(), "without the administrator's key the controller makes its own");
    let own = scratch.path().join("etc/sluice/hash.key");
    fs::write(&own, "00112233445566778899aabbccddeeff\n").unwrap();
    fs::set_permissions(&own, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(boot(), "");
    let about = fs::metadata(&key).unwrap();
    assert_eq!((about.uid(), about.mode() & 0o777), (64117, 0o600));
    let about = fs::metadata(&own).unwrap();
    assert_eq!((about.uid(), about.mode() & 0o777), (0, 0o600), "the administrator's is root's alone");
    assert_eq!(fs::read(&key).unwrap(), b"00112233445566778899aabbccddeeff\n");
}

#[test]
fn the_units_users_are_made_by_the_package() {
    let users = fs::read_to_string(crate::packaging("sysusers.d/sluice.conf")).unwrap();
    for unit in UNITS.map(Unit::of) {
        let is_made = users.lines().any(|line| line.split_whitespace().take(2).eq(["u", unit.only("User")]));
        assert!(is_made, "{}", unit.name);
        assert_eq!(unit.capabilities("AmbientCapabilities"), unit.capabilities("CapabilityBoundingSet"));
    }
}
