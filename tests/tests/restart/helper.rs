//! The controller and its privileged helper: what each may do, what becomes of one without the other, and what the helper
//! says to somebody who has taken over the controller.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::pinned::Pinned;
use lab::process::binary;
use lab::{Lab, VIP4, VIP6, wait};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{PATIENCE, alone};

fn lab() -> Pinned {
    let mut pinned = Pinned::new(Lab::builder().targets(2).build().unwrap()).unwrap();
    pinned.lab.start_servers().unwrap();
    pinned.lab.start_agents().unwrap();
    pinned
}

fn controller(pinned: &Pinned) -> Result<u32> {
    Ok(pinned.lab.nodes[0].controller.as_ref().context("the controller runs")?.id())
}

/// The only child of a process.
fn helper_of(parent: u32) -> Result<u32> {
    let processes =
        fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        line(&status, "PPid").is_ok_and(|found| found == parent.to_string())
    };
    let children: Vec<u32> = processes.filter(is_child).collect();
    ensure!(children.len() == 1, "the controller has the children {children:?}");
    Ok(children[0])
}

/// A line of a `status` in /proc.
fn line<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(found.with_context(|| format!("there is no line {name}"))?.trim())
}

/// How many descriptors of a process are of this kind.
fn descriptors(process: u32, kind: &str) -> Result<usize> {
    let links = fs::read_dir(format!("/proc/{process}/fd"))?.flatten();
    let of_kind = |entry: &fs::DirEntry| {
        fs::read_link(entry.path()).is_ok_and(|link| link.to_string_lossy() == format!("anon_inode:{kind}"))
    };
    Ok(links.filter(of_kind).count())
}

/// What all threads of a process have. One that ends meanwhile is passed over.
fn expect_rights(process: u32, capabilities: &str) -> Result<()> {
    let mut looked_at = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
        let path = thread.path().join("status");
        let status = match fs::read_to_string(&path) {
            Err(error) if has_ended(&error) => continue,
            read => read.with_context(|| path.display().to_string())?,
        };
        looked_at += 1;
        for (name, wanted) in [
            ("CapEff", capabilities),
            ("CapPrm", capabilities),
            ("CapBnd", capabilities),
            ("CapInh", NONE),
            ("CapAmb", NONE),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            let found = line(&status, name).with_context(|| path.display().to_string())?;
            ensure!(found == wanted, "{}: {name} is {found}, not {wanted}", path.display());
        }
    }
    ensure!(looked_at > 0, "process {process} has no threads");
    Ok(())
}

/// Whether a file of a process can't be read because that has ended: before it was opened, or after.
fn has_ended(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

const NONE: &str = "0000000000000000";
/// CAP_NET_ADMIN (12), CAP_PERFMON (38) and CAP_BPF (39).
const OF_NETWORK: &str = "000000c000001000";

#[test]
fn the_controller_has_no_right_and_no_program_and_its_helper_three_rights_and_no_more() {
    let Some(_alone) = alone() else { return };
    lab().play(|pinned| {
        pinned.start(&pinned.lab.configuration())?;
        pinned.healthy()?;
        let controller = controller(pinned)?;
        let helper = helper_of(controller)?;
        expect_rights(controller, NONE)?;
        expect_rights(helper, OF_NETWORK)?;
        ensure!(descriptors(controller, "bpf-prog")? == 0, "the controller holds programs");
        ensure!(descriptors(controller, "bpf_link")? == 0, "the controller holds links");
        ensure!(descriptors(helper, "bpf-prog")? > 0, "the helper holds no programs");
        let agent = pinned.lab.targets[0].agent.as_ref().context("the agent runs")?.id();
        expect_rights(agent, OF_NETWORK)
    });
}

#[test]
fn the_api_alone_has_no_right() {
    let Some(_alone) = alone() else { return };
    lab().play(|pinned| {
        let mut command = Command::new(binary("sluice")?);
        command.args(["run", "--api-only", "--ephemeral"]);
        let api = pinned.lab.nodes[0].host.spawn(&mut command, "api.log")?;
        wait::until("the API", PATIENCE, || {
            ensure!(api.log().contains("ready:"), "{}", api.log());
            Ok(())
        })?;
        expect_rights(api.id(), NONE)
    });
}

#[test]
fn a_controller_whose_helper_ends_says_so_and_ends_and_packets_flow_on_to_the_next() {
    let Some(_alone) = alone() else { return };
    lab().play(|pinned| {
        let configuration = pinned.lab.configuration();
        pinned.start(&configuration)?;
        pinned.healthy()?;
        let mut connection = pinned.lab.connect(VIP4.into())?;
        connection.get()?;
        kill(helper_of(controller(pinned)?)?, Signal::KILL)?;
        wait::until("the controller's end", PATIENCE, || {
            let controller = pinned.lab.nodes[0].controller.as_mut().context("it was started")?;
            let ended = controller.check_running().err().context("it runs")?.to_string();
            ensure!(ended.contains("exit status: 1"), "{ended}");
            Ok(())
        })?;
        pinned.lab.nodes[0].controller = None;
        let log = pinned.log();
        ensure!(
            log.contains("the privileged helper has ended") && log.contains("goes on forwarding"),
            "{log}"
        );
        connection.get()?;
        pinned.lab.get(VIP6.into())?;
        pinned.start(&configuration)?;
        pinned.healthy()?;
        connection.get()?;
        pinned.lab.get(VIP4.into()).map(drop)
    });
}

#[test]
fn a_helper_ends_with_its_controller_however_that_ends_and_not_by_its_signals() {
    let Some(_alone) = alone() else { return };
    lab().play(|pinned| {
        let configuration = pinned.lab.configuration();
        for signal in [Signal::KILL, Signal::TERM] {
            pinned.start(&configuration)?;
            let helper = helper_of(controller(pinned)?)?;
            for ignored in [Signal::TERM, Signal::INT, Signal::HUP] {
                kill(helper, ignored)?;
            }
            pinned.lab.nodes[0].sluice(&["explain", "198.51.100.7:40000", "10.200.1.1:80"])?;
            pinned.lab.nodes[0].controller.as_ref().context("it runs")?.signal(signal);
            wait::until("the helper's end", PATIENCE, || {
                ensure!(!Path::new(&format!("/proc/{helper}")).exists(), "it is there");
                Ok(())
            })?;
            if let Some(mut controller) = pinned.lab.nodes[0].controller.take() {
                controller.kill();
            }
            ensure!(pinned.link("eth0")?.contains("xdp"), "the data plane has ended");
        }
        Ok(())
    });
}

#[test]
fn an_interface_that_is_made_again_gets_the_balancer_again() {
    let Some(_alone) = alone() else { return };
    lab().play(|pinned| {
        let make = "link add again type veth peer name behind";
        pinned.lab.nodes[0].host.ip(make)?;
        pinned.lab.nodes[0].interfaces.push("again".to_owned());
        pinned.start(&pinned.lab.configuration())?;
        let before = pinned.link("again")?;
        ensure!(before.contains("xdp"), "{before}");
        pinned.lab.nodes[0].host.ip("link del again")?;
        pinned.lab.nodes[0].host.ip("link add between type veth peer name beyond")?;
        pinned.lab.nodes[0].host.ip(make)?;
        wait::until("the balancer on the interface that was made again", PATIENCE, || {
            let (link, report) = (pinned.link("again")?, pinned.lab.nodes[0].status()?);
            let is_reported = report.interfaces.iter().any(|interface| {
                interface.name == "again" && link.starts_with(&format!("{}: ", interface.index))
            });
            ensure!(link.contains("xdp") && is_reported, "{link}");
            Ok(())
        })?;
        pinned.lab.get(VIP4.into()).map(drop)
    });
}

#[test]
fn somebody_who_has_taken_over_a_controller_gets_nothing_else_from_the_helper() {
    let Some(_alone) = alone() else { return };
    lab().play(|pinned| {
        let node = &pinned.lab.nodes[0];
        let mut configuration = pinned.lab.configuration();
        configuration["announce"] = json!({ "kernel_table": { "table": 100 } });
        node.write_configuration(&configuration)?;
        let permanent = "neigh add 10.99.0.1 lladdr 02:00:00:00:00:99 nud permanent dev eth0";
        node.host.ip(permanent)?;
        let index = node.host.ip("-oneline link show dev eth0")?;
        let index: u32 = index.split(':').next().context("an index")?.trim().parse()?;
        let log = pinned.lab.lease.directory().join("hostile-helper.log");
        // The helper ends with the thread that has started it.
        node.host.enter(|| hostile(&node.configuration_file(), &log, index))?;
        let kept = node.host.ip("neigh show 10.99.0.1")?;
        ensure!(kept.contains("PERMANENT") && kept.contains("02:00:00:00:00:99"), "{kept}");
        for table in ["main", "100"] {
            let routes = node.host.ip(&format!("route show table {table}")).unwrap_or_default();
            ensure!(!routes.contains("203.0.113.9"), "table {table}: {routes}");
        }
        let log = fs::read_to_string(log)?;
        ensure!(log.contains("the privileged helper refuses a request"), "{log}");
        Ok(())
    });
}

/// A helper, and who talks to it.
struct Talk {
    helper: Child,
    programs: OwnedFd,
    network: OwnedFd,
}

impl Talk {
    fn begin(configuration: &Path, log: &Path) -> Result<Talk> {
        let pair = || socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let ((programs, far), (network, far_network)) = (pair()?, pair()?);
        let mut command = Command::new(binary("sluice")?);
        command.arg("privileged-helper").arg("--config").arg(configuration);
        command.stdin(Stdio::from(far)).stdout(Stdio::from(far_network)).stderr(File::create(log)?);
        Ok(Talk { helper: command.spawn()?, programs, network })
    }

    fn ask(&self, line: &OwnedFd, message: &[u8]) -> Result<String> {
        send(line, message, SendFlags::NOSIGNAL)?;
        let mut answer = [MaybeUninit::uninit(); 1 << 12];
        let ((answer, _), _) = recv(line, &mut answer[..], RecvFlags::empty())?;
        ensure!(!answer.is_empty(), "the helper has ended");
        Ok(String::from_utf8_lossy(answer).into_owned())
    }

    fn refused(&self, request: &Value, why: &str) -> Result<()> {
        let answer = self.ask(&self.programs, request.to_string().as_bytes())?;
        ensure!(answer.starts_with(r#"{"Err":"#) && answer.contains(why), "{request}: {answer}");
        Ok(())
    }

    fn network_refused(&self, request: Value) -> Result<()> {
        let message = json!({ "number": 7, "of": request });
        let answer = self.ask(&self.network, message.to_string().as_bytes())?;
        ensure!(answer == r#"{"number":7,"of":["refused"]}"#, "{message}: {answer}");
        Ok(())
    }
}

fn hostile(configuration: &Path, log: &Path, eth0: u32) -> Result<()> {
    let mut talk = Talk::begin(configuration, log)?;
    let mut random = 1_u64;
    for length in (1..400).cycle().take(4000) {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 56) as u8
            })
            .collect();
        let answer = talk.ask(&talk.programs, &bytes)?;
        ensure!(answer.starts_with(r#"{"Err":"#), "{answer}");
        // What is no request gets no answer there.
        send(&talk.network, &bytes, SendFlags::NOSIGNAL)?;
    }
    talk.refused(&json!({ "attach": { "interface": "lo" } }), "no interface of the configuration")?;
    talk.refused(&json!({ "attach": { "interface": "eth0" } }), "no program is loaded")?;
    talk.refused(&json!({ "attach": { "interface": "eth0", "program": "/tmp/mine.o" } }), "unknown field")?;
    talk.refused(&json!({ "detach": { "interface": "eth0" } }), "is not on")?;
    talk.refused(&json!({ "explain": { "interface": eth0, "frame": "00" } }), "is on no interface")?;
    talk.refused(&json!({ "run": "explain" }), "unknown variant")?;
    talk.refused(&json!("take_links_over"), "no program is loaded")?;
    let route = |table: u32, length: u8, protocol: u8, kind: u8| {
        json!({ "place": { "table": table, "destination": "203.0.113.9", "length": length, "tos": 0,
            "metric": 100 }, "protocol": protocol, "kind": kind })
    };
    for bent in [route(254, 32, 214, 6), route(100, 8, 214, 6), route(100, 32, 4, 6), route(100, 32, 214, 1)]
    {
        talk.network_refused(json!({ "route": { "create": bent } }))?;
        talk.network_refused(json!({ "route": { "replace": bent } }))?;
    }
    talk.network_refused(json!({ "route": { "remove": route(254, 32, 3, 1) } }))?;
    let hop = |interface: u32, address: &str| json!({ "interface": interface, "address": address });
    for (interface, address) in [
        (eth0, "10.99.0.1"),
        (eth0, "224.0.0.1"),
        (eth0, "127.0.0.1"),
        (1, "10.0.0.9"),
        (4_000_000, "10.0.0.9"),
    ] {
        talk.network_refused(json!({ "neighbours": { "keep": [hop(interface, address)], "release": [] } }))?;
    }
    talk.network_refused(json!({ "neighbours": { "keep": [], "release": [hop(eth0, "10.99.0.1")] } }))?;
    let many = vec![hop(eth0, "10.0.0.9"); 1025];
    talk.network_refused(json!({ "neighbours": { "keep": many, "release": [] } }))?;
    ensure!(talk.helper.try_wait()?.is_none(), "the helper has ended");
    drop((talk.programs, talk.network));
    let status = talk.helper.wait()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

fn kill(process: u32, signal: Signal) -> Result<()> {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw).context("a process")?;
    kill_process(process, signal).context("sending a signal")
}
