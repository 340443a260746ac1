//! The installed binary from outside: what it says, where, and with which exit code. Nothing here makes a
//! network or needs root.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use lab::process::binary;

/// An unprivileged user and group (`nobody` on most systems).
const NOBODY: u32 = 65534;

const GOOD: &str = r#"{ "node": { "name": "lb1", "zone": "a", "interfaces": ["eth0"] },
  "load_balancers": [ { "name": "web", "vips": ["10.200.1.1", "fc00:1::1"],
    "listeners": [ { "protocol": "TCP", "port": 80, "forward": [ { "target_group": "web" } ] } ] } ],
  "target_groups": [ { "name": "web", "protocol": "TCP", "port": 80, "encapsulation": "ipip",
    "health_check": { "protocol": "HTTP", "port": 80, "path": "/healthz", "interval_seconds": 10,
      "timeout_seconds": 5, "healthy_threshold": 3, "unhealthy_threshold": 3 },
    "targets": [ { "id": "10.0.0.1", "weight": 1, "zone": "a" } ] } ] }"#;

/// A directory that everybody can read and that vanishes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("sluice-binary-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Scratch(path)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn sluice() -> Command {
    Command::new(binary("sluice").unwrap())
}

/// A binary that was just copied is busy as long as a process that another test forks at this moment has
/// inherited the descriptor by which it was written.
fn output(command: &mut Command) -> Output {
    lab::wait::until("a binary that is not busy", Duration::from_secs(10), || match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => Err(error.into()),
        output => Ok(output.unwrap()),
    })
    .unwrap()
}

/// Exit code, standard output, standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = output(command.stdin(Stdio::null()));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().expect("no signal ends it"), text(stdout), text(stderr))
}

fn check(file: &Path) -> (i32, String, String) {
    run(sluice().arg("check").arg(file))
}

#[test]
fn help_names_every_command() {
    let (code, out, err) = run(sluice().arg("--help"));
    assert_eq!((code, err.as_str()), (0, ""));
    for command in ["run", "stop", "detach", "agent", "check", "status", "doctor"] {
        assert!(out.lines().any(|line| line.trim_start().starts_with(command)), "{command} is not in {out}");
        let (code, help, _) = run(sluice().args([command, "--help"]));
        assert!(code == 0 && help.contains("Usage: sluice"), "{help}");
    }
}

#[test]
fn the_version_is_told() {
    assert_eq!(
        run(sluice().arg("--version")),
        (0, format!("sluice {}\n", env!("CARGO_PKG_VERSION")), "".into())
    );
}

#[test]
fn no_command_and_an_unknown_one_are_told_how_to_go_on() {
    let (code, out, err) = run(&mut sluice());
    assert!(code == 2 && out.is_empty() && err.contains("Usage: sluice"), "{code} {out} {err}");
    let (code, out, err) = run(sluice().arg("stats"));
    assert!(code == 2 && out.is_empty(), "{code} {out}");
    assert!(err.contains("'stats'") && err.contains("'status'"), "{err}");
}

#[test]
fn a_good_file_passes_the_check() {
    let scratch = Scratch::new("good");
    let file = scratch.file("good.json", GOOD);
    let (code, out, err) = check(&file);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with(&format!("{}: ok: ", file.display())), "{out}");
}

#[test]
fn a_bad_file_fails_the_check_with_every_problem_on_standard_error() {
    let scratch = Scratch::new("bad");
    let text = GOOD.replace("\"weight\": 1", "\"wieght\": 1").replace("fc00:1::1", "fc00:1::g");
    let file = scratch.file("bad.json", &text);
    let (code, out, err) = check(&file);
    assert_eq!((code, out.as_str()), (1, ""));
    for (path, words) in
        [("target_groups[0].targets[0]", "weight"), ("load_balancers[0].vips[1]", "fc00:1::g")]
    {
        let begin = format!("{}: {path}", file.display());
        let line = err.lines().find(|line| line.contains(&begin));
        assert!(line.is_some_and(|line| line.contains(words)), "no line with {begin} and {words} in {err}");
    }
}

#[test]
fn a_file_that_is_no_json_fails_the_check_with_the_place() {
    let scratch = Scratch::new("syntax");
    let file = scratch.file("half.json", &GOOD[..GOOD.len() / 2]);
    let (code, out, err) = check(&file);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains(&file.display().to_string()) && err.contains("line 4, column "), "{err}");
}

#[test]
fn a_file_that_can_not_be_read_fails_the_check_with_its_name() {
    let scratch = Scratch::new("missing");
    for path in [scratch.0.join("missing.json"), scratch.0.clone()] {
        let (code, out, err) = check(&path);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains(&format!("{}: can't be read: ", path.display())), "{err}");
    }
}

#[test]
fn the_status_without_a_controller_says_how_to_start_one() {
    let scratch = Scratch::new("status");
    for json in [&[][..], &["--json"][..]] {
        let (code, out, err) =
            run(sluice().arg("status").args(json).arg("--runtime-directory").arg(&scratch.0));
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains("no controller serves") && err.contains("`sluice run`"), "{err}");
    }
}

#[test]
fn the_doctor_on_a_host_without_sluice_asks_what_it_should_be() {
    let scratch = Scratch::new("doctor");
    let doctor = |arguments: &[&str]| {
        let mut command = sluice();
        command.arg("doctor").args(arguments).args(["--seconds", "0"]);
        run(command.arg("--runtime-directory").arg(&scratch.0).arg("--agent-directory").arg(&scratch.0))
    };
    let (code, out, err) = doctor(&[]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("say --node or --target"), "{err}");
    let (code, out, err) = doctor(&["--node"]);
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(out.starts_with("[FAIL] controller: ") && out.contains("[controller-silent]"), "{out}");
    assert!(out.contains("\n       mend: sluice run"), "{out}");
}

/// `sluice` as an unprivileged user, who may not reach this build's directory.
fn unprivileged(scratch: &Scratch) -> Command {
    let copy = scratch.0.join("sluice");
    fs::copy(binary("sluice").unwrap(), &copy).unwrap();
    let mut command = Command::new(copy);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir("/");
    command
}

#[test]
fn an_unprivileged_controller_names_the_capabilities_that_it_lacks() {
    let scratch = Scratch::new("run");
    let file = scratch.file("good.json", GOOD);
    let runtime = scratch.0.join("runtime");
    let mut command = unprivileged(&scratch);
    command.args(["run", "--config"]).arg(&file).arg("--runtime-directory").arg(&runtime);
    let (code, out, err) = run(&mut command);
    assert_eq!((code, out.as_str()), (1, ""));
    for capability in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
        assert!(err.contains(capability), "{err}");
    }
    assert!(err.contains("root"), "{err}");
    assert!(!runtime.exists(), "it made {} although it can't run", runtime.display());
}

#[test]
fn an_unprivileged_agent_names_the_capabilities_that_it_lacks() {
    let scratch = Scratch::new("agent");
    let runtime = scratch.0.join("runtime");
    let mut command = unprivileged(&scratch);
    command.args(["agent", "--interface", "none", "--node", "10.0.0.1", "--vip", "10.0.0.2"]);
    let (code, _, err) = run(command.arg("--runtime-directory").arg(&runtime));
    assert_eq!(code, 1);
    assert!(err.contains("CAP_BPF") && err.contains("root"), "{err}");
    assert!(!runtime.exists(), "it made {} although it can't run", runtime.display());
}

#[test]
fn a_password_that_others_can_read_is_warned_of_and_not_told() {
    let scratch = Scratch::new("password");
    let announce = r#"{ "announce": { "bgp": { "local_as": 65001, "peers": [ { "address": "10.0.0.1",
        "source": "10.0.0.11", "remote_as": 65000, "families": ["ipv4"], "md5_password": "correct horse" } ] } },"#;
    let file = scratch.file("secret.json", &GOOD.replacen('{', announce, 1));
    let warning = format!("{} holds the md5_password of a router and can be read by others", file.display());
    let with_mode = |mode| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        check(&file)
    };
    for mode in [0o600, 0o640] {
        assert_eq!(with_mode(mode).2, "", "{mode:o}");
    }
    let (code, out, err) = with_mode(0o644);
    assert!(code == 0 && out.contains(": ok: "), "{out}");
    assert!(err.starts_with(&format!("warning: {warning} (mode 0644); remedy: chmod 640 ")), "{err}");
    assert!(!err.contains("horse"), "{err}");
    let (_, _, err) = run(unprivileged(&scratch).args(["run", "--config"]).arg(&file));
    assert!(err.matches(&warning).count() == 1 && !err.contains("horse"), "{err}");
}

#[test]
fn a_bad_configuration_is_told_before_what_the_process_lacks() {
    let scratch = Scratch::new("order");
    let file = scratch.file("bad.json", "{}");
    let mut command = unprivileged(&scratch);
    let (code, _, err) = run(command.args(["run", "--config"]).arg(&file));
    assert!(code == 1 && err.contains(&format!("{}: ", file.display())) && !err.contains("CAP_"), "{err}");
}

#[test]
fn what_some_routers_can_not_do_is_warned_of_and_no_error() {
    let announce = r#""announce": { "bgp": { "local_as": 65001, "peers": [ { "address": "10.0.0.1",
        "source": "10.0.0.11", "remote_as": 65000, "families": ["ipv4"], "bfd": {}, "ttl_security": true } ] } },"#;
    let scratch = Scratch::new("warned");
    let (both, one) = (GOOD.replacen('{', &format!("{{ {announce}"), 1), r#""ttl_security": true"#);
    let (code, out, err) = check(&scratch.file("both.json", &both));
    assert!(code == 0 && out.contains(": ok: "), "{code}: {out}{err}");
    assert!(err.contains("warning: announce.bgp.peers[0] has both bfd and ttl_security"), "{err}");
    let (code, _, err) = check(&scratch.file("one.json", &both.replace(&format!(", {one}"), "")));
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let scratch = Scratch::new("pipe");
    let file = scratch.file("good.json", GOOD);
    for arguments in [vec!["--help"], vec!["check", file.to_str().unwrap()]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = sluice();
        command.args(&arguments).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        let code = child.wait().unwrap().code();
        assert_eq!((code, err.as_str()), (Some(0), ""), "sluice {}", arguments.join(" "));
    }
}
