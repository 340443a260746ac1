//! The section `api.audit_log` of the configuration file.

use std::path::PathBuf;

use anyhow::bail;
use serde::Deserialize;

/// Where the audit log is kept, and how surely.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfiguration {
    /// The file that is written; older ones are beside it: `audit.log.1` is the youngest of them.
    pub file: PathBuf,
    /// Bytes after which another file is begun.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,
    /// Older files that are kept.
    #[serde(default = "default_files")]
    pub files: u32,
    /// When a line is on the disk for sure.
    #[serde(default)]
    pub sync: SyncPolicy,
}

/// When a line is on the disk for sure: what a power cut may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncPolicy {
    /// Before a change is made that somebody asked for, and again before the answer is sent. A change that can't be
    /// logged is refused.
    Always,
    /// Within a second.
    #[default]
    Second,
    /// When the kernel pleases; a crash of this process takes nothing.
    Never,
}

/// The smallest file: some of the longest lines fit.
pub const SMALLEST_FILE: u64 = 1 << 20;

const fn default_max_bytes() -> u64 {
    64 << 20
}

const fn default_files() -> u32 {
    8
}

impl AuditConfiguration {
    /// With the defaults of the file's section.
    pub fn in_file(file: impl Into<PathBuf>) -> AuditConfiguration {
        AuditConfiguration {
            file: file.into(),
            max_bytes: default_max_bytes(),
            files: default_files(),
            sync: SyncPolicy::default(),
        }
    }

    /// Refuses what no log can be kept with.
    ///
    /// # Errors
    /// With the field and what would be right.
    pub fn check(&self) -> anyhow::Result<()> {
        if !self.file.is_absolute() {
            bail!("api.audit_log.file: {} must be an absolute path", self.file.display());
        }
        if self.max_bytes < SMALLEST_FILE {
            bail!("api.audit_log.max_bytes: {} must be at least {SMALLEST_FILE} (1 MiB)", self.max_bytes);
        }
        if !(1..=1000).contains(&self.files) {
            bail!("api.audit_log.files: {} must be 1 to 1000", self.files);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_sections_are_refused_with_what_would_be_right() {
        let check = |text: &str| {
            let read: AuditConfiguration = serde_json::from_str(text).map_err(|error| error.to_string())?;
            read.check().map_err(|error| error.to_string())
        };
        assert_eq!(check(r#"{ "file": "/a" }"#), Ok(()));
        for (text, why) in [
            (r#"{ "file": "a" }"#, "absolute"),
            (r#"{ "file": "/a", "max_bytes": 1000 }"#, "1048576"),
            (r#"{ "file": "/a", "files": 0 }"#, "1 to 1000"),
            (r#"{ "file": "/a", "sync": "sometimes" }"#, "`always`, `second`, `never`"),
            (r#"{ "file": "/a", "maxbytes": 1 }"#, "unknown field"),
        ] {
            assert!(check(text).unwrap_err().contains(why), "{text}");
        }
    }
}
