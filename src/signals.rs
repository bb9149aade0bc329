//! Signals of the operating system, as messages.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
    iterator::Signals,
};
use tokio::sync::mpsc;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: an orderly stop. The second one ends the process at once.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// Begins to listen; signals arrive in the receiver, repeated ones may fall together.
///
/// # Errors
/// If the operating system does not let us.
pub fn listen() -> io::Result<mpsc::Receiver<Signal>> {
    Ok(listen_and_send()?.1)
}

/// As [`listen`], with a way to ask for the same from within the process.
///
/// # Errors
/// If the operating system does not let us.
pub fn listen_and_send() -> io::Result<(mpsc::Sender<Signal>, mpsc::Receiver<Signal>)> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // Registered in this order, the first signal arms what ends the process at the second.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = mpsc::channel(8);
    let within = sender.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let asked = if signal == SIGHUP { Signal::Reload } else { Signal::Stop };
            if sender.blocking_send(asked).is_err() {
                return;
            }
        }
    })?;
    Ok((within, receiver))
}

/// Waits for a stop, where there is nothing to be read again.
pub async fn stopped(signals: &mut mpsc::Receiver<Signal>) {
    while signals.recv().await == Some(Signal::Reload) {}
}
