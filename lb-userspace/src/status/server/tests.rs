use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};

use super::*;
use crate::status::{client, sample};

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("sluice-status-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        Directory(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("made/status.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A controller that knows the sample report.
fn controller() -> Reports {
    let (reports, mut requests) = mpsc::channel::<oneshot::Sender<Report>>(1);
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            let _ = request.send(sample::report());
        }
    });
    reports
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn ask_raw<Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(mut io: Io, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: sluice\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_report_comes_through_the_socket_as_it_was() {
    let directory = Directory::new("round-trip");
    let serving = serve_socket(&directory.socket(), controller(), Router::new()).await.unwrap();
    for _ in 0..LIMITS.connections * 3 {
        assert_eq!(client::fetch(&directory.socket()).await.unwrap(), sample::report());
    }
    drop(serving);
}

#[tokio::test]
async fn the_socket_and_its_directory_are_their_owners_alone() {
    let directory = Directory::new("modes");
    let _serving = serve_socket(&directory.socket(), controller(), Router::new()).await.unwrap();
    assert_eq!(mode(&directory.socket()), 0o600);
    assert_eq!(mode(directory.socket().parent().unwrap()), 0o700);
    let names = std::fs::read_dir(directory.socket().parent().unwrap()).unwrap().count();
    assert_eq!(names, 1, "the name it was bound under is gone");
}

#[tokio::test]
async fn a_directory_that_others_may_write_to_is_refused() {
    let directory = Directory::new("open");
    let parent = directory.0.join("made");
    std::fs::create_dir(&parent).unwrap();
    std::fs::set_permissions(&parent, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = serve_socket(&directory.socket(), controller(), Router::new()).await.unwrap_err();
    assert!(format!("{error:#}").contains("chmod go-w"), "{error:#}");
}

#[tokio::test]
async fn the_socket_goes_with_its_guard() {
    let directory = Directory::new("guard");
    drop(serve_socket(&directory.socket(), controller(), Router::new()).await.unwrap());
    assert!(!directory.socket().exists());
    let error = client::fetch(&directory.socket()).await.unwrap_err();
    assert!(error.to_string().starts_with("no controller serves"), "{error:#}");
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let directory = Directory::new("stale");
    std::fs::create_dir(directory.socket().parent().unwrap()).unwrap();
    drop(UnixListener::bind(directory.socket()).unwrap());
    let error = client::fetch(&directory.socket()).await.unwrap_err();
    assert!(error.to_string().starts_with("no controller serves"), "{error:#}");
    let _serving = serve_socket(&directory.socket(), controller(), Router::new()).await.unwrap();
    client::fetch(&directory.socket()).await.unwrap();
}

#[tokio::test]
async fn a_living_controllers_socket_is_left_to_it() {
    let directory = Directory::new("living");
    let _first = serve_socket(&directory.socket(), controller(), Router::new()).await.unwrap();
    let error =
        format!("{:#}", serve_socket(&directory.socket(), controller(), Router::new()).await.unwrap_err());
    let named = format!("another controller (process {})", std::process::id());
    assert!(error.contains(&named) && error.contains("status.sock"), "{error}");
    client::fetch(&directory.socket()).await.unwrap();
}

#[tokio::test]
async fn a_successors_socket_survives_its_predecessors_end() {
    let directory = Directory::new("successor");
    let first = serve_socket(&directory.socket(), controller(), Router::new()).await.unwrap();
    std::fs::remove_file(directory.socket()).unwrap();
    let _second = serve_socket(&directory.socket(), controller(), Router::new()).await.unwrap();
    drop(first);
    client::fetch(&directory.socket()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_a_socket_is_not_replaced() {
    let directory = Directory::new("file");
    std::fs::create_dir(directory.socket().parent().unwrap()).unwrap();
    std::fs::write(directory.socket(), "precious").unwrap();
    let error =
        format!("{:#}", serve_socket(&directory.socket(), controller(), Router::new()).await.unwrap_err());
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(std::fs::read_to_string(directory.socket()).unwrap(), "precious");
}

#[tokio::test]
async fn other_paths_say_what_exists() {
    let directory = Directory::new("paths");
    let _serving = serve_socket(&directory.socket(), controller(), Router::new()).await.unwrap();
    let answer = ask_raw(UnixStream::connect(directory.socket()).await.unwrap(), "/").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(
        answer.ends_with(
            "this socket serves GET /status and /events, POST /explain, /plan, /apply and /targets, nothing else\n"
        ),
        "{answer}"
    );
}

#[tokio::test]
async fn a_stopping_controller_is_named() {
    let directory = Directory::new("stopping");
    let (reports, requests) = mpsc::channel(1);
    drop(requests);
    let _serving = serve_socket(&directory.socket(), reports, Router::new()).await.unwrap();
    let error = client::fetch(&directory.socket()).await.unwrap_err();
    assert!(error.to_string().contains("503") && error.to_string().ends_with("is stopping"), "{error:#}");
}

#[tokio::test]
async fn metrics_come_with_their_media_type() {
    let serving = serve_metrics((Ipv4Addr::LOCALHOST, 0).into(), controller(), Box::new(|| None));
    let address = serving.address().unwrap();
    let answer = ask_raw(TcpStream::connect(address).await.unwrap(), "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(answer.ends_with("# EOF\n"), "{answer}");
    let answer = ask_raw(TcpStream::connect(address).await.unwrap(), "/").await;
    assert!(answer.contains("404") && answer.contains("this address serves GET /metrics"), "{answer}");
}

#[tokio::test]
async fn metrics_are_served_on_a_port_in_use_when_it_is_free() {
    // Nobody else's: other tests are on 127.0.0.1.
    let other = std::net::TcpListener::bind("127.84.2.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let _serving = serve_metrics(address, controller(), Box::new(|| None));
    drop(other);
    let asked = async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => break ask_raw(stream, "/metrics").await,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn silent_clients_do_not_keep_others_out() {
    let directory = Directory::new("silent");
    let path = directory.0.join("status.sock");
    let limits = Limits { connections: 4, headers: Duration::from_millis(20), ..LIMITS };
    let (listener, routes) = (UnixListener::bind(&path).unwrap(), status_routes(controller()));
    let _serving = Serving::start(listener, routes, limits);
    let mut silent = Vec::new();
    for _ in 0..limits.connections * 2 {
        silent.push(UnixStream::connect(&path).await.unwrap());
    }
    assert_eq!(client::fetch(&path).await.unwrap(), sample::report());
}

#[tokio::test]
async fn a_client_that_does_not_read_is_left() {
    let directory = Directory::new("unread");
    let path = directory.0.join("status.sock");
    let limits = Limits { connections: 1, connection: Duration::from_millis(50), ..LIMITS };
    let endless = Router::new().route("/", get(async || vec![0u8; 16 << 20]));
    let _serving = Serving::start(UnixListener::bind(&path).unwrap(), endless, limits);
    for _ in 0..3 {
        let mut greedy = UnixStream::connect(&path).await.unwrap();
        greedy.write_all(b"GET / HTTP/1.1\r\nHost: sluice\r\n\r\n").await.unwrap();
        tokio::time::sleep(limits.connection * 4).await;
        let mut read = Vec::new();
        let _ = greedy.read_to_end(&mut read).await;
        assert!(read.len() < 16 << 20, "the connection was cut before its end");
    }
}
