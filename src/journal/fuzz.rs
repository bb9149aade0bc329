//! Any damage to the files of a journal: nothing is told that was not written, nothing is lost, and writing goes on.

#![expect(
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails here is what fuzzing looks for"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;

use super::{begin, place::Place, reading, replace, store::Store, trouble::Trouble};
use crate::model::{Outcome, Past, PastCommand, Record, RecordNumber, Stage, Target};

/// How many records the journal holds.
const RECORDS: u64 = 30;
/// How much damage one input does at most.
const MAX_DAMAGE: usize = 16;
const NAMES: [&str; 2] = ["journal.sqlite", "journal.sqlite-wal"];

/// `data` is damage, five bytes each: the file and the kind, where (three bytes), and a value.
pub fn journal(data: &[u8]) {
    let whole = whole();
    let mut files = whole.files.clone();
    for damage in data.chunks_exact(5).take(MAX_DAMAGE) {
        do_damage(&mut files, damage);
    }
    let folder = Folder::new();
    for (name, bytes) in NAMES.iter().zip(&files) {
        fs::write(folder.0.join(name), bytes).unwrap();
    }
    if let Ok(chain) = reading::verify(&folder.0, None) {
        assert!(chain.records <= RECORDS);
    }
    for (name, bytes) in NAMES.iter().zip(&files) {
        // A reader may tidy up nothing.
        assert_eq!(&fs::read(folder.0.join(name)).unwrap(), bytes);
    }
    let place = Place::new(&folder.0);
    let (store, past) = begin(Some(&place), now());
    tells_what_was_written(&past, &whole.past);
    if past.replaced.is_some() {
        assert!(past.commands.is_empty() && past.alarms.is_empty());
        let aside = folder.0.join("journal.sqlite.unusable-1");
        assert_eq!(&fs::read(aside).unwrap(), &files[0], "what is unusable stays as it was");
    }
    let mut store = store.unwrap();
    if let Err(trouble) = store.append("run-2", [record(1)].iter()).map(|_| ()) {
        // Damage that only shows where it is written: the writer replaces the journal then.
        assert!(matches!(trouble, Trouble::Unusable(_)), "{trouble:?}");
        store.leave_as_it_is();
        replace(&place, &trouble.to_string()).unwrap();
        store = Store::open(Some(&place), Timestamp::MIN, |_| {}).unwrap();
        store.append("run-2", [record(1)].iter()).unwrap();
    }
    drop(store);
    match reading::verify(&folder.0, None) {
        Ok(chain) => assert!(past.replaced.is_none() || chain.records == 1, "{chain:?}"),
        // Damage in what neither opening nor writing reads: the verification tells of it.
        Err(trouble) => assert!(past.replaced.is_none(), "{trouble}"),
    }
}

/// Everything that is told is what an untouched journal tells, or the beginning of it.
fn tells_what_was_written(past: &Past, whole: &Past) {
    let first = |command: &PastCommand| PastCommand { sending: None, end: None, ..command.clone() };
    for command in &past.commands {
        let original = whole.commands.iter().find(|original| first(original) == first(command));
        let original = original.unwrap_or_else(|| panic!("{command:?} was never written"));
        assert!(command.sending.is_none() || command.sending == original.sending);
        assert!(command.end.is_none() || command.end == original.end);
    }
}

fn do_damage(files: &mut [Vec<u8>; 2], damage: &[u8]) {
    let [what, high, middle, low, value] = *damage else { return };
    let bytes = if what & 1 == 0 { &mut files[0] } else { &mut files[1] };
    if bytes.is_empty() {
        return;
    }
    let at = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    let at = at % bytes.len();
    match what >> 1 & 7 {
        0 => bytes[at] ^= value,
        1 => bytes[at] = value,
        2 => bytes.truncate(at),
        3 => bytes.insert(at, value),
        4 => _ = bytes.remove(at),
        5 => bytes[at..].iter_mut().take(512).for_each(|byte| *byte = value),
        6 => bytes.extend(vec![value; 100]),
        // A page that was written twice, or in place of another.
        _ => {
            let page = 4096 * usize::from(value) % bytes.len();
            let copy: Vec<u8> = bytes[page..].iter().take(4096).copied().collect();
            bytes[at..].iter_mut().zip(copy).for_each(|(byte, copied)| *byte = copied);
        }
    }
}

struct Whole {
    files: [Vec<u8>; 2],
    past: Past,
}

/// A journal as it is while the gateway runs: part of it is only in the log beside it.
fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let folder = Folder::new();
        let place = Place::new(&folder.0);
        for half in [1..=RECORDS / 2, RECORDS / 2 + 1..=RECORDS] {
            let mut store = Store::open(Some(&place), Timestamp::MIN, |_| {}).unwrap();
            store.append("run-1", half.clone().map(record).collect::<Vec<_>>().iter()).unwrap();
            if half.contains(&RECORDS) {
                let files = NAMES.map(|name| fs::read(folder.0.join(name)).unwrap());
                let (_, past) = begin(Some(&place), now());
                assert_eq!(past.replaced, None);
                return Whole { files, past };
            }
        }
        unreachable!("the last half holds the last record")
    })
}

/// Of three records each command has been accepted, sent and done.
fn record(number: u64) -> Record {
    let command = (number - 1) / 3;
    let (stage, outcome) = match number % 3 {
        1 => (Stage::Accepted, None),
        2 => (Stage::Sending, None),
        _ => (Stage::Ended, Some(Outcome::Done)),
    };
    Record {
        number: RecordNumber(number),
        at: now(),
        stage,
        command: Some(format!("c-{command}")),
        target: Some(Target::Door("d-1".parse().unwrap())),
        action: Some("unlock"),
        by: Some("a flow".to_owned()),
        received_at: Some(now()),
        outcome,
        reason: None,
        text: format!("the unlock {command}"),
    }
}

fn now() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

/// A folder that goes with its value; in memory where the system has a place for that, since each commit waits for the disk.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("verkada2mqtt-fuzz-{}-{number}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}
