//! Follows the file of credentials: reads it again when it changes, and upon SIGHUP. A file that can't be read, is no
//! good, or can be read by others leaves the earlier credentials in force; the log and the status tell why.

use std::path::Path;

use tracing::{error, info};

use super::file_watch;
use super::service::{Part, Service};
use super::signature::Credentials;

/// Follows the file that the service has its credentials from, whichever that is at the moment.
///
/// # Errors
/// When SIGHUP can't be listened for.
pub(super) async fn follow(service: &Service) -> anyhow::Result<()> {
    let file = || service.credentials_file().into_iter().collect();
    file_watch::follow(file, |files| files.iter().all(|file| read(service, file))).await
}

/// Takes over what the file holds, if it is good; whether it is.
fn read(service: &Service, file: &Path) -> bool {
    match Credentials::load(file) {
        Ok(credentials) => {
            if service.take_credentials(credentials) {
                info!("the credentials of {} are in force", file.display());
            }
            true
        }
        Err(problem) => {
            let in_force = match service.lets_somebody_in() {
                true => "the earlier credentials stay in force",
                false => "no credentials are in force, and nobody is let in",
            };
            let problem = format!("{in_force}: {problem:#}");
            if service.tell(Part::Credentials, Some(problem.clone())) {
                error!("{problem}");
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::file_watch::mark;
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
        let seen = || (service.has_key("ONE"), service.has_key("TWO"), service.problems());
        read(&service, &file);
        assert_eq!(seen(), (true, false, vec![]));
        let first = mark(&file);
        write(&file, "TWO", 0o644);
        assert_ne!(mark(&file), first);
        read(&service, &file);
        let (one, two, why) = seen();
        assert!(
            one && !two && why[0].contains("earlier credentials stay") && why[0].contains("chmod 600"),
            "{why:?}"
        );
        let open = mark(&file);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_ne!(mark(&file), open, "a change of the mode is a change");
        read(&service, &file);
        assert_eq!(seen(), (false, true, vec![]));
        fs::remove_file(&file).unwrap();
        read(&service, &file);
        let (_, two, why) = seen();
        assert!(two && why[0].contains("opening the credentials"), "{why:?}");
    }

    #[test]
    fn who_starts_without_a_good_file_lets_nobody_in_until_there_is_one() {
        let file = std::env::temp_dir().join(format!("sluice-credentials-none-{}", std::process::id()));
        let guard = Guard::signed(Credentials::default()).of_file(&file);
        let service = Service::new(Engine::ephemeral(Identity::default(), Inventory::sample()), guard);
        read(&service, &file);
        assert!(service.problems()[0].contains("nobody is let in"), "{:?}", service.problems());
        write(&file, "ONE", 0o600);
        read(&service, &file);
        fs::remove_file(&file).unwrap();
        assert!(service.has_key("ONE") && service.problems().is_empty());
    }
}
