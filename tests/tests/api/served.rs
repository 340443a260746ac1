//! `sluice run --api-only` on a host of its own, and its clients there.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result};
use lab::process::{Process, binary, output_of};
use lab::{Host, Lease, wait};
use serde_json::{Value, json};

/// The credentials that clients sign with; the roles' names are their keys'.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// How long the API has until it serves, on a busy machine.
pub(crate) const START: Duration = Duration::from_secs(60);

/// A running API.
pub(crate) struct Served {
    pub(crate) host: Host,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    /// With TLS: the file of the certificate that clients trust.
    certificate: Option<PathBuf>,
}

impl Served {
    /// Without credentials.
    pub(crate) fn open() -> Result<Served> {
        Served::start(&Lease::take()?, &[])
    }

    /// With credentials `ADMIN`, `OPERATOR` and `READER`.
    pub(crate) fn signed() -> Result<Served> {
        let lease = Lease::take()?;
        let credentials = write_credentials(&lease)?;
        Served::configured(&lease, &json!({ "credentials": credentials }))
    }

    /// The same by TLS.
    pub(crate) fn secured() -> Result<Served> {
        let lease = Lease::take()?;
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| lease.directory().join(name));
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        fs::write(&certificate, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        let credentials = write_credentials(&lease)?;
        let tls = json!({ "certificate": certificate, "key": key });
        let served = Served::configured(&lease, &json!({ "credentials": credentials, "tls": tls }))?;
        Ok(Served { certificate: Some(certificate), ..served })
    }

    fn configured(lease: &Arc<Lease>, api: &Value) -> Result<Served> {
        let inventory: Value = serde_json::from_str(lb_userspace::api::inventory::SAMPLE)?;
        let file = lease.directory().join("api.json");
        fs::write(&file, json!({ "api": api, "inventory": inventory }).to_string())?;
        Served::start(lease, &["--config", &file.display().to_string()])
    }

    pub(crate) fn start(lease: &Arc<Lease>, arguments: &[&str]) -> Result<Served> {
        let host = Host::new(lease, "api")?;
        let mut command = Command::new(binary("sluice")?);
        let mut process =
            host.spawn(command.args(["run", "--api-only", "--ephemeral"]).args(arguments), "api.log")?;
        let address = lb_userspace::api::configuration::DEFAULT_ADDRESS.parse()?;
        wait::until("the API", START, || {
            process.check_running()?;
            host.enter(|| TcpStream::connect(address)).context("connecting to the API")
        })?;
        Ok(Served { host, address, process, certificate: None })
    }

    /// The file of the certificate that clients trust, if it speaks TLS.
    pub(crate) fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    /// What clients call their endpoint.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.certificate.is_some() { "https" } else { "http" }, self.address)
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        self.host.enter(|| TcpStream::connect(self.address))
    }

    /// Runs one of the clients' programs here, which signs with the key of a role.
    pub(crate) fn client(&self, program: &str, role: &str, arguments: &[&str]) -> Result<String> {
        let mut command = asking(program, &self.url(), &role.to_uppercase())?;
        command
            .args(arguments)
            .envs(self.certificate.iter().map(|file| ("AWS_CA_BUNDLE", file)))
            .env("AWS_MAX_ATTEMPTS", "1");
        self.host
            .enter(|| output_of(&mut command))
            .with_context(|| format!("the API's log:\n{}", self.process.log()))
    }
}

/// A program of the virtual environment that asks the API at `url` in the name of a key, and knows nothing of this machine.
pub(crate) fn asking(program: &str, url: &str, key: &str) -> Result<Command> {
    let mut command = Command::new(client(program)?);
    command
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", key)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_DEFAULT_REGION", "local")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_CONFIG_FILE", "/nonexistent")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// A file with a key for every role.
pub(crate) fn write_credentials(lease: &Lease) -> Result<PathBuf> {
    let one = |role: &str| json!({ "access_key_id": role.to_uppercase(), "secret_access_key": SECRET, "role": role });
    let roles = ["admin", "operator", "reader"].map(one);
    let file = lease.directory().join("credentials.json");
    fs::write(&file, json!({ "credentials": roles }).to_string())?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// A program of the virtual environment.
pub(crate) fn client(program: &str) -> Result<PathBuf> {
    let running = std::env::current_exe().context("finding this executable")?;
    let candidates = running.ancestors().map(|directory| directory.join("python/bin").join(program));
    candidates.into_iter().find(|candidate| candidate.is_file()).with_context(|| {
        format!("{program} is not installed in the target directory: `cargo xtask test` does that")
    })
}

/// Whether tests with the clients can run: as root, and where they are installed.
pub(crate) fn has_clients() -> bool {
    if !lab::require_root() {
        return false;
    }
    let is_required = std::env::var_os("SLUICE_TEST_PRIVILEGED").is_some_and(|value| value == "required");
    match client("python") {
        Ok(_) => true,
        Err(error) if is_required => panic!("{error:#}"),
        Err(error) => {
            eprintln!("skipped: {error:#}");
            false
        }
    }
}
