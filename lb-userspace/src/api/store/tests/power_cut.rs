//! The power is cut at every write: whatever of the writes since the last sync reached the disk, in whatever order and
//! torn wherever, the state is the one before the change in hand or the one after it.

use std::io;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use redb::StorageBackend;

use super::story::Story;
use crate::api::domain::{Changes, State, Store, Unkept};
use crate::api::store::entry::{edits_of, state_of};
use crate::api::store::inspect::{in_memory, usable};
use crate::api::store::tables::Tables;

/// What a disk writes as a whole.
const SECTOR: usize = 512;
const CHANGES: u64 = 40;
/// Disks that are tried for each write.
const DISKS: usize = 4;

/// What a file is told.
#[derive(Debug, Clone)]
enum Call {
    Write {
        at: usize,
        data: Vec<u8>,
    },
    SetLength(usize),
    Sync,
    /// Somebody is told of this generation.
    Acknowledge(u64),
}

/// A file in memory that remembers what it was told.
#[derive(Debug, Clone, Default)]
struct Recorder {
    file: Arc<Mutex<(Vec<u8>, Vec<Call>)>>,
}

impl Recorder {
    fn holding(bytes: &[u8]) -> Recorder {
        Recorder { file: Arc::new(Mutex::new((bytes.to_vec(), Vec::new()))) }
    }

    fn tell(&self, call: Call) {
        let (bytes, calls) = &mut *self.file.lock().unwrap();
        apply(bytes, &call);
        calls.push(call);
    }

    fn calls(&self) -> Vec<Call> {
        self.file.lock().unwrap().1.clone()
    }
}

fn apply(bytes: &mut Vec<u8>, call: &Call) {
    match call {
        Call::Write { at, data } => bytes[*at..][..data.len()].copy_from_slice(data),
        Call::SetLength(length) => bytes.resize(*length, 0),
        Call::Sync | Call::Acknowledge(_) => {}
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.file.lock().unwrap().0.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let at = usize::try_from(offset).unwrap();
        let (bytes, _) = &*self.file.lock().unwrap();
        let range = bytes.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(range);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.tell(Call::SetLength(usize::try_from(length).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.tell(Call::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.tell(Call::Write { at: usize::try_from(offset).unwrap(), data: data.to_vec() });
        Ok(())
    }
}

/// The tables alone, over that file.
struct OnRecorder {
    tables: Tables,
    file: Recorder,
}

impl OnRecorder {
    fn new(file: &Recorder) -> OnRecorder {
        let is_new = file.len().unwrap() == 0;
        let open = if is_new { Tables::create } else { Tables::open };
        let mut tables = open(file.clone()).unwrap();
        if is_new {
            tables.write(0, 0, &Default::default()).unwrap();
        }
        OnRecorder { tables, file: file.clone() }
    }
}

impl Store for OnRecorder {
    fn load(&mut self) -> anyhow::Result<State> {
        let contents = self.tables.read()?;
        Ok(state_of(contents.generation, contents.entries)?)
    }

    fn keep(&mut self, _: u64, state: &State, changes: &Changes) -> Result<(), Unkept> {
        let count = state.load_balancers.len() + state.target_groups.len() + state.last_vips.len();
        self.tables.write(state.generation, count, &edits_of(state, changes))?;
        self.file.tell(Call::Acknowledge(state.generation));
        Ok(())
    }
}

/// A disk, of which everything up to the last sync is certain, and nothing after it is.
struct Disk {
    certain: Vec<u8>,
    uncertain: Vec<Call>,
    acknowledged: u64,
}

impl Disk {
    fn take(&mut self, call: &Call) {
        match call {
            Call::Acknowledge(generation) => self.acknowledged = *generation,
            Call::Sync => {
                for call in self.uncertain.drain(..) {
                    apply(&mut self.certain, &call);
                }
            }
            call => self.uncertain.push(call.clone()),
        }
    }

    /// The disk after the cut, if all writes reached it.
    fn with_all(&self) -> Vec<u8> {
        let mut bytes = self.certain.clone();
        self.uncertain.iter().for_each(|call| apply(&mut bytes, call));
        bytes
    }

    /// The disk after the cut, if some sectors reached it, in some order. Lengths are a file system's journal's: they
    /// change in their order, up to some point.
    fn with_some(&self, chance: &mut Rng) -> Vec<u8> {
        let mut bytes = self.certain.clone();
        let lengths: Vec<_> =
            self.uncertain.iter().filter(|call| matches!(call, Call::SetLength(_))).collect();
        let reached = chance.usize(..=lengths.len());
        lengths[..reached].iter().for_each(|call| apply(&mut bytes, call));
        let mut sectors: Vec<_> = self.uncertain.iter().flat_map(sectors_of).collect();
        chance.shuffle(&mut sectors);
        sectors.truncate(chance.usize(..=sectors.len()));
        for (at, data) in sectors {
            let Some(place) = bytes.get_mut(at..at + data.len()) else { continue };
            place.copy_from_slice(data);
        }
        bytes
    }
}

fn sectors_of(call: &Call) -> Vec<(usize, &[u8])> {
    let Call::Write { at, data } = call else { return Vec::new() };
    let first = (SECTOR - at % SECTOR).min(data.len());
    let (head, rest) = data.split_at(first);
    let rest = rest.chunks(SECTOR).enumerate().map(|(number, chunk)| (at + first + number * SECTOR, chunk));
    std::iter::once((*at, head)).chain(rest).collect()
}

/// Checks what a machine would find on a disk.
fn check(bytes: &[u8], acknowledged: u64, states: &[State]) {
    let state = usable(bytes, 0).unwrap_or_else(|error| panic!("after {acknowledged}: {error:#}"));
    assert!(
        (acknowledged..=acknowledged + 1).contains(&state.generation),
        "{acknowledged}, {}",
        state.generation
    );
    assert!(state == states[usize::try_from(state.generation).unwrap()], "not the state of {acknowledged}");
}

fn states() -> Vec<State> {
    let story = Story::imagined();
    (0..=CHANGES + 1).map(|generation| story.at(generation)).collect()
}

#[test]
fn no_power_cut_loses_an_acknowledged_change() {
    let (file, states) = (Recorder::default(), states());
    let store = OnRecorder::new(&file);
    let begin = file.calls().len();
    Story::on(Box::new(store)).at(CHANGES);
    let calls = file.calls();
    let mut disk = Disk { certain: Vec::new(), uncertain: Vec::new(), acknowledged: 0 };
    calls[..begin].iter().for_each(|call| disk.take(call));
    // A new store is synced before it gets its name.
    disk.take(&Call::Sync);
    let mut chance = Rng::with_seed(1);
    let mut cuts = 0;
    for call in &calls[begin..] {
        disk.take(call);
        check(&disk.with_all(), disk.acknowledged, &states);
        for _ in 0..DISKS {
            check(&disk.with_some(&mut chance), disk.acknowledged, &states);
            cuts += 1;
        }
    }
    assert!(cuts > 1000, "{cuts} cuts");
}

#[test]
fn no_power_cut_while_it_recovers_from_one_loses_a_change() {
    let (file, states) = (Recorder::default(), states());
    Story::on(Box::new(OnRecorder::new(&file))).at(20);
    let mut chance = Rng::with_seed(2);
    let mut disk = Disk { certain: Vec::new(), uncertain: Vec::new(), acknowledged: 0 };
    for call in file.calls() {
        disk.take(&call);
        if disk.acknowledged < 3 || chance.u8(..8) != 0 {
            continue;
        }
        let crashed = disk.with_some(&mut chance);
        let again = Recorder::holding(&crashed);
        drop(Tables::open(again.clone()).unwrap());
        let mut recovering =
            Disk { certain: crashed, uncertain: Vec::new(), acknowledged: disk.acknowledged };
        for call in again.calls() {
            recovering.take(&call);
            check(&recovering.with_some(&mut chance), disk.acknowledged, &states);
        }
    }
}

/// The recorder is a file like any other.
#[test]
fn a_recorded_file_has_what_was_written() {
    let file = Recorder::default();
    let state = Story::on(Box::new(OnRecorder::new(&file))).at(10);
    let bytes = file.file.lock().unwrap().0.clone();
    assert_eq!(usable(&bytes, 10).unwrap(), state);
    assert!(in_memory(&bytes).is_ok());
}
