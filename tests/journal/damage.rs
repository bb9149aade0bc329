//! Files that are torn, changed, foreign, or no files at all.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use verkada2mqtt::{
    journal::{self, ReadError},
    model::{JournalEvent, Past},
    rng::Rng,
};

use crate::{LIMIT, entries, fill, open, record, start, written};

const NAMES: [&str; 3] = ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"];

/// Something that happens to a journal.
type Change<'c> = &'c dyn Fn(&Path);

fn names(directory: &Path) -> Vec<String> {
    let files =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = files.collect();
    names.sort();
    names
}

fn aside(directory: &Path, n: u32) -> PathBuf {
    directory.join(format!("journal.sqlite.unusable-{n}"))
}

/// Opens, writes a record, and says what the new run was told.
async fn use_it(directory: &Path) -> Past {
    let (mut journal, past) = journal::open(Some(directory), "run-2", start());
    journal.write(record(1));
    let others = written(&mut journal, 1).await;
    assert!(!others.iter().any(|other| matches!(other, JournalEvent::Broken(_))), "{others:?}");
    journal.close(LIMIT).await;
    let chain = journal::verify(directory, None).unwrap();
    assert!(chain.is_whole(), "{chain:?}");
    past
}

/// The files of a journal as they are while the gateway runs: part of it is only in the log beside it.
pub(crate) async fn running() -> Vec<(&'static str, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), 40).await;
    let (mut journal, _) = open(directory.path());
    for number in 1..=20 {
        journal.write(record(number));
        written(&mut journal, number).await;
    }
    NAMES.map(|name| (name, fs::read(directory.path().join(name)).unwrap())).into()
}

/// The file of a journal that was closed.
async fn stopped() -> Vec<(&'static str, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), 40).await;
    vec![(NAMES[0], fs::read(directory.path().join(NAMES[0])).unwrap())]
}

/// Puts files somewhere and uses the journal there. It opens, or it is set aside and nothing of it is lost.
async fn try_files(files: &[(&'static str, Vec<u8>)], case: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(directory.path().join(name), bytes).unwrap();
    }
    let past = use_it(directory.path()).await;
    let kept = aside(directory.path(), 1);
    match past.replaced {
        None => assert!(!kept.exists(), "{case}"),
        Some(sentence) => {
            assert!(sentence.contains("cannot be used: "), "{case}: {sentence}");
            assert!(sentence.contains(&kept.display().to_string()), "{case}: {sentence}");
            assert!(past.commands.is_empty(), "{case}");
            assert_eq!(fs::read(&kept).unwrap(), files[0].1, "{case}: what is unusable stays as it was");
        }
    }
    kept.exists()
}

#[tokio::test]
async fn a_file_cut_anywhere_opens_or_is_set_aside() {
    let files = running().await;
    let mut set_aside = 0;
    for (place, step) in [(0, 797), (1, 1993)] {
        for end in (0..files[place].1.len()).step_by(step) {
            let mut cut = files.clone();
            cut[place].1.truncate(end);
            set_aside += u32::from(try_files(&cut, &format!("{} ends at {end}", files[place].0)).await);
        }
    }
    assert!(set_aside > 5, "{set_aside}: hardly any cut is noticed");
}

#[tokio::test]
async fn a_byte_changed_anywhere_opens_or_is_set_aside() {
    let seed = 1;
    println!("seed {seed}");
    let mut random = Rng::new(seed);
    let running = running().await;
    let stopped = stopped().await;
    // The first bytes say what the rest means: they get their turn one after the other.
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap();
    let mut places: Vec<_> = (0..100).map(|at| (&stopped, 0, at)).collect();
    places.extend((0..40).map(|_| (&stopped, 0, random.below(length(&stopped[0].1)))));
    places.extend((0..20).map(|_| (&running, 1, random.below(length(&running[1].1)))));
    let mut set_aside = 0;
    for (files, file, at) in places {
        let mut changed = files.clone();
        changed[file].1[usize::try_from(at).unwrap()] ^= 1 << random.below(8);
        set_aside += u32::from(try_files(&changed, &format!("{} byte {at}", files[file].0)).await);
    }
    assert!(set_aside > 50, "{set_aside}: hardly any change is noticed");
}

#[tokio::test]
async fn what_is_no_journal_is_set_aside_and_told() {
    let newer = |directory: &Path| {
        let db = Connection::open(journal::path(directory)).unwrap();
        db.pragma_update(None, "user_version", 2).unwrap();
    };
    let foreign = |directory: &Path| {
        fs::remove_file(journal::path(directory)).unwrap();
        Connection::open(journal::path(directory)).unwrap().execute("CREATE TABLE dog (name)", []).unwrap();
    };
    let more = |directory: &Path| {
        let trigger = "CREATE TRIGGER forget AFTER INSERT ON record BEGIN DELETE FROM record; END";
        Connection::open(journal::path(directory)).unwrap().execute(trigger, []).unwrap();
    };
    let text = |directory: &Path| fs::write(journal::path(directory), "not a database".repeat(100)).unwrap();
    let folder = |directory: &Path| {
        fs::remove_file(journal::path(directory)).unwrap();
        fs::create_dir(journal::path(directory)).unwrap();
    };
    let pipe = |directory: &Path| {
        fs::remove_file(journal::path(directory)).unwrap();
        let made = std::process::Command::new("mkfifo").arg(journal::path(directory)).status();
        assert!(made.unwrap().success());
    };
    let changed = |directory: &Path| {
        let db = Connection::open(journal::path(directory)).unwrap();
        db.execute("UPDATE record SET text = 'nothing happened' WHERE sequence = 2", []).unwrap();
    };
    let cases: [(&str, Change<'_>); 7] = [
        ("a newer version of verkada2mqtt wrote it (form 2, this one knows 1)", &newer),
        ("it is a database of something else", &foreign),
        ("its tables are not those of a journal", &more),
        ("it is no SQLite database", &text),
        ("it is a folder", &folder),
        ("it is no regular file", &pipe),
        ("record 2 breaks the chain: it is not what was written there", &changed),
    ];
    for (what, make) in cases {
        let directory = tempfile::tempdir().unwrap();
        fill(directory.path(), 3).await;
        make(directory.path());
        let past = use_it(directory.path()).await;
        let path = journal::path(directory.path());
        assert_eq!(
            past.replaced,
            Some(format!(
                "the journal {} cannot be used: {what}; it was set aside as {}, and a new one begins",
                path.display(),
                aside(directory.path(), 1).display()
            ))
        );
        assert_eq!(past.commands, []);
        assert_eq!(entries(directory.path()).len(), 1, "{what}: a new one was begun");
        assert_eq!(journal::set_aside(directory.path()), [aside(directory.path(), 1)]);
    }
}

#[tokio::test]
async fn nine_are_kept_and_none_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = journal::path(directory.path());
    for n in 1..=9_u32 {
        fs::write(&path, format!("unusable {n}").repeat(100)).unwrap();
        assert!(use_it(directory.path()).await.replaced.is_some());
        assert!(aside(directory.path(), n).exists(), "{n}");
    }
    fs::write(&path, "unusable 10".repeat(100)).unwrap();
    let before = names(directory.path());
    let (mut journal, past) = open(directory.path());
    let JournalEvent::Broken(sentence) = crate::event(&mut journal).await else { panic!("not broken") };
    for text in ["9 unusable journals were set aside already", "move them away", "no SQLite database"] {
        assert!(sentence.contains(text), "{sentence}");
        assert!(past.replaced.as_deref().unwrap().contains(text), "{past:?}");
    }
    assert_eq!(names(directory.path()), before);
    // Somebody looks into them.
    for name in names(directory.path()).iter().filter(|name| name.starts_with("journal.sqlite.unusable-4")) {
        fs::remove_file(directory.path().join(name)).unwrap();
    }
    journal.write(record(1));
    assert!(written(&mut journal, 1).await.contains(&JournalEvent::Mended));
    assert!(fs::read_to_string(aside(directory.path(), 4)).unwrap().starts_with("unusable 10"));
}

#[tokio::test]
async fn what_stands_beside_a_missing_file_does_not_get_into_a_new_one() {
    let files = running().await;
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(NAMES[1]), &files[1].1).unwrap();
    assert_eq!(use_it(directory.path()).await, Past::default());
    assert_eq!(entries(directory.path()).len(), 1);
    assert_eq!(fs::read(directory.path().join("journal.sqlite.unusable-1-wal")).unwrap(), files[1].1);
}

#[tokio::test]
async fn an_empty_file_with_a_log_beside_it_is_set_aside_with_the_log() {
    let files = running().await;
    // SQLite takes one byte for nothing.
    for content in ["", "S"] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(NAMES[0]), content).unwrap();
        fs::write(directory.path().join(NAMES[1]), &files[1].1).unwrap();
        let what = "it is empty, although what was written last still stands beside it";
        let error = journal::verify(directory.path(), None).unwrap_err().to_string();
        assert!(error.ends_with(what), "{error}");
        assert_eq!(
            fs::read(directory.path().join(NAMES[1])).unwrap(),
            files[1].1,
            "a reader removes nothing"
        );
        let replaced = use_it(directory.path()).await.replaced.unwrap();
        assert!(replaced.contains(what), "{replaced}");
        assert_eq!(fs::read(directory.path().join("journal.sqlite.unusable-1-wal")).unwrap(), files[1].1);
    }
}

#[tokio::test]
async fn an_empty_file_is_a_new_journal() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(journal::path(directory.path()), "").unwrap();
    assert_eq!(use_it(directory.path()).await, Past::default());
}

#[tokio::test]
async fn readers_are_told_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = journal::path(directory.path());
    assert!(
        matches!(journal::verify(directory.path(), None), Err(ReadError::Missing(missing)) if missing == path)
    );
    fs::write(&path, "not a database".repeat(100)).unwrap();
    let error = journal::verify(directory.path(), None).unwrap_err().to_string();
    assert_eq!(error, format!("cannot read the journal {}: it is no SQLite database", path.display()));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = journal::verify(directory.path(), None).unwrap_err().to_string();
    assert_eq!(error, format!("cannot read the journal {}: it is no file", path.display()));
}
