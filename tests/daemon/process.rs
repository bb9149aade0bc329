//! The program as a child process, with what it writes.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

use crate::canary::{Canary, leaks};

/// No wait of a test may take longer, unless it says so.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Lines as they come.
type Lines = watch::Receiver<Vec<String>>;

/// A running program. It is killed, by its own process id, when it is dropped; by then it must have shown no secret.
pub(crate) struct Process {
    child: Child,
    log: Lines,
    out: Lines,
    secrets: Vec<Canary>,
}

impl Process {
    /// Starts the program under test.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::of(Command::new(env!("CARGO_BIN_EXE_verkada2mqtt")).args(args))
    }

    /// Starts any program.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = spawn(command.stderr(Stdio::piped()));
        let log = lines(child.stderr.take().unwrap());
        let out = lines(child.stdout.take().unwrap());
        Self { child, log, out, secrets: Vec::new() }
    }

    /// Starts any program, whose log goes elsewhere: to this it never has one.
    pub(crate) fn logging_to(log: impl Into<Stdio>, command: &mut Command) -> Self {
        let mut child = spawn(command.stderr(log));
        let (_closed, log) = watch::channel(Vec::new());
        let out = lines(child.stdout.take().unwrap());
        Self { child, log, out, secrets: Vec::new() }
    }

    /// The same program, which must not show these.
    pub(crate) fn keeping(mut self, secrets: Vec<Canary>) -> Self {
        self.secrets = secrets;
        self
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has logged so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    /// Everything it has written to standard output so far.
    pub(crate) fn out(&self) -> Vec<String> {
        self.out.borrow().clone()
    }

    /// Waits for a line of the log that holds `text`.
    pub(crate) async fn logs(&self, text: &str) -> String {
        self.logs_after(0, text).await
    }

    /// Waits for a line of the log that holds `text` and is not among the first `skip` lines.
    pub(crate) async fn logs_after(&self, skip: usize, text: &str) -> String {
        line(self.log.clone(), skip, text).await
    }

    /// Waits for a line on standard output that holds `text`.
    pub(crate) async fn says(&self, text: &str) -> String {
        line(self.out.clone(), 0, text).await
    }

    /// Sends a signal: `TERM`, `INT`, `HUP`, `KILL`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let script = format!("kill -s {name} {}", self.child.id());
        assert!(Command::new("/bin/sh").args(["-c", &script]).status().unwrap().success(), "{script}");
    }

    /// Whether it will log nothing more.
    pub(crate) fn has_closed(&self) -> bool {
        self.log.has_changed().is_err()
    }

    /// Waits until it has ended; returns how, and what it wrote.
    pub(crate) async fn end_within(&mut self, limit: Duration) -> Ended {
        for mut lines in [self.log.clone(), self.out.clone()] {
            let closed = async { while lines.changed().await.is_ok() {} };
            let in_time = timeout(limit, closed).await.is_ok();
            assert!(in_time, "it does not end within {limit:?}; it logged\n{}", self.log().join("\n"));
        }
        Ended { status: self.child.wait().unwrap(), log: self.log().join("\n"), out: self.out().join("\n") }
    }

    /// Runs the program under test to its end.
    pub(crate) async fn run(args: &[&str]) -> Ended {
        Self::start(args).end_within(LIMIT).await
    }
}

fn spawn(command: &mut Command) -> Child {
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
        if name.starts_with("VERKADA2MQTT") || name == "NOTIFY_SOCKET" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        if !std::thread::panicking() {
            let written = [self.log(), self.out()].concat().join("\n");
            let shown = leaks(&self.secrets, "what the program wrote", written.as_bytes());
            assert_eq!(shown, [""; 0], "{written}");
        }
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    status: ExitStatus,
    pub(crate) log: String,
    pub(crate) out: String,
}

impl Ended {
    /// The exit code; `None` where a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Whether its memory was written down when a signal ended it.
    pub(crate) fn left_a_core(&self) -> bool {
        self.status.core_dumped()
    }
}

async fn line(mut lines: Lines, skip: usize, text: &str) -> String {
    let find = |lines: &[String]| lines.iter().skip(skip).find(|line| line.contains(text)).cloned();
    let found = timeout(LIMIT, lines.wait_for(|lines| find(lines).is_some())).await.map(drop);
    let lines = lines.borrow();
    if let Some(line) = found.ok().and_then(|()| find(&lines)) {
        return line;
    }
    let seen = lines.iter().skip(skip).cloned().collect::<Vec<_>>().join("\n");
    panic!("nobody said {text:?}, but\n{seen}");
}

#[expect(clippy::disallowed_methods, reason = "the thread ends with the pipe that it reads")]
fn lines(pipe: impl Read + Send + 'static) -> Lines {
    let (sender, receiver) = watch::channel(Vec::new());
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            sender.send_modify(|lines: &mut Vec<String>| lines.push(line));
        }
    });
    receiver
}
