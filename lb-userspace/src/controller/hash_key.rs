//! The key of the flow hash on disk, so that a restarted controller sends flows to the targets they are on.

use std::fs::{self, OpenOptions};
use std::hash::Hasher;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use lb_common::hash::HashKey;
use siphasher::sip::SipHasher24;

const FILE: &str = "hash.key";

/// What is hashed for a fingerprint. Nothing else is ever hashed by SipHash-2-4 with the key.
const FINGERPRINTED: &[u8] = b"sluice: the fingerprint of the hash key";

/// What others may know of a key, so that nodes see whether they have the same one: 16 hex digits, the SipHash-2-4 of a
/// constant under the key.
///
/// It does not help to find the key: SipHash is made as a pseudo-random function, so that nothing better is known than
/// to try all 2^128 keys, of which 2^64 have this fingerprint; and it tells nothing of the flow hash, which is derived
/// from other messages by SipHash-1-3. Two keys have one fingerprint with a probability of 2^-64.
pub(super) fn fingerprint(key: HashKey) -> String {
    let mut hasher = SipHasher24::new_with_keys(key.k0, key.k1);
    hasher.write(FINGERPRINTED);
    format!("{:016x}", hasher.finish())
}

/// Reads the key in `directory`, or makes one there that only the owner can read. Nodes that announce the same
/// VIPs need the same key: copy the file. Where the data plane goes on from an earlier controller, the key is `held`.
///
/// # Errors
/// If the file can't be read or made, is no key, or another than `held`.
pub(super) fn load_or_make(directory: &Path, held: Option<HashKey>) -> anyhow::Result<HashKey> {
    let path = directory.join(FILE);
    let key = match fs::read_to_string(&path) {
        Ok(text) => parse(&text).with_context(|| {
            format!("{}: delete the file to have another key made (flows then move)", path.display())
        })?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = match held {
                Some(key) => key,
                None => HashKey { k0: random()?, k1: random()? },
            };
            write(directory, &path, key)?;
            key
        }
        Err(error) => {
            return Err(error).with_context(|| format!("reading the hash key {}", path.display()));
        }
    };
    ensure!(
        held.is_none_or(|held| held == key),
        "{}: the data plane works with another key. To keep it and the flows, delete the file; to change it, `sluice \
         detach` first: established connections then go to other targets",
        path.display()
    );
    Ok(key)
}

fn write(directory: &Path, path: &Path, HashKey { k0, k1 }: HashKey) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("making the runtime directory {}", directory.display()))?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("making the hash key {}", path.display()))?;
    writeln!(file, "{k0:016x}{k1:016x}").with_context(|| format!("writing {}", path.display()))
}

fn random() -> anyhow::Result<u64> {
    getrandom::u64().map_err(|error| anyhow::anyhow!("the kernel has no random numbers: {error}"))
}

fn parse(text: &str) -> anyhow::Result<HashKey> {
    let digits = text.trim();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("a hash key is 32 hexadecimal digits");
    }
    let half = |digits| u64::from_str_radix(digits, 16).context("a hash key is 32 hexadecimal digits");
    Ok(HashKey { k0: half(&digits[..16])?, k1: half(&digits[16..])? })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_that_was_made_is_read_again_and_is_the_owners_alone() {
        let directory = std::env::temp_dir().join(format!("sluice-key-{}", std::process::id()));
        let made = load_or_make(&directory, None).unwrap();
        assert_eq!(load_or_make(&directory, None).unwrap(), made);
        let mode = fs::metadata(directory.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_key_of_a_data_plane_that_goes_on_is_kept() {
        let directory = std::env::temp_dir().join(format!("sluice-held-key-{}", std::process::id()));
        let held = HashKey { k0: 1, k1: 2 };
        assert_eq!(load_or_make(&directory, Some(held)).unwrap(), held, "there was no file");
        assert_eq!(load_or_make(&directory, None).unwrap(), held);
        let refused = load_or_make(&directory, Some(HashKey { k0: 1, k1: 3 })).unwrap_err();
        assert!(refused.to_string().contains("works with another key"), "{refused}");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn keys_are_told_apart_by_fingerprints_that_every_version_computes_alike() {
        let key = HashKey { k0: 0x0011_2233_4455_6677, k1: 0x8899_aabb_ccdd_eeff };
        assert_eq!(fingerprint(key), "24df6af84fdabf8a");
        let mut seen = std::collections::BTreeSet::from([fingerprint(key)]);
        for bit in 0..64 {
            seen.insert(fingerprint(HashKey { k0: key.k0 ^ 1 << bit, ..key }));
            seen.insert(fingerprint(HashKey { k1: key.k1 ^ 1 << bit, ..key }));
        }
        assert_eq!(seen.len(), 129, "each bit of the key counts");
        assert!(seen.iter().all(|text| text.len() == 16));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "1234", "zz112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff0"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let key = parse("00112233445566778899aabbccddeeff\n").unwrap();
        assert_eq!(key, HashKey { k0: 0x0011_2233_4455_6677, k1: 0x8899_aabb_ccdd_eeff });
    }
}
