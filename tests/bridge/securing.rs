//! The connection that carries only scenarios: a lockdown comes through when the main one is busy, cut or away.

use std::time::Instant;

use verkada2mqtt::{
    bridge::Input,
    hass::Style,
    model::{Answer, JournalEvent, LinkEvent, Message, Outcome, Protocol, Receipt},
};

use super::{
    Bench, active,
    bench::{ms, secs, settings},
    join_securing,
};

fn securing(bench: &mut Bench, event: LinkEvent) {
    bench.input(Input::Securing(event));
}

/// A session of the securing connection that is proven; what it said on the way is dropped.
fn join(bench: &mut Bench) {
    join_securing(bench);
    bench.take_log();
}

fn resume(bench: &mut Bench, heard_at: Option<Instant>) {
    securing(bench, LinkEvent::Resumed { protocol: Protocol::V5, heard_at });
}

/// Feeds a message that counts, or a copy that does not.
fn feed(bench: &mut Bench, payload: &str, counts: bool, change: impl FnOnce(&mut Message)) {
    let mut message = bench.message("verkada/scenario/s-1/set", payload);
    change(&mut message);
    if counts {
        bench.count_command();
    }
    securing(bench, LinkEvent::Message(message));
}

/// What the broker kept comes before any heartbeat.
const fn kept(message: &mut Message) {
    message.echo_sent_at = None;
}

fn sent(bench: &mut Bench) -> usize {
    bench.take_log().iter().filter(|line| line.starts_with(">activate")).count()
}

fn last(bench: &Bench) -> (String, String) {
    let result = bench.last_result();
    (result["outcome"].as_str().unwrap().to_owned(), result["reason"].as_str().unwrap_or("-").to_owned())
}

#[test]
fn a_lockdown_is_executed_once_whichever_connection_brings_it_first() {
    for payload in ["ON", r#"{"action":"ON","id":"x"}"#] {
        let mut bench = Bench::settled();
        join(&mut bench);
        feed(&mut bench, payload, true, |_| {});
        assert_eq!(sent(&mut bench), 1);
        let copy = bench.message("verkada/scenario/s-1/set", payload);
        bench.link(LinkEvent::Message(copy));
        bench.expect(&[]);

        let mut bench = Bench::settled();
        join(&mut bench);
        bench.command("scenario/s-1", payload);
        assert_eq!(sent(&mut bench), 1);
        feed(&mut bench, payload, false, |_| {});
        bench.expect(&[]);
        assert_eq!(bench.bridge.status(bench.now).books.received(), 1);
    }
}

#[test]
fn a_copy_that_a_stall_held_up_is_known_however_long_that_lasted() {
    for main_first in [true, false] {
        let mut bench = Bench::settled();
        join(&mut bench);
        let stalled = bench.now.mono;
        bench.run(secs(1));
        let message = bench.message("verkada/scenario/s-1/set", "ON");
        let mut copy = message.clone();
        bench.count_command();
        let input = |main: bool, message| {
            if main {
                Input::Link(LinkEvent::Message(message))
            } else {
                Input::Securing(LinkEvent::Message(message))
            }
        };
        bench.input(input(main_first, message));
        assert_eq!(sent(&mut bench), 1);
        active(&mut bench, true);
        bench.answer("activate s-1", Ok(Answer::Taken));
        bench.run(secs(1));
        bench.command("scenario/s-1", r#"{"action":"OFF","id":"x"}"#);
        active(&mut bench, false);
        bench.answer("release s-1", Ok(Answer::Taken));
        bench.run(secs(20));
        bench.take_log();
        copy.received_at = bench.now.mono;
        copy.echo_sent_at = Some(stalled);
        bench.input(input(!main_first, copy));
        bench.expect(&[]);
    }
}

#[test]
fn a_copy_that_a_stall_held_up_since_the_session_began_is_known() {
    let mut bench = Bench::settled();
    securing(&mut bench, LinkEvent::Up { protocol: Protocol::V5, max_packet: None });
    bench.run(secs(1));
    let mut copy = bench.message("verkada/scenario/s-1/set", "ON");
    bench.command("scenario/s-1", "ON");
    assert_eq!(sent(&mut bench), 1);
    active(&mut bench, true);
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.run(secs(9));
    bench.take_log();
    copy.received_at = bench.now.mono;
    copy.echo_sent_at = None;
    securing(&mut bench, LinkEvent::Message(copy));
    bench.expect(&[]);
}

#[test]
fn a_retained_message_does_not_stand_for_a_live_one() {
    let mut bench = Bench::settled();
    bench.command_with("scenario/s-1", "ON", |message| message.retain = true);
    bench.run(secs(30));
    bench.take_log();
    let heard_at = bench.now.mono.checked_sub(secs(20));
    resume(&mut bench, heard_at);
    feed(&mut bench, "ON", true, kept);
    assert_eq!(sent(&mut bench), 1, "somebody pressed it again");
}

#[test]
fn a_lockdown_comes_through_while_the_main_connection_is_cut() {
    let mut bench = Bench::settled();
    join(&mut bench);
    bench.link(LinkEvent::Down("cut".to_owned()));
    feed(&mut bench, "ON", true, |_| {});
    assert_eq!(sent(&mut bench), 1);
    active(&mut bench, true);
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.expect(&[]);
    bench.join();
    let log = bench.take_log();
    let result = "!scenario/s-1/result activate done -".to_owned();
    assert!(log.contains(&result), "what came of it is told once there is somebody to tell: {log:?}");
}

#[test]
fn what_opens_is_left_to_the_main_connection() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
    join(&mut bench);
    feed(&mut bench, "OFF", false, |_| {});
    bench.expect(&[]);
    bench.command("scenario/s-1", "OFF");
    assert!(bench.take_log().contains(&">release s-1".to_owned()));
    let mut message = bench.message("verkada/door/d-1/set", "UNLOCK");
    message.payload = "UNLOCK".into();
    securing(&mut bench, LinkEvent::Message(message));
    bench.expect(&[]);
}

#[test]
fn a_lockdown_that_the_broker_kept_is_taken_if_it_can_be_a_minute_old_at_most() {
    for (heard, outcome) in
        [(Some(secs(60)), None), (Some(ms(60_001)), Some("refused")), (None, Some("refused"))]
    {
        let mut bench = Bench::settled();
        let heard_at = heard.map(|ago| bench.now.mono.checked_sub(ago).unwrap());
        resume(&mut bench, heard_at);
        feed(&mut bench, "ON", true, kept);
        if outcome.is_none() {
            assert_eq!(sent(&mut bench), 1, "{heard:?}");
            continue;
        }
        assert_eq!(sent(&mut bench), 0, "{heard:?}");
        assert_eq!(last(&bench), ("refused".to_owned(), "resumed_session".to_owned()));
        assert_eq!(bench.held("bridge/lockdown_alarm").as_deref(), Some("ON"), "somebody has to know");
    }
}

#[test]
fn a_release_that_the_broker_kept_is_never_executed() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
    let heard_at = bench.now.mono.checked_sub(secs(1));
    resume(&mut bench, heard_at);
    feed(&mut bench, "OFF", true, kept);
    assert_eq!(last(&bench), ("refused".to_owned(), "resumed_session".to_owned()));
    assert_eq!(bench.held("bridge/lockdown_alarm").as_deref(), Some("OFF"));
    bench.run(secs(5));
    assert!(bench.open.is_empty());
    bench.take_log();
    // One that the main connection had brought is known already.
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
    bench.command("scenario/s-1", "OFF");
    bench.take_log();
    let heard_at = bench.now.mono.checked_sub(secs(1));
    resume(&mut bench, heard_at);
    feed(&mut bench, "OFF", false, kept);
    bench.expect(&[]);
}

#[test]
fn what_the_main_connection_brought_meanwhile_is_not_taken_on_again() {
    let mut bench = Bench::settled();
    join(&mut bench);
    securing(&mut bench, LinkEvent::Down("cut".to_owned()));
    bench.command("scenario/s-1", "ON");
    active(&mut bench, true);
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.run(secs(5));
    bench.command("scenario/s-1", "OFF");
    active(&mut bench, false);
    bench.answer("release s-1", Ok(Answer::Taken));
    bench.run(secs(40));
    bench.take_log();
    let heard_at = bench.now.mono.checked_sub(secs(46));
    resume(&mut bench, heard_at);
    feed(&mut bench, "ON", false, kept);
    assert_eq!(sent(&mut bench), 0, "the lockdown was released since");
}

#[test]
fn what_the_broker_delivers_again_after_a_crash_is_not_taken_on_again() {
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "ON");
    active(&mut bench, true);
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.run(secs(1));
    bench.command("scenario/s-1", "OFF");
    active(&mut bench, false);
    bench.answer("release s-1", Ok(Answer::Taken));
    bench.take_log();
    bench.restart_with_journal(settings(Style::Device), secs(20));
    bench.join();
    bench.take_log();
    let heard_at = bench.now.mono.checked_sub(secs(22));
    resume(&mut bench, heard_at);
    let again = |message: &mut Message| {
        kept(message);
        message.dup = true;
    };
    feed(&mut bench, "ON", false, again);
    assert_eq!(sent(&mut bench), 0);
    // One that was not taken on before is.
    feed(&mut bench, r#"{"action":"ON","id":"new"}"#, true, again);
    assert_eq!(sent(&mut bench), 1);
    // Nor is a press without an id a copy of one that has an id.
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", r#"{"action":"ON","id":"named"}"#);
    active(&mut bench, true);
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.run(secs(1));
    active(&mut bench, false);
    bench.take_log();
    bench.restart_with_journal(settings(Style::Device), secs(20));
    bench.join();
    bench.take_log();
    let heard_at = bench.now.mono.checked_sub(secs(22));
    resume(&mut bench, heard_at);
    feed(&mut bench, "ON", true, again);
    assert_eq!(sent(&mut bench), 1);
}

#[test]
fn a_message_is_acknowledged_once_what_came_of_it_is_durable() {
    let receipt = |packet| Receipt { epoch: 1, packet };
    let mut bench = Bench::settled();
    join(&mut bench);
    bench.journals = false;
    let message = bench.message("verkada/scenario/s-1/set", "ON");
    bench.count_command();
    securing(&mut bench, LinkEvent::Waiting(message, receipt(7)));
    assert_eq!(sent(&mut bench), 1, "the lockdown itself waits for nothing");
    assert_eq!(bench.bridge.next_receipt(), None);
    let number = bench.records.last().unwrap().number;
    bench.input(Input::Journal(JournalEvent::Written { number, head: "aa".to_owned() }));
    assert_eq!(bench.bridge.next_receipt(), Some(receipt(7)));
    assert_eq!(bench.bridge.next_receipt(), None);
    // Where nothing can be written, the broker must not hold it back for ever.
    let message = bench.message("verkada/scenario/s-1/set", r#"{"action":"ON","id":"y"}"#);
    bench.count_command();
    securing(&mut bench, LinkEvent::Waiting(message, receipt(8)));
    assert_eq!(bench.bridge.next_receipt(), None);
    bench.input(Input::Journal(JournalEvent::Broken("no space".to_owned())));
    assert_eq!(bench.bridge.next_receipt(), Some(receipt(8)));
    bench.take_log();
}

#[test]
fn scenarios_are_available_while_either_connection_is_proven_and_doors_with_the_main_one() {
    let availability = |bench: &Bench| {
        ["door/d-1/availability", "scenario/s-1/availability"].map(|topic| bench.held(topic).unwrap())
    };
    let mut bench = Bench::settled();
    join(&mut bench);
    assert_eq!(availability(&bench), ["online", "online"]);
    bench.link(LinkEvent::Unproven("the broker is stalled".to_owned()));
    bench.run(secs(11));
    assert_eq!(availability(&bench), ["offline", "online"]);
    securing(&mut bench, LinkEvent::Unproven("the broker is stalled".to_owned()));
    bench.run(secs(9));
    assert_eq!(availability(&bench), ["offline", "online"], "a short while is forgiven");
    bench.run(secs(2));
    assert_eq!(availability(&bench), ["offline", "offline"]);
    bench.link(LinkEvent::Proven);
    assert_eq!(availability(&bench), ["online", "online"]);
    let problem = bench.held("bridge/problem").unwrap();
    assert!(problem.starts_with("a lockdown has no connection of its own"), "{problem}");
    securing(&mut bench, LinkEvent::Proven);
    assert_eq!(bench.held("bridge/problem").as_deref(), Some("None"));
    assert_eq!(bench.bridge.status(bench.now).books.ended(Outcome::Done), 0);
    bench.take_log();
}

#[test]
fn a_refusal_that_is_about_one_connection_leaves_the_other_its_chance() {
    let mut bench = Bench::settled();
    join(&mut bench);
    let stale = bench.now.mono.checked_sub(secs(61));
    bench.command_with("scenario/s-1", "ON", |message| message.echo_sent_at = stale);
    assert_eq!(last(&bench), ("refused".to_owned(), "link_stale".to_owned()));
    feed(&mut bench, "ON", true, |_| {});
    assert_eq!(sent(&mut bench), 1, "the connection for lockdowns is fresh");

    let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
    let heard_at = bench.now.mono.checked_sub(secs(1));
    resume(&mut bench, heard_at);
    feed(&mut bench, "OFF", true, kept);
    assert_eq!(last(&bench), ("refused".to_owned(), "resumed_session".to_owned()));
    bench.command("scenario/s-1", "OFF");
    assert!(bench.take_log().contains(&">release s-1".to_owned()), "pressed again, on the main connection");
}

#[test]
fn a_securing_connection_that_lacks_is_a_problem_after_ten_seconds_over_any_number_of_attempts() {
    let problem = |bench: &Bench| bench.held("bridge/problem").unwrap();
    let mut bench = Bench::settled();
    join(&mut bench);
    for second in 0..9 {
        securing(&mut bench, LinkEvent::Down("the broker closed it".to_owned()));
        securing(&mut bench, LinkEvent::Up { protocol: Protocol::V5, max_packet: None });
        assert_eq!(problem(&bench), "None", "after {second} s");
        bench.run(secs(1));
    }
    securing(&mut bench, LinkEvent::Down("the broker closed it".to_owned()));
    bench.run(ms(990));
    assert_eq!(problem(&bench), "None");
    bench.run(ms(10));
    assert!(problem(&bench).ends_with("because the broker closed it"), "{}", problem(&bench));
    let (deadline, wake) = bench.bridge.next_deadline(bench.now).unwrap();
    assert!(deadline > bench.now.mono, "{wake:?} is never over");
    securing(&mut bench, LinkEvent::Up { protocol: Protocol::V5, max_packet: None });
    securing(&mut bench, LinkEvent::Proven);
    assert_eq!(problem(&bench), "None");
    bench.take_log();
}

#[test]
fn an_unproven_securing_connection_wakes_nobody_for_ever() {
    let mut bench = Bench::settled();
    join(&mut bench);
    securing(&mut bench, LinkEvent::Unproven("the broker is stalled".to_owned()));
    bench.run(secs(11));
    let (deadline, wake) = bench.bridge.next_deadline(bench.now).unwrap();
    assert!(deadline > bench.now.mono, "{wake:?} is never over");
    bench.take_log();
}

#[test]
fn a_lockdown_that_was_pressed_during_a_restart_waits_for_no_list() {
    let mut bench = Bench::settled();
    bench.restart_with_journal(settings(Style::Device), secs(5));
    bench.auto = false;
    bench.link(LinkEvent::Up { protocol: Protocol::V5, max_packet: None });
    let heard_at = bench.now.mono.checked_sub(secs(6));
    resume(&mut bench, heard_at);
    feed(&mut bench, "OFF", true, kept);
    assert_eq!(last(&bench), ("refused".to_owned(), "resumed_session".to_owned()));
    feed(&mut bench, "ON", true, kept);
    assert_eq!(sent(&mut bench), 1);
}

#[test]
fn a_lockdown_that_comes_while_the_gateway_stops_is_sent_or_taken_up_by_the_next_run() {
    let mut bench = Bench::settled();
    join(&mut bench);
    bench.input(Input::Stop);
    let message = bench.message("verkada/scenario/s-1/set", "ON");
    bench.count_command();
    securing(&mut bench, LinkEvent::Waiting(message, Receipt { epoch: 1, packet: 7 }));
    assert_eq!(sent(&mut bench), 1);
    assert!(bench.bridge.next_receipt().is_some(), "it stands in the journal");
    bench.restart_with_journal(settings(Style::Device), secs(3));
    bench.join();
    bench.run(secs(3));
    assert_eq!(sent(&mut bench), 1, "nobody saw the end of the first");
    bench.take_log();
}
