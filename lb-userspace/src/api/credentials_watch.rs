//! Follows the file of credentials: reads it again when it changes, and upon SIGHUP. A file that can't be read, is no
//! good, or can be read by others leaves the earlier credentials in force; the log and the status tell why.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tracing::{error, info};

use super::service::Service;
use super::signature::Credentials;

/// How often the file is looked at. A look is cheap, and works wherever the file is: a mounted secret is a chain of
/// symbolic links, of which none but the innermost changes.
const PERIOD: Duration = Duration::from_secs(1);

/// What tells one content of a file from another without reading it; nothing where the file is not there.
type Mark = (PathBuf, Option<(u64, u64, u64, u32, u32, i64, i64)>);

/// Follows the file that the service has its credentials from, whichever that is at the moment.
///
/// # Errors
/// When SIGHUP can't be listened for.
pub(super) async fn follow(service: &Service) -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    let mut last = None;
    loop {
        let present = service.credentials_file().map(|file| mark(&file));
        if let Some((file, _)) = present.as_ref().filter(|_| present != last) {
            read(service, file);
        }
        last = present;
        tokio::select! {
            _ = hangups.recv() => last = None,
            () = sleep(PERIOD) => {}
        }
    }
}

/// Takes over what the file holds, if it is good.
fn read(service: &Service, file: &Path) {
    match Credentials::load(file) {
        Ok(credentials) => {
            if service.take_credentials(credentials) {
                info!("the credentials of {} are in force", file.display());
            }
        }
        Err(problem) => {
            error!("the earlier credentials stay in force: {problem:#}");
            service.reject_credentials(format!("{problem:#}"));
        }
    }
}

fn mark(file: &Path) -> Mark {
    let seen = std::fs::metadata(file).ok().map(|at| {
        (
            at.dev(),
            at.ino(),
            at.size(),
            at.mode(),
            at.uid(),
            at.mtime_nsec() + at.mtime() * 1_000_000_000,
            at.ctime_nsec() + at.ctime() * 1_000_000_000,
        )
    });
    (file.to_owned(), seen)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::api::domain::Engine;
    use crate::api::domain::arn::Identity;
    use crate::api::inventory::Inventory;
    use crate::api::signature::Guard;

    fn write(file: &Path, key: &str, mode: u32) {
        let one = format!(
            r#"{{"access_key_id": "{key}", "secret_access_key": "0123456789abcdef", "role": "admin"}}"#
        );
        fs::write(file, format!(r#"{{"credentials": [{one}]}}"#)).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_good_file_is_taken_over_and_a_bad_one_leaves_the_earlier_in_force() {
        let file = std::env::temp_dir().join(format!("sluice-credentials-watch-{}", std::process::id()));
        write(&file, "ONE", 0o600);
        let guard = Guard::signed(Credentials::load(&file).unwrap()).of_file(&file);
        let service = Service::new(Engine::ephemeral(Identity::default(), Inventory::sample()), guard);
        let seen = || (service.has_key("ONE"), service.has_key("TWO"), service.rejected_credentials());
        read(&service, &file);
        assert_eq!(seen(), (true, false, None));
        let first = mark(&file);
        write(&file, "TWO", 0o644);
        assert_ne!(mark(&file), first);
        read(&service, &file);
        let (one, two, why) = seen();
        assert!(one && !two && why.unwrap().contains("chmod 600"));
        let open = mark(&file);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_ne!(mark(&file), open, "a change of the mode is a change");
        read(&service, &file);
        assert_eq!(seen(), (false, true, None));
        fs::remove_file(&file).unwrap();
        read(&service, &file);
        let (_, two, why) = seen();
        assert!(two && why.unwrap().contains("opening the credentials"));
    }
}
