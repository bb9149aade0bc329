//! A broker whose packets come damaged: no byte of them makes the link panic, hang, or take anything for proven.

use tokio::time::timeout;
use verkada2mqtt::{
    model::{LinkEvent, ProtocolChoice},
    mqtt::connect,
    rng::Rng,
};

use crate::{
    BOTH, COMMAND, SEED, message, ms,
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

/// One session that is damaged, and one that is not.
async fn survives(broker: &Broker, protocol: ProtocolChoice, damage: Damage) {
    let mut link = connect(settings(broker.port(), protocol), SEED).unwrap();
    let mut peer = broker.accept().await;
    peer.hello().await;
    let mut wire = Wire { peer, damage, passed: 0 };
    let whole = wire.send(connack(protocol)).await;
    // A client that waits for the rest of a packet, or has left, subscribes to nothing.
    let subscribed = timeout(ms(if whole { 200 } else { 0 }), async {
        loop {
            match wire.peer.read().await {
                Seen::Subscribe(pkid, _) => return Some(pkid),
                Seen::Gone => return None,
                _ => {}
            }
        }
    });
    if let Ok(Some(pkid)) = subscribed.await
        && wire.send(&suback(protocol, pkid)).await
    {
        wire.send(&command(protocol)).await;
    }
    drop(wire);

    let client = broker.serve().await;
    loop {
        let event =
            timeout(LIMIT, link.next()).await.unwrap_or_else(|_| panic!("{damage:?}: no new session"));
        match event {
            LinkEvent::Proven => break,
            // No heartbeat came back in the damaged session, so nothing in it has an age: the gate lets nothing open.
            LinkEvent::Message(message) => assert_eq!(message.echo_sent_at, None, "{damage:?}"),
            _ => {}
        }
    }
    client.publish(Sent::new(COMMAND, "LOCK"));
    let heard = message(&mut link).await;
    assert_eq!((heard.topic.as_str(), heard.payload.as_ref()), (COMMAND, b"LOCK".as_ref()), "{damage:?}");
    assert!(heard.echo_sent_at.is_some(), "{damage:?}");
}

#[tokio::test]
async fn packets_damaged_at_any_byte_end_in_a_new_session_and_prove_nothing() {
    let seed = 1;
    println!("seed {seed}");
    let mut random = Rng::new(seed);
    for protocol in BOTH {
        let broker = Broker::start().await;
        let bytes = connack(protocol).len() + suback(protocol, 1).len() + command(protocol).len();
        for at in 0..bytes {
            let bit = u32::try_from(random.below(8)).unwrap();
            survives(&broker, protocol, Damage::Cut(at)).await;
            if at != REASON {
                survives(&broker, protocol, Damage::Flip(at, bit)).await;
                survives(&broker, protocol, Damage::Flip(at, (bit + 3) % 8)).await;
            }
        }
    }
}
