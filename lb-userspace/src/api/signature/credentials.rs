//! Credentials: access keys, their secrets and roles, from a file that only its owner can read.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::secret_file::{Exposed, Readers};

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// Register and deregister targets, and read.
    Operator,
    /// Read.
    Reader,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Admin => "admin",
            Role::Operator => "operator",
            Role::Reader => "reader",
        })
    }
}

/// A secret access key with its role. Its debug form does not tell the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The secret access key.
    pub secret: String,
    /// What its owner may do.
    pub role: Role,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("role", &self.role).finish_non_exhaustive()
    }
}

/// Credentials by access key id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials(BTreeMap<String, Credential>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    credentials: Vec<WrittenCredential>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCredential {
    access_key_id: String,
    secret_access_key: String,
    role: Role,
}

impl Credentials {
    /// Reads the file, which nobody but this process's user (or root) may own, and nobody else may read or write.
    ///
    /// # Errors
    /// When it can't be read, others can read it, or it is not as it should be.
    pub fn load(path: &Path) -> anyhow::Result<Credentials> {
        let text = read_private(path)?;
        Credentials::parse(&text).with_context(|| format!("the credentials {}", path.display()))
    }

    /// Reads the content of a credentials file.
    ///
    /// # Errors
    /// With what is wrong; secrets are not told.
    pub fn parse(text: &str) -> anyhow::Result<Credentials> {
        let written: Written = serde_json::from_str(text)
            .context("expected {\"credentials\": [{\"access_key_id\", \"secret_access_key\", \"role\"}]}")?;
        let mut credentials = BTreeMap::new();
        for WrittenCredential { access_key_id, secret_access_key: secret, role } in written.credentials {
            let is_plain = access_key_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if access_key_id.is_empty() || !is_plain {
                bail!("the access key id {access_key_id:?} must be letters, digits and underscores");
            }
            if secret.len() < 16 {
                bail!("the secret of {access_key_id} must have at least 16 characters");
            }
            if credentials.insert(access_key_id.clone(), Credential { secret, role }).is_some() {
                bail!("the access key id {access_key_id} is given twice");
            }
        }
        if credentials.is_empty() {
            bail!("there are none; at least one is needed");
        }
        Ok(Credentials(credentials))
    }

    /// Whether there are none, as where no file could be read yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The credential of an access key id.
    pub fn of(&self, key_id: &str) -> Option<&Credential> {
        self.0.get(key_id)
    }
}

/// The content of a file with secrets, which nobody but this process's user (or root) may own, and nobody else may read
/// or write.
///
/// # Errors
/// When it can't be read, or others can.
pub(in crate::api) fn read_private(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("opening the credentials {shown}"))?;
    let metadata = file.metadata().with_context(|| format!("looking at the credentials {shown}"))?;
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        bail!("the credentials {shown} belong to another user (id {owner}); they must be this process's own");
    }
    if let Some(exposed) = Exposed::find(&metadata, Readers::Owner) {
        bail!("the credentials {shown} {exposed}; remedy: chmod 600 {shown}");
    }
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(|| format!("reading the credentials {shown}"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const GOOD: &str = r#"{ "credentials": [
        { "access_key_id": "ADMIN", "secret_access_key": "0123456789abcdef", "role": "admin" } ] }"#;

    #[test]
    fn only_the_owner_may_read_the_file() {
        let path = std::env::temp_dir().join(format!("sluice-credentials-{}", std::process::id()));
        fs::write(&path, GOOD).unwrap();
        let with_mode = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Credentials::load(&path)
        };
        for mode in [0o604, 0o640, 0o620, 0o666] {
            assert!(with_mode(mode).unwrap_err().to_string().contains("chmod 600"), "{mode:o}");
        }
        let credentials = with_mode(0o600);
        fs::remove_file(&path).unwrap();
        assert_eq!(credentials.unwrap().of("ADMIN").unwrap().role, Role::Admin);
    }

    #[test]
    fn bad_files_are_refused_without_telling_secrets() {
        for (text, why) in [
            ("{}", "expected"),
            (r#"{"credentials": []}"#, "there are none"),
            (&GOOD.replace("admin\"", "root\""), "expected"),
            (&GOOD.replace("ADMIN", "A/B"), "letters, digits"),
            (&GOOD.replace("abcdef", ""), "16 characters"),
        ] {
            let error = format!("{:#}", Credentials::parse(text).unwrap_err());
            assert!(error.contains(why) && !error.contains("0123456789"), "{error}");
        }
        let credentials = Credentials::parse(GOOD).unwrap();
        assert!(!format!("{credentials:?}").contains("0123456789"));
    }
}
