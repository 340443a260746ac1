//! Talking to a running lab: one line to its socket, an answer back.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab::{Lab, Lease};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// The socket's name in a lab's directory.
const SOCKET: &str = "control";

/// How long one who connected may take to ask.
const PATIENCE: Duration = Duration::from_secs(1);

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
        ("status", _) => lab.nodes[0].status_json(),
        _ => bail!("the lab does not know {request:?}; it knows stop TARGET, start TARGET, status"),
    }
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
