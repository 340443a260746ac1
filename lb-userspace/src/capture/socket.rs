//! The capture socket: a client sends its request as one line of JSON, gets one line back, and then pcapng until
//! it says that it has enough by closing its writing half, or goes away.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::maps::{MapData, RingBuf};
use lb_common::capture::CaptureHeader;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::comment::{comment, outdates};
use super::pcapng::{Direction, Packet, Writer};
use super::request::Request;
use crate::controller::names::Names;
use crate::status::socket_file::{self, SocketFile};

/// The ring buffer; one capture at a time holds it.
pub(crate) type Ring = Arc<Mutex<RingBuf<MapData>>>;

/// What a capture asks of the controller.
pub(crate) enum Ask {
    /// To begin; the error is for people.
    Begin(Request, oneshot::Sender<Result<Session, String>>),
    /// The present names.
    Names(oneshot::Sender<Arc<Names>>),
    /// To end; the answer is how many packets were lost.
    End(oneshot::Sender<u64>),
}

/// A capture that has begun.
pub(crate) struct Session {
    /// Where the packets come from.
    pub(crate) ring: Ring,
    /// The names at the begin.
    pub(crate) names: Arc<Names>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Why there is no capture, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// How long a client may take to say what it wants.
const REQUEST: Duration = Duration::from_secs(5);
/// The longest request.
const LONGEST_REQUEST: u64 = 64 << 10;
/// How often the ring buffer is emptied while there is little in it.
const READ_EVERY: Duration = Duration::from_millis(20);
/// Bytes that are handed to the client at once.
const CHUNK: usize = 256 << 10;
/// How often the names are asked for anew, at most.
const NAMES_EVERY: Duration = Duration::from_secs(1);

/// The socket, until this is dropped.
pub(crate) struct Serving {
    task: JoinHandle<()>,
    _file: SocketFile,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves captures on the Unix socket `path`, for its owner alone.
pub(crate) async fn serve(path: &Path, asks: mpsc::Sender<Ask>) -> Result<Serving> {
    let (listener, file) = socket_file::bind(path).await?;
    let task = tokio::spawn(async move {
        let mut clients = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(READ_EVERY).await;
                continue;
            };
            while clients.try_join_next().is_some() {}
            clients.spawn(client(stream, asks.clone()));
        }
    });
    Ok(Serving { task, _file: file })
}

async fn client(stream: UnixStream, asks: mpsc::Sender<Ask>) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader.take(LONGEST_REQUEST));
    let mut line = String::new();
    let said = tokio::time::timeout(REQUEST, reader.read_line(&mut line)).await;
    if !matches!(said, Ok(Ok(1..))) {
        return;
    }
    let begun = match serde_json::from_str::<Request>(&line) {
        Ok(request) => begin(&asks, request).await,
        Err(error) => Err(format!("the request can't be read: {error}")),
    };
    let answer = Answer { error: begun.as_ref().err().cloned() };
    let line = serde_json::to_string(&answer).expect("an answer is plain") + "\n";
    let told = writer.write_all(line.as_bytes()).await;
    let Ok(session) = begun else { return };
    let mut stream = Stream { session, asks, pcapng: Writer::default(), named: Instant::now() };
    if told.is_ok() {
        // An error is that the client has gone, which is an end like another.
        let _ = stream.until_enough(&mut reader, &mut writer).await;
    }
    let _ = stream.end(&mut writer).await;
}

async fn begin(asks: &mpsc::Sender<Ask>, request: Request) -> Result<Session, String> {
    let stopping = || "the controller is stopping".to_owned();
    let (sender, receiver) = oneshot::channel();
    asks.send(Ask::Begin(request, sender)).await.map_err(|_| stopping())?;
    receiver.await.map_err(|_| stopping())?
}

/// One client's capture.
struct Stream {
    session: Session,
    asks: mpsc::Sender<Ask>,
    pcapng: Writer,
    named: Instant,
}

impl Stream {
    async fn until_enough(
        &mut self,
        reader: &mut (impl tokio::io::AsyncRead + Unpin),
        writer: &mut WriteHalf<UnixStream>,
    ) -> Result<()> {
        writer.write_all(&self.pcapng.header()).await?;
        let mut rest = [0; 16];
        loop {
            let chunk = self.chunk().await;
            if !chunk.is_empty() {
                writer.write_all(&chunk).await?;
            }
            // A client that has enough closes its writing half, and reads on until the end.
            let pause = if chunk.len() < CHUNK { READ_EVERY } else { Duration::ZERO };
            if tokio::time::timeout(pause, reader.read(&mut rest)).await.is_ok() {
                return Ok(());
            }
        }
    }

    /// What is in the ring buffer, as blocks, about [`CHUNK`] bytes at most.
    async fn chunk(&mut self) -> Vec<u8> {
        let (mut blocks, ring) = (Vec::new(), self.session.ring.clone());
        let mut ring = ring.lock().await;
        while blocks.len() < CHUNK {
            let Some(item) = ring.next() else { break };
            let Some(header) = lb_common::pod::read::<CaptureHeader>(&item) else { continue };
            let bytes = item[size_of::<CaptureHeader>()..].to_vec();
            drop(item);
            if outdates(&header.trace, &self.session.names) && self.named.elapsed() > NAMES_EVERY {
                self.refresh_names().await;
            }
            blocks.extend(self.blocks(&header, &bytes));
        }
        blocks
    }

    async fn refresh_names(&mut self) {
        self.named = Instant::now();
        let (sender, receiver) = oneshot::channel();
        if self.asks.send(Ask::Names(sender)).await.is_ok()
            && let Ok(names) = receiver.await
        {
            self.session.names = names;
        }
    }

    fn blocks(&mut self, header: &CaptureHeader, bytes: &[u8]) -> Vec<u8> {
        let names = self.session.names.clone();
        let name = |index: u32| names.interfaces.get(&index).cloned().unwrap_or_else(|| format!("if{index}"));
        let text = comment(&header.trace, &names);
        let (time, [kept, left]) = (wall_clock(header.time), header.captured.map(usize::from));
        let packet = |interface, direction, bytes, length| Packet {
            interface,
            direction,
            time,
            bytes,
            length,
            comment: &text,
        };
        let came = bytes.get(..kept).unwrap_or(bytes);
        let interface = header.trace.interface;
        let mut blocks = self.pcapng.packet(&packet(interface, Direction::In, came, header.length_in), name);
        if header.length_out > 0 {
            let gone = bytes.get(kept..kept + left).unwrap_or_default();
            let way = lb_common::encapsulation::Way(header.trace.way);
            let interface = if way.kind().is_some() { way.interface() } else { interface };
            blocks.extend(
                self.pcapng.packet(&packet(interface, Direction::Out, gone, header.length_out), name),
            );
        }
        blocks
    }

    /// Gives the live program its place back, and the client what is left in the ring buffer.
    async fn end(mut self, writer: &mut WriteHalf<UnixStream>) -> Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.asks.send(Ask::End(sender)).await.context("the controller is stopping")?;
        let lost = receiver.await.context("the controller is stopping")?;
        let mut told = Ok(());
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                break;
            }
            // Also for a client that has gone: the next one must not find this one's packets.
            if told.is_ok() {
                told = writer.write_all(&chunk).await;
            }
        }
        told?;
        let now = clock_gettime(ClockId::Monotonic);
        let now = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        writer.write_all(&self.pcapng.statistics(wall_clock(now), lost)).await?;
        writer.shutdown().await.context("closing the capture")
    }
}

/// Nanoseconds since 1970 at a moment of the monotonic clock.
fn wall_clock(monotonic: u64) -> u64 {
    let nanoseconds = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let age = nanoseconds(ClockId::Monotonic).saturating_sub(monotonic);
    nanoseconds(ClockId::Realtime).saturating_sub(age)
}
