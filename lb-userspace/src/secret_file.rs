//! Files with secrets: whether more users than should can read them. It looks at a file's mode, and reads nothing.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Who may read and write a file with secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner.
    Owner,
    /// Its owner, and its group: root writes it, and the group of a process without rights reads it.
    OwnerAndGroup,
}

impl Readers {
    /// The permission bits of all others.
    fn others(self) -> u32 {
        match self {
            Readers::Owner => 0o077,
            Readers::OwnerAndGroup => 0o007,
        }
    }
}

/// Others can read or write a file with secrets. Shown, it follows the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exposed {
    /// Permission bits: 0 to 0o777.
    mode: u32,
}

impl Exposed {
    /// Whether others than `readers` can read or write the file.
    pub(crate) fn find(metadata: &Metadata, readers: Readers) -> Option<Exposed> {
        let mode = metadata.mode() & 0o777;
        (mode & readers.others() != 0).then_some(Exposed { mode })
    }
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can be read by others (mode {:04o})", self.mode)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_group_may_read_where_it_is_named_and_strangers_never() {
        let path = std::env::temp_dir().join(format!("sluice-secret-{}", std::process::id()));
        fs::write(&path, "").unwrap();
        let exposed = |mode, readers| {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            Exposed::find(&fs::metadata(&path).unwrap(), readers).map(|exposed| exposed.to_string())
        };
        let cases =
            [(0o600, 0, 0), (0o400, 0, 0), (0o640, 1, 0), (0o660, 1, 0), (0o604, 1, 1), (0o642, 1, 1)];
        for (mode, to_owner, to_group) in cases {
            let found = [Readers::Owner, Readers::OwnerAndGroup].map(|readers| exposed(mode, readers));
            let said = Some(format!("can be read by others (mode {mode:04o})"));
            let expected = [to_owner, to_group].map(|is_exposed| said.clone().filter(|_| is_exposed == 1));
            assert_eq!(found, expected, "{mode:o}");
        }
        fs::remove_file(path).unwrap();
    }
}
