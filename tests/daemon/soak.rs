//! The gateway for long, and with many doors: what it takes of memory and descriptors stays where it is.

use std::fs;

use verkada2mqtt::{clock, simulator::organisation::Organisation};

use crate::{
    environment::number,
    mqtt::{Client, Message, Version},
    process::Process,
    rig::{Rig, eventually, ready},
};

const SECRET: &str = "secret-of-the-webhook";
/// Changes between two looks at memory and descriptors.
const SLICE: u64 = 500;
/// Changes under way at once.
const BATCH: usize = 25;
/// After so many changes the largest table is full, that of the events that were told: 50,000 ids, one and more a change. And
/// polls, which with webhooks come a minute apart, have brought at once what happens in one.
const WARM_AFTER: u64 = 100_000;
/// How fast its own memory may grow, for a thousand changes.
const SLOPE_KIB: f64 = 16.0;
/// What a run that is too short for a slope may add in all, while its tables and the allocator's pools fill.
const WARMING_KIB: f64 = 4_096.0;
const DESCRIPTORS: usize = 64;
/// The memory that a thousand doors have to fit in.
const ROOM_KIB: u64 = 64 * 1024;

/// What a process takes: of memory what is its own, without the pages of the program's file, which the kernel loads and drops.
#[derive(Debug, Clone, Copy)]
struct Taken {
    changes: u64,
    own_kib: u64,
    descriptors: usize,
}

impl Taken {
    fn by(gateway: &Process, changes: u64) -> Self {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap().count();
        Self { changes, own_kib: status(gateway, "RssAnon:"), descriptors }
    }
}

/// A line of what the kernel says of a process, in KiB.
fn status(gateway: &Process, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    value.split_whitespace().next().unwrap().parse().unwrap()
}

/// The slope of the line that fits best, in KiB a thousand changes.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a figure with two decimals")]
fn slope(taken: &[Taken]) -> f64 {
    let points: Vec<(f64, f64)> =
        taken.iter().map(|one| (one.changes as f64 / 1_000.0, one.own_kib as f64)).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let along: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    along / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}

#[test]
fn a_slope_is_that_of_the_line() {
    let taken = |changes, own_kib| Taken { changes, own_kib, descriptors: 0 };
    assert!((slope(&[taken(0, 100), taken(1_000, 120), taken(2_000, 140)]) - 20.0).abs() < 1e-9);
    assert!((slope(&[taken(0, 100), taken(500, 110), taken(1_000, 100)])).abs() < 1e-9);
}

/// Lets each of the doors be used in turn, and waits until all of it was told.
async fn changes(rig: &Rig, count: usize) {
    let client = Client::connect(Version::V5, rig.broker.address()).await;
    let (doors, people) = (rig.world.doors(), rig.world.people());
    let doors: Vec<_> = doors.iter().filter(|door| door.api_control).collect();
    let is_news =
        |message: &&Message| message.topic.starts_with("verkada/door/") && message.topic.ends_with("/event");
    for done in (0..count).step_by(BATCH) {
        for change in done..done + BATCH {
            let person = &people[change % people.len()].id;
            rig.world.badge(&doors[change % doors.len()].id, Some(person)).unwrap();
        }
        let all = |heard: &[Message]| (heard.iter().filter(is_news).count() >= done + BATCH).then_some(());
        client.until("what happened", all).await;
    }
}

#[tokio::test]
async fn memory_and_descriptors_stay_where_they_are() {
    let total = number("CYCLES").unwrap_or(2_000);
    let mut rig = Rig::start_with_webhooks(SECRET).await;
    rig.config.set("/log/level", "info");
    let gateway = rig.run_ready().await;
    // What happened in the second of the start is no news.
    let second = clock::now().utc.as_second();
    eventually("the next second", async || (clock::now().utc.as_second() > second).then_some(())).await;
    let mut taken = Vec::new();
    while taken.last().map_or(0, |last: &Taken| last.changes) < total {
        changes(&rig, usize::try_from(SLICE).unwrap()).await;
        let done = taken.last().map_or(0, |last: &Taken| last.changes) + SLICE;
        taken.push(Taken::by(&gateway, done));
        if done.is_multiple_of(10_000) {
            println!("{:?}", taken.last().unwrap());
        }
    }
    let (first, last) = (taken[0], taken[taken.len() - 1]);
    assert!(taken.iter().all(|one| one.descriptors <= DESCRIPTORS), "{taken:?}");
    assert!(last.descriptors <= first.descriptors + 2, "{taken:?}");
    taken.retain(|one| one.changes >= WARM_AFTER);
    let (slope, limit) = if taken.len() < 10 {
        let grown = last.own_kib.saturating_sub(first.own_kib);
        (f64::from(u32::try_from(grown).unwrap()), WARMING_KIB)
    } else {
        (slope(&taken), SLOPE_KIB)
    };
    println!("from {first:?} to {last:?}: {slope:.2} KiB, allowed are {limit}");
    assert!(slope <= limit, "{slope:.2} KiB; {taken:?}");
    assert_eq!(rig.acts().len(), 0);
}

#[tokio::test]
async fn a_thousand_doors_fit_in_64_mib() {
    let mut rig = Rig::of(Organisation::of_size(1_000, 100, 1)).await;
    rig.config.set("/log/level", "info");
    let gateway = rig.run();
    ready(&gateway).await;
    rig.all_is_shown().await;
    let peak = status(&gateway, "VmHWM:");
    println!("{peak} KiB at most");
    assert!(peak <= ROOM_KIB, "{peak} KiB");
}
