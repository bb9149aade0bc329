//! A broker whose packets come damaged: no byte of them makes the link panic, hang, or take anything for proven.

use std::time::Duration;

use tokio::time::timeout;
use verkada2mqtt::{
    model::{LinkEvent, ProtocolChoice},
    mqtt::connect,
    rng::Rng,
};

use crate::{
    BOTH, COMMAND, SEED,
    environment::number,
    message, ms,
    scripted_broker::{Broker, LIMIT, Peer, Seen, Sent, encode_publish},
    settings,
};

/// What happens to one byte of what the broker sends.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// One bit of it is another.
    Flip(usize, u32),
    /// It and all that follows is missing.
    Cut(usize),
}

/// What a broker sends, damaged on the way.
struct Wire {
    peer: Peer,
    damage: Damage,
    passed: usize,
}

impl Wire {
    /// Says whether the packet came through whole, as far as its length goes.
    async fn send(&mut self, packet: &[u8]) -> bool {
        let mut packet = packet.to_vec();
        let begin = self.passed;
        self.passed += packet.len();
        match self.damage {
            Damage::Flip(at, bit) if (begin..self.passed).contains(&at) => packet[at - begin] ^= 1 << bit,
            Damage::Cut(at) if (begin..self.passed).contains(&at) => packet.truncate(at - begin),
            Damage::Flip(..) | Damage::Cut(_) => {}
        }
        self.peer.raw(&packet).await;
        packet.len() == self.passed - begin
    }

    /// The number of the packet that the client subscribes with or acknowledges a command with. One that has left, or waits
    /// for the rest of a packet, does neither.
    async fn answer(&mut self, within: Duration) -> Option<u16> {
        let answer = async {
            loop {
                match self.peer.read().await {
                    Seen::Subscribe(pkid, _) | Seen::Ack(pkid) => return Some(pkid),
                    Seen::Gone => return None,
                    _ => {}
                }
            }
        };
        timeout(within, answer).await.ok().flatten()
    }
}

const fn connack(protocol: ProtocolChoice) -> &'static [u8] {
    match protocol {
        ProtocolChoice::V311 => &[0x20, 2, 0, 0],
        ProtocolChoice::V5 | ProtocolChoice::Auto => &[0x20, 3, 0, 0, 0],
    }
}

/// The reason in CONNACK: what a broker refuses may be tried again only later, and has tests of its own.
const REASON: usize = 3;

fn suback(protocol: ProtocolChoice, pkid: u16) -> Vec<u8> {
    let [high, low] = pkid.to_be_bytes();
    match protocol {
        ProtocolChoice::V311 => vec![0x90, 4, high, low, 1, 1],
        ProtocolChoice::V5 | ProtocolChoice::Auto => vec![0x90, 5, high, low, 0, 1, 1],
    }
}

fn command(protocol: ProtocolChoice) -> Vec<u8> {
    let version = if protocol == ProtocolChoice::V311 { 4 } else { 5 };
    let retained = Sent { qos: 1, pkid: 7, retain: true, ..Sent::new(COMMAND, "UNLOCK") };
    encode_publish(version, &retained)
}

/// One session that is damaged, and one that is not. Gives how many messages the first one brought.
async fn survives(broker: &Broker, protocol: ProtocolChoice, damage: Damage) -> usize {
    let mut link = connect(settings(broker.port(), protocol), SEED).unwrap();
    let mut peer = broker.accept().await;
    peer.hello().await;
    let mut wire = Wire { peer, damage, passed: 0 };
    let whole = wire.send(connack(protocol)).await;
    if whole
        && let Some(pkid) = wire.answer(ms(200)).await
        && wire.send(&suback(protocol, pkid)).await
        && wire.send(&command(protocol)).await
    {
        wire.answer(ms(200)).await;
    }
    drop(wire);

    let client = broker.serve().await;
    let mut messages = 0;
    loop {
        let event =
            timeout(LIMIT, link.next()).await.unwrap_or_else(|_| panic!("{damage:?}: no new session"));
        match event {
            LinkEvent::Proven => break,
            // No heartbeat came back in the damaged session, so nothing in it has an age: the gate lets nothing open.
            LinkEvent::Message(message) => {
                assert_eq!(message.echo_sent_at, None, "{damage:?}");
                messages += 1;
            }
            _ => {}
        }
    }
    client.publish(Sent::new(COMMAND, "LOCK"));
    let heard = message(&mut link).await;
    assert_eq!((heard.topic.as_str(), heard.payload.as_ref()), (COMMAND, b"LOCK".as_ref()), "{damage:?}");
    assert!(heard.echo_sent_at.is_some(), "{damage:?}");
    messages
}

/// `DAMAGES` and `SEED` in the environment ask for more damages than each byte once or twice, and for others.
#[tokio::test]
async fn packets_damaged_at_any_byte_end_in_a_new_session_and_prove_nothing() {
    let (damages, seed) = (number("DAMAGES").unwrap_or(0), number("SEED").unwrap_or(1));
    println!("seed {seed}");
    let mut random = Rng::new(seed);
    for protocol in BOTH {
        let broker = Broker::start().await;
        let bytes = connack(protocol).len() + suback(protocol, 1).len() + command(protocol).len();
        let mut messages = 0;
        for at in 0..bytes {
            messages += survives(&broker, protocol, Damage::Cut(at)).await;
        }
        assert_eq!(messages, 0, "{protocol:?}: half a message is none");
        let more = (0..damages).map(|_| random.below(u64::try_from(bytes).unwrap())).collect::<Vec<_>>();
        let each = (0..bytes).chain(0..bytes).chain(more.into_iter().map(|at| usize::try_from(at).unwrap()));
        for at in each.filter(|at| *at != REASON) {
            let bit = u32::try_from(random.below(8)).unwrap();
            messages += survives(&broker, protocol, Damage::Flip(at, bit)).await;
        }
        assert!(messages > bytes / 2, "{protocol:?}: only {messages} damaged messages came through");
    }
}
