//! A question at the terminal whose answer nobody sees.

use std::io;

use secrecy::SecretString;

/// Asks at the terminal that controls the process, without showing what is typed.
///
/// # Errors
/// If there is no such terminal, or the question is broken off.
#[cfg(unix)]
pub(super) fn secret(question: &str) -> io::Result<SecretString> {
    use std::{
        fs::OpenOptions,
        io::{Read as _, Write as _},
    };

    let mut terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|error| io::Error::new(error.kind(), "there is no terminal to ask at"))?;
    let silent = unix::Silent::new(terminal.try_clone()?)?;
    terminal.write_all(question.as_bytes())?;
    let (mut typed, mut byte) = (typed::Line::default(), [0]);
    let ended = loop {
        if terminal.read(&mut byte)? == 0 {
            break false;
        }
        match byte[0] {
            b'\r' | b'\n' => break true,
            // Ctrl-C, Ctrl-D and Ctrl-\: signals are off, so that the terminal is put right in any case.
            0x03 | 0x04 | 0x1c => break false,
            0x08 | 0x7f => typed.pop(),
            0x15 => typed.clear(),
            other => typed.push(other),
        }
    };
    drop(silent);
    terminal.write_all(b"\n")?;
    if !ended {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "the question was broken off"));
    }
    typed.secret()
}

/// There is no way to ask on this system.
#[cfg(not(unix))]
pub(super) fn secret(_question: &str) -> io::Result<SecretString> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "codes cannot be asked for on this system"))
}

#[cfg(unix)]
mod typed {
    use std::io;

    use secrecy::SecretString;

    /// What was typed so far; it never moves to another place in memory.
    pub(super) struct Line {
        bytes: [u8; 256],
        length: usize,
    }

    impl Default for Line {
        fn default() -> Self {
            Self { bytes: [0; 256], length: 0 }
        }
    }

    impl Line {
        /// What has no room is left out: no code is so long.
        pub(super) fn push(&mut self, byte: u8) {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
        }

        /// Takes the last character away.
        pub(super) fn pop(&mut self) {
            while let Some(last) = self.length.checked_sub(1) {
                self.length = last;
                // Bytes that continue a character of UTF-8 go with its first one.
                if self.bytes.get(last).is_none_or(|byte| byte & 0xc0 != 0x80) {
                    return;
                }
            }
        }

        pub(super) const fn clear(&mut self) {
            self.length = 0;
        }

        pub(super) fn secret(&self) -> io::Result<SecretString> {
            let text = std::str::from_utf8(self.bytes.get(..self.length).unwrap_or_default())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "what was typed is not UTF-8"))?;
            if text.is_empty() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "no code was typed"));
            }
            Ok(text.into())
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::{fs::File, io};

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// A terminal that shows nothing and sends no signal; as before once this is dropped.
    pub(super) struct Silent {
        terminal: File,
        before: Termios,
    }

    impl Silent {
        pub(super) fn new(terminal: File) -> io::Result<Self> {
            let before = tcgetattr(&terminal)?;
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
            tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
            Ok(Self { terminal, before })
        }
    }

    impl Drop for Silent {
        fn drop(&mut self) {
            if let Err(error) = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before) {
                tracing::debug!(%error, "the terminal stays as it is");
            }
        }
    }
}
