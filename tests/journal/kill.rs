//! A gateway that is killed while it writes.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use verkada2mqtt::{
    journal::{self, Limits},
    model::{JournalEvent, RecordNumber},
    rng::Rng,
};

use crate::{LIMIT, entries, environment::number, record, start};

/// Tells the child where to write, and as which run.
const DIRECTORY: &str = "JOURNAL_TEST_DIRECTORY";
const RUN: &str = "JOURNAL_TEST_RUN";
const ROWS: u64 = 1500;

fn variable(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.into_string().unwrap())
}

/// Not a test by itself: the test below starts this program again to have something to kill.
#[tokio::test]
async fn child() {
    let Some((directory, run)) = variable(DIRECTORY).zip(variable(RUN)) else { return };
    let limits = Limits { rows: ROWS, ..Limits::default() };
    let (mut journal, past) = journal::open_with(Some(Path::new(&directory)), &run, start(), limits);
    assert_eq!(past.replaced, None);
    let mut random = Rng::new(run.len().try_into().unwrap());
    let (mut number, mut out) = (0, std::io::stdout());
    loop {
        for _ in 0..=random.below(8) {
            number += 1;
            journal.write(record(number));
        }
        match journal.next().await {
            JournalEvent::Written { number, .. } => {
                writeln!(out, "\nwritten {}", number.0).unwrap();
                out.flush().unwrap();
            }
            JournalEvent::Broken(sentence) => panic!("{sentence}"),
            JournalEvent::Mended => {}
        }
    }
}

fn start_child(directory: &Path, run: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture", "--test-threads", "1"])
        .env(DIRECTORY, directory)
        .env(RUN, run)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a child write for a while and kills it; says which record it told of last, 0 for none.
fn kill_one(directory: &Path, run: &str, random: &mut Rng) -> RecordNumber {
    let mut child = start_child(directory, run);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, told) = mpsc::channel();
    let reader = std::thread::Builder::new().spawn(move || {
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("written ").and_then(|text| text.parse().ok()) {
                sender.send(RecordNumber(number)).unwrap();
            }
        }
    });
    // Now and then it is killed while it opens.
    let mut newest = RecordNumber(0);
    if !random.one_in(10) {
        for _ in 0..=random.below(20) {
            newest = told.recv_timeout(LIMIT).expect("the child writes nothing");
        }
    }
    // Somewhere between two lines.
    if let Ok(number) = told.recv_timeout(Duration::from_micros(random.below(1500))) {
        newest = number;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reader.unwrap().join().unwrap();
    // What it still told before it ended counts as well.
    told.try_iter().last().unwrap_or(newest)
}

#[test]
fn what_was_told_as_written_is_there_after_any_kill() {
    let (kills, seed) = (number("KILLS").unwrap_or(60), number("SEED").unwrap_or(1));
    println!("{kills} kills with SEED={seed}");
    let mut random = Rng::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut told_of = 0;
    for kill in 0..kills {
        let run = format!("run-{kill}");
        let newest = kill_one(directory.path(), &run, &mut random);
        if !journal::path(directory.path()).exists() {
            assert_eq!(newest, RecordNumber(0), "kill {kill}");
            continue;
        }
        // A gateway that starts would find it whole, too.
        let (journal, past) = journal::open(Some(directory.path()), "look", start());
        assert_eq!(past.replaced, None, "kill {kill}");
        drop(journal);
        let chain = journal::verify(directory.path(), None).unwrap();
        assert!(chain.is_whole(), "kill {kill}: {chain:?}");
        if newest == RecordNumber(0) {
            continue;
        }
        let numbers: Vec<_> = entries(directory.path())
            .into_iter()
            .filter(|entry| entry.run == run)
            .map(|entry| entry.number)
            .collect();
        let last = i64::try_from(newest.0).unwrap();
        let first = numbers.first().copied().unwrap_or_default();
        assert!(
            numbers.contains(&last),
            "kill {kill}: record {last} was told as written; there are {numbers:?}"
        );
        assert!(first == 1 || chain.removed > 0, "kill {kill}: the first one is {first}");
        assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "kill {kill}: {numbers:?}");
        told_of += 1;
    }
    assert!(told_of > kills / 2, "hardly any child wrote");
}
