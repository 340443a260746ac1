//! `sluice capture`: asks the running controller, and writes what it sends.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pcapng::{self, Direction};
use super::request::Request;
use super::socket::Answer;

/// Write packets as they came and as they left, with verdict, target and reason
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only packets from or to this address or prefix
    #[arg(long, value_name = "ADDRESS[/LENGTH]")]
    address: Option<String>,
    /// Only packets from or to this port
    #[arg(long)]
    port: Option<u16>,
    /// Only TCP segments
    #[arg(long, conflicts_with = "udp")]
    tcp: bool,
    /// Only UDP datagrams
    #[arg(long)]
    udp: bool,
    /// Only packets of a listener
    #[arg(long, value_name = "LOAD-BALANCER:PORT[/PROTOCOL]")]
    listener: Option<String>,
    /// Only packets for a target
    #[arg(long, value_name = "[TARGET-GROUP/]ADDRESS")]
    target: Option<String>,
    /// Only packets with this verdict (forwarded, passed, dropped, answered) or reason (repeatable)
    #[arg(long, value_name = "VERDICT|REASON")]
    verdict: Vec<String>,
    /// One of so many packets, at random
    #[arg(long, value_name = "1/N", value_parser = sample)]
    sample: Option<u32>,
    /// End after so many packets
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// The file, in pcapng; `-` is standard output
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    file: PathBuf,
    /// The runtime directory that the controller was started with
    #[arg(long, value_name = "DIR", default_value = crate::DEFAULT_RUNTIME_DIRECTORY)]
    runtime_directory: PathBuf,
}

fn sample(text: &str) -> Result<u32> {
    let number = text.strip_prefix("1/").unwrap_or(text);
    let number: u32 =
        number.parse().with_context(|| format!("`{text}`: write 1/100 for one of a hundred"))?;
    ensure!(number > 0, "one of zero packets is none: write 1/100 for one of a hundred");
    Ok(number)
}

/// Captures until the limits are reached, SIGINT, or the reader has gone.
///
/// # Errors
/// If no controller answers, it refuses, or the file can't be written.
pub async fn run(options: Options) -> Result<()> {
    let path = options.runtime_directory.join(crate::CAPTURE_SOCKET);
    let stream = UnixStream::connect(&path).await.with_context(|| {
        format!(
            "no controller can be asked at {}; is `sluice run` running, and is this its user or root?",
            path.display()
        )
    })?;
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader);
    let line = serde_json::to_string(&options.request()).context("writing the request")? + "\n";
    writer.write_all(line.as_bytes()).await.context("asking the controller")?;
    let mut answer = String::new();
    reader.read_line(&mut answer).await.context("reading the controller's answer")?;
    let answer: Answer = serde_json::from_str(&answer).context("the controller's answer can't be read")?;
    if let Some(error) = answer.error {
        bail!("{error}");
    }
    let mut capture = Capture { output: options.output()?, packets: 0, lost: 0, skips: false };
    let ended = capture.follow(&options, reader, writer).await;
    eprintln!("{} packets captured, {} lost because this end was too slow", capture.packets, capture.lost);
    ended
}

impl Options {
    fn request(&self) -> Request {
        Request {
            address: self.address.clone(),
            port: self.port,
            protocol: match (self.tcp, self.udp) {
                (true, _) => Some("tcp".to_owned()),
                (_, true) => Some("udp".to_owned()),
                _ => None,
            },
            listener: self.listener.clone(),
            target: self.target.clone(),
            verdicts: self.verdict.clone(),
            sample: self.sample,
        }
    }

    fn output(&self) -> Result<Box<dyn Write + Send>> {
        if self.file.as_os_str() == "-" {
            return Ok(Box::new(std::io::stdout()));
        }
        let file = File::create(&self.file).with_context(|| format!("making {}", self.file.display()))?;
        Ok(Box::new(file))
    }
}

/// What has been written.
struct Capture {
    output: Box<dyn Write + Send>,
    packets: u64,
    lost: u64,
    /// The packet whose blocks come is beyond the limit.
    skips: bool,
}

impl Capture {
    async fn follow(
        &mut self,
        options: &Options,
        mut reader: BufReader<ReadHalf<UnixStream>>,
        mut writer: WriteHalf<UnixStream>,
    ) -> Result<()> {
        let (blocks, mut received) = mpsc::channel(64);
        // A task of its own, so that no signal interrupts the reading inside a block.
        tokio::spawn(async move { while blocks.send(read_block(&mut reader).await).await.is_ok() {} });
        let deadline = options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let mut has_enough = false;
        loop {
            let ends = tokio::select! {
                block = received.recv() => {
                    let Some(block) = block.transpose()?.flatten() else { return Ok(()) };
                    if !self.take(&block, options.count.unwrap_or(u64::MAX))? {
                        return Ok(());
                    }
                    options.count.is_some_and(|count| self.packets >= count)
                }
                _ = &mut interrupt, if !has_enough => true,
                () = at(deadline), if !has_enough => true,
            };
            if ends && !has_enough {
                has_enough = true;
                // The controller may be faster, and have ended the capture itself.
                let _ = writer.shutdown().await;
            }
        }
    }

    /// Writes a block, unless it is of a packet beyond `most`. Returns whether the reader is still there.
    fn take(&mut self, block: &[u8], most: u64) -> Result<bool> {
        self.lost += pcapng::lost(block).unwrap_or(0);
        match pcapng::direction(block) {
            Some(Direction::In) if self.packets >= most => self.skips = true,
            Some(Direction::In) => self.packets += 1,
            Some(Direction::Out) => {}
            None => self.skips = false,
        }
        if self.skips {
            return Ok(true);
        }
        match self.output.write_all(block).and_then(|()| self.output.flush()) {
            // The reader has seen enough: `sluice capture -w - | head`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            written => written.map(|()| true).context("writing the capture"),
        }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The next block; none at the end.
async fn read_block(reader: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>> {
    let mut head = [0; 8];
    match reader.read_exact(&mut head).await {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => drop(read.context("reading from the controller")?),
    }
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    ensure!((12..1 << 20).contains(&length), "the controller sent a block of {length} bytes, which none has");
    let mut block = head.to_vec();
    block.resize(length, 0);
    reader.read_exact(&mut block[8..]).await.context("the controller ended inside a block")?;
    Ok(Some(block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_written_as_a_fraction() {
        assert_eq!((sample("1/100").unwrap(), sample("7").unwrap()), (100, 7));
        assert!(sample("1/0").is_err() && sample("2/3").is_err() && sample("x").is_err());
    }
}
