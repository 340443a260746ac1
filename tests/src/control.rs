//! Talking to a running lab: one line to its socket, an answer back.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::{Lab, Lease};
use lb_userspace::status::report::Report;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// The socket's name in a lab's directory.
const SOCKET: &str = "control";

/// How long one who connected may take to ask.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a node may take until it is ready.
const READY: Duration = Duration::from_secs(30);

/// What an answer to a refused request begins with.
const REFUSED: &str = "error: ";

/// Opens the socket of `lab`; it is gone with the lab's directory.
pub(crate) fn open(lab: &Lab) -> Result<UnixListener> {
    let path = lab.lease.directory().join(SOCKET);
    UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))
}

/// Takes the request of a connection, does it, answers.
pub(crate) async fn serve(mut connection: UnixStream, lab: &mut Lab) -> Result<()> {
    let mut request = String::new();
    let mut reader = BufReader::new(&mut connection);
    let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut request)).await;
    read.context("nothing was asked of the lab in time")?.context("reading a request to the lab")?;
    let answer = match obey(request.trim(), lab) {
        Ok(answer) => answer,
        Err(error) => format!("{REFUSED}{error:#}"),
    };
    connection.write_all(answer.as_bytes()).await.context("answering a request to the lab")
}

fn obey(request: &str, lab: &mut Lab) -> Result<String> {
    match request.split_once(' ').unwrap_or((request, "")) {
        ("stop", name) => {
            lab.target(name)?.stop_server();
            Ok(format!("the server of {name} is stopped"))
        }
        ("start", name) => {
            let vips = lab.vips.clone();
            let target = lab.target(name)?;
            if target.server.is_some() {
                bail!("the server of {name} runs already");
            }
            target.start_server(&vips)?;
            Ok(format!("the server of {name} runs"))
        }
        ("status", name) => lab.nodes[node(lab, name)?].status_json(),
        ("kill", name) => {
            lab.lose_node(node(lab, name)?)?;
            lab.route_vips(&lab.living_nodes())?;
            Ok(format!(
                "{name} is dead: its controller is killed, its cable cut, and the router leaves it out"
            ))
        }
        ("revive", name) => {
            revive(lab, node(lab, name)?)?;
            Ok(format!("{name} is back, and the router uses it"))
        }
        _ => bail!(
            "the lab does not know {request:?}; it knows stop TARGET, start TARGET, kill NODE, revive NODE, status NODE"
        ),
    }
}

/// The number of the node with that name.
fn node(lab: &Lab, name: &str) -> Result<usize> {
    let names: Vec<&str> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
    let found = names.iter().position(|other| *other == name);
    found.with_context(|| format!("there is no node {name}; there are {}", names.join(", ")))
}

/// Starts a node anew with its own file, and lets the router use it when it knows the targets and their connections.
fn revive(lab: &mut Lab, node: usize) -> Result<()> {
    let file = lab.nodes[node].configuration_file();
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let configuration = serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
    lab.bring_back_node(node, &configuration)?;
    lab.wait_for(node, "the node to be ready", READY, is_ready)?;
    lab.route_vips(&lab.living_nodes())
}

fn is_ready(report: &Report) -> Result<()> {
    for group in report.target_groups.values() {
        ensure!(group.untold.is_empty(), "{:?} have not told their connections", group.untold);
        for target in &group.targets {
            ensure!(target.state != "initial", "{} was not checked", target.id);
            let is_unknown = target.agent.as_ref().is_some_and(|agent| agent.state == "unknown");
            ensure!(!is_unknown, "it is not known whether {} has an agent", target.id);
        }
    }
    Ok(())
}

/// Sends one request to the running lab and prints the answer.
pub(crate) fn ask(request: &str) -> Result<()> {
    let path = socket_of_running_lab()?;
    let mut connection = std::os::unix::net::UnixStream::connect(&path)
        .with_context(|| format!("connecting to {}", path.display()))?;
    writeln!(connection, "{request}").context("asking the lab")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).context("reading the lab's answer")?;
    if let Some(error) = answer.strip_prefix(REFUSED) {
        bail!("{error}");
    }
    println!("{answer}");
    Ok(())
}

/// Labs of tests live too, but have no such socket.
fn socket_of_running_lab() -> Result<PathBuf> {
    let sockets = Lease::living()?.into_iter().map(|directory| directory.join(SOCKET));
    let found = sockets.into_iter().find(|socket| socket.exists());
    found.context("no lab runs: start one with `cargo xtask run`")
}
