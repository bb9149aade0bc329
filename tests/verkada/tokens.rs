//! A month of session tokens in made-up time: each lives for half an hour, some die early, some cannot be had for a while.
//! `DAYS` says for how long, `SEED` repeats a run.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use verkada2mqtt::{
    clock,
    model::{Fault, Request},
    rng::Rng,
    verkada::{Client, TokenHealth},
};

use crate::{
    DOORS, Got, MINT, PATIENCE, Server, Step, UNLOCK, answer, ask, call, environment::number, good, says,
    unlock_call,
};

/// How long a token lives, in minutes.
const LIFE: u64 = 30;
/// At this age the next one is made.
const RENEWED_AT: Duration = Duration::from_mins(25);

/// The vendor's books.
#[derive(Debug)]
struct Vendor {
    rng: Rng,
    /// The time that is made up, in minutes.
    minute: u64,
    /// When each token was made.
    born: Vec<u64>,
    /// Tokens before this one were called back.
    called_back: usize,
    /// Until when no token can be had.
    away_until: u64,
    asked: u64,
    expired: u64,
    unlocks: u64,
}

impl Vendor {
    fn answer(&mut self, got: &Got) -> Step {
        if got.line == MINT {
            self.asked += 1;
            if self.minute < self.away_until {
                return says(503, "Service unavailable");
            }
            self.born.push(self.minute);
            return answer(200, &format!(r#"{{"token":"token-{}"}}"#, self.born.len() - 1));
        }
        let token = got.headers["x-verkada-auth"].strip_prefix("token-").unwrap();
        let token: usize = token.parse().unwrap();
        if token < self.called_back || self.minute - self.born[token] >= LIFE {
            self.expired += 1;
            return says(401, "Token expired");
        }
        self.unlocks += u64::from(got.line == UNLOCK);
        good(got)
    }

    /// Time passes, in which something may go wrong.
    fn pass(&mut self, minutes: u64) {
        self.minute += minutes;
        if self.rng.one_in(100) {
            self.called_back = self.born.len();
        }
        if self.rng.one_in(200) {
            self.away_until = self.minute + 1 + self.rng.below(90);
        }
    }

    /// Whether a call can be done now: a token can be had, or the last one is good.
    fn serves(&self) -> bool {
        let last = self.born.len().checked_sub(1).filter(|last| *last >= self.called_back);
        self.minute >= self.away_until || last.is_some_and(|last| self.minute - self.born[last] < LIFE)
    }
}

/// Waits until a renewal that the last call began has ended: time stands still, so what is not there yet comes by turns alone.
async fn renewed(client: &Client, vendor: &Mutex<Vendor>, asked: u64) {
    let began = clock::now().utc;
    let is_due = || matches!(client.token_health(), TokenHealth::Valid { age } if age >= RENEWED_AT);
    while is_due() {
        tokio::task::yield_now().await;
        let (tried, away) = {
            let vendor = vendor.lock().unwrap();
            (vendor.asked > asked, vendor.minute < vendor.away_until)
        };
        let waited = Duration::try_from(clock::now().utc.duration_since(began)).unwrap();
        assert!(waited < PATIENCE, "no renewal at {:?}", vendor.lock().unwrap());
        // A failed one is not seen here, nor that the next is put off for half a minute.
        let enough = if tried { Duration::from_millis(5) } else { Duration::from_millis(100) };
        if (away || !tried) && waited > enough {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_month_of_renewals_costs_no_call_that_could_be_done() {
    let (days, seed) = (number("DAYS").unwrap_or(30), number("SEED").unwrap_or(147));
    println!("{days} days, seed {seed}");
    let vendor = Arc::new(Mutex::new(Vendor {
        rng: Rng::new(seed),
        minute: 0,
        born: Vec::new(),
        called_back: 0,
        away_until: 0,
        asked: 0,
        expired: 0,
        unlocks: 0,
    }));
    // Apart, for as long as its thread lives time moves by our hand alone.
    let books = Arc::clone(&vendor);
    let server = Server::start_apart(move |got| books.lock().unwrap().answer(got)).await;
    let client = server.client();
    let mut rng = Rng::new(seed);
    let (mut unlocked, mut failed) = (0, 0);
    while vendor.lock().unwrap().minute < days * 24 * 60 {
        let minutes = 2 + rng.below(9);
        tokio::time::advance(Duration::from_mins(minutes)).await;
        let (serves, asked) = {
            let mut vendor = vendor.lock().unwrap();
            vendor.pass(minutes);
            (vendor.serves(), vendor.asked)
        };
        let unlocks = rng.one_in(3);
        let call = if unlocks { unlock_call() } else { call(Request::ListDoors) };
        match ask(&client, &call).await.result {
            Ok(_) => unlocked += u64::from(unlocks),
            Err(Fault::NotSent(_)) if !serves => failed += 1,
            Err(fault) => panic!("minute {}: {fault:?}", vendor.lock().unwrap().minute),
        }
        renewed(&client, &vendor, asked).await;
    }
    let vendor = vendor.lock().unwrap();
    println!(
        "{} tokens, {} calls with an old one, {unlocked} unlocks, {} readings, {failed} calls that could not be done",
        vendor.born.len(),
        vendor.expired,
        server.count(DOORS)
    );
    assert_eq!(vendor.unlocks, unlocked, "each unlock was executed once, or its failure told");
    let made = u64::try_from(vendor.born.len()).unwrap();
    assert!(made >= days * 48, "{made} tokens cannot have lasted");
    assert!(made <= days * 72, "{made} tokens are more than were needed");
    assert!(
        vendor.expired * 10 < made,
        "{} calls had an old token: it is not renewed in time",
        vendor.expired
    );
    assert!(days < 30 || (vendor.expired > 20 && failed > 20), "the vendor made no trouble");
}
