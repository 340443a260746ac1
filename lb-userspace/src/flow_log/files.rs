//! The log's files: one that grows for each load balancer, older ones beside it, and an end to all of them together.
//!
//! ```text
//!   BASE/BUCKET/PREFIX/web/flows-20261122T074512.345Z.jsonl     since that moment, until it is full or an hour old
//! ```
//!
//! The oldest files go, whosever they are, as soon as all together are more than the node keeps. A line is in a file
//! whole or not at all: what a failed write left of it is cut off again.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::calendar::Timestamp;

/// The owner writes, the group reads.
const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;
/// After which time another file is begun.
const AGE: Duration = Duration::from_secs(3600);
/// So many files make up a full log of a single load balancer.
const FILES: u64 = 16;
/// Files that are open at once.
const OPEN: usize = 256;

/// When a file was begun, as its name says, and where it is: the order in which files go.
type FileKey = (String, PathBuf);

/// All files of the node.
#[derive(Debug)]
pub(super) struct Files {
    base: PathBuf,
    maximum_bytes: u64,
    /// The bytes of each file.
    kept: BTreeMap<FileKey, u64>,
    total: u64,
    /// By place.
    open: HashMap<PathBuf, Growing>,
}

/// A file that is written to.
#[derive(Debug)]
struct Growing {
    file: File,
    key: FileKey,
    begun: Timestamp,
    used: Timestamp,
    /// Bytes of whole lines.
    bytes: u64,
}

impl Files {
    /// The files in `base`, which is made if it isn't there.
    ///
    /// # Errors
    /// If it can't be made or read.
    pub(super) fn open(base: &Path, maximum_bytes: u64) -> io::Result<Files> {
        make_directory(base)?;
        let kept = find(base)?;
        let total = kept.values().sum();
        let mut files = Files { base: base.to_owned(), maximum_bytes, kept, total, open: HashMap::new() };
        files.make_room()?;
        Ok(files)
    }

    /// Appends whole lines to the log at `place`.
    ///
    /// # Errors
    /// If they can't be written; then nothing of them is there.
    pub(super) fn append(&mut self, place: &Path, lines: &str, now: Timestamp) -> io::Result<()> {
        let length = lines.len() as u64;
        let is_usable = |file: &Growing| {
            file.bytes + length <= (self.maximum_bytes / FILES).max(length) && now.distance(file.begun) < AGE
        };
        if !self.open.get(place).is_some_and(is_usable) {
            let file = self.begin(place, now)?;
            self.open.insert(place.to_owned(), file);
        }
        let growing = self.open.get_mut(place).expect("it was just seen or made");
        growing.used = now;
        if let Err(error) = growing.file.write_all(lines.as_bytes()) {
            // Another file is begun next time, whether this one could be mended or not.
            let _ = growing.file.set_len(growing.bytes);
            self.open.remove(place);
            return Err(error);
        }
        growing.bytes += length;
        *self.kept.entry(growing.key.clone()).or_default() += length;
        self.total += length;
        self.make_room()
    }

    fn begin(&mut self, place: &Path, now: Timestamp) -> io::Result<Growing> {
        self.open.remove(place);
        if self.open.len() >= OPEN
            && let Some(oldest) =
                self.open.iter().min_by_key(|(_, file)| file.used).map(|(place, _)| place.clone())
        {
            self.open.remove(&oldest);
        }
        let directory = place.iter().try_fold(self.base.clone(), |parent, name| {
            let directory = parent.join(name);
            make_directory(&directory).map(|()| directory)
        })?;
        // Two files of one millisecond: after a rotation, or a controller that was started again.
        for later in 0..1000 {
            let begun = stamp(now.after(Duration::from_millis(later)));
            let path = directory.join(format!("flows-{begun}.jsonl"));
            match OpenOptions::new().append(true).create_new(true).mode(FILE_MODE).open(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                opened => {
                    let file = opened?;
                    // The process's umask may be stricter than what is meant here.
                    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
                    return Ok(Growing { file, key: (begun, path), begun: now, used: now, bytes: 0 });
                }
            }
        }
        Err(io::Error::other(format!("{} is full of files of one second", directory.display())))
    }

    /// Removes the oldest files while there is too much.
    fn make_room(&mut self) -> io::Result<()> {
        while self.total > self.maximum_bytes
            && let Some((key, bytes)) = self.kept.pop_first()
        {
            self.total -= bytes;
            self.open.retain(|_, file| file.key != key);
            match fs::remove_file(&key.1) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A moment in a file's name: later ones are greater.
fn stamp(time: Timestamp) -> String {
    time.to_string().chars().filter(|sign| !matches!(sign, '-' | ':')).collect()
}

/// The moment in a file's name, if it is one of this log's.
fn begun(name: &str) -> Option<&str> {
    let stamp = name.strip_prefix("flows-")?.strip_suffix(".jsonl")?;
    let is_stamp =
        stamp.len() == 20 && stamp.bytes().all(|byte| byte.is_ascii_digit() || b"TZ.".contains(&byte));
    is_stamp.then_some(stamp)
}

fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The files of earlier processes; links are not followed.
fn find(base: &Path) -> io::Result<BTreeMap<FileKey, u64>> {
    let (mut found, mut directories) = (BTreeMap::new(), vec![base.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file()
                && let Some(begun) = entry.file_name().to_str().and_then(begun)
            {
                found.insert((begun.to_owned(), entry.path()), entry.metadata()?.len());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("sluice-flows-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Scratch(path)
        }

        fn files(&self) -> Vec<PathBuf> {
            find(&self.0).unwrap().into_keys().map(|(_, path)| path).collect()
        }

        fn text(&self) -> String {
            self.files().iter().map(|path| fs::read_to_string(path).unwrap()).collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(1_800_000_000_000 + seconds * 1000)
    }

    #[test]
    fn lines_of_a_place_are_in_one_file_that_its_group_may_read() {
        let scratch = Scratch::new("place");
        let mut files = Files::open(&scratch.0, 1 << 20).unwrap();
        files.append(Path::new("b/p/web"), "one\n", at(0)).unwrap();
        files.append(Path::new("b/p/web"), "two\n", at(1)).unwrap();
        files.append(Path::new("mail"), "three\n", at(2)).unwrap();
        let named: Vec<_> =
            scratch.files().iter().map(|path| path.strip_prefix(&scratch.0).unwrap().to_owned()).collect();
        assert_eq!(
            named,
            [
                Path::new("b/p/web/flows-20270115T080000.000Z.jsonl"),
                Path::new("mail/flows-20270115T080002.000Z.jsonl")
            ]
        );
        assert_eq!(scratch.text(), "one\ntwo\nthree\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&scratch.files()[0]), mode(&scratch.0.join("b"))), (0o640, 0o750));
    }

    #[test]
    fn another_file_is_begun_after_an_hour_and_by_another_process() {
        let scratch = Scratch::new("age");
        let mut files = Files::open(&scratch.0, 1 << 20).unwrap();
        for second in [0, 3599, 3600] {
            files.append(Path::new("web"), "x\n", at(second)).unwrap();
        }
        assert_eq!(scratch.files().len(), 2);
        let mut next = Files::open(&scratch.0, 1 << 20).unwrap();
        next.append(Path::new("web"), "y\n", at(3600)).unwrap();
        assert_eq!((scratch.files().len(), scratch.text().as_str()), (3, "x\nx\nx\ny\n"));
    }

    #[test]
    fn all_files_together_stay_below_the_maximum_and_the_oldest_go() {
        let scratch = Scratch::new("maximum");
        let mut files = Files::open(&scratch.0, 1600).unwrap();
        fs::write(scratch.0.join("flows-mine.jsonl"), "x".repeat(5000)).unwrap();
        for second in 0..100 {
            let place = if second % 2 == 0 { "web" } else { "mail" };
            files.append(Path::new(place), &format!("{second:049}\n"), at(second)).unwrap();
            let total: usize = scratch.text().len();
            assert!(total <= 1600, "{total}");
        }
        let text = scratch.text();
        assert!(
            text.contains(&format!("{:049}\n", 99)) && !text.contains(&format!("{:049}\n", 50)),
            "{text}"
        );
        assert!(text.len() >= 1400, "{}", text.len());
        assert!(scratch.0.join("flows-mine.jsonl").exists(), "a file of somebody else");
    }

    #[test]
    fn what_earlier_processes_left_counts() {
        let scratch = Scratch::new("left");
        let mut files = Files::open(&scratch.0, 1 << 20).unwrap();
        (0..10)
            .for_each(|number| files.append(Path::new("web"), &"x".repeat(100), at(3600 * number)).unwrap());
        drop(files);
        Files::open(&scratch.0, 300).unwrap();
        assert_eq!(scratch.files().len(), 3);
    }
}
