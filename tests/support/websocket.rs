//! The server side of a websocket, as much of RFC 6455 as carries MQTT.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

use crate::scripted_broker::Stream;

/// Answers the upgrade request and gives the bytes inside the frames.
pub(crate) async fn accept(mut stream: Box<dyn Stream>) -> std::io::Result<Box<dyn Stream>> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let request = String::from_utf8(request).unwrap();
    assert!(request.starts_with("GET /mqtt HTTP/1.1\r\n"), "{request}");
    let header = |name: &str| {
        let line =
            request.lines().find(|line| line.to_ascii_lowercase().starts_with(name)).expect("the header");
        line.split_once(':').unwrap().1.trim().to_owned()
    };
    assert_eq!(header("sec-websocket-protocol"), "mqtt");
    let salted = header("sec-websocket-key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, salted.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
        base64(digest.as_ref())
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.flush().await?;
    let (outer, inner) = duplex(64 * 1024);
    let (from_client, to_client) = split(stream);
    let (from_broker, to_broker) = split(inner);
    tokio::spawn(unwrap_frames(from_client, to_broker));
    tokio::spawn(wrap_frames(from_broker, to_client));
    Ok(Box::new(outer))
}

async fn unwrap_frames(
    mut client: ReadHalf<Box<dyn Stream>>,
    mut broker: WriteHalf<DuplexStream>,
) -> std::io::Result<()> {
    loop {
        let opcode = client.read_u8().await? & 0x0F;
        let short = client.read_u8().await?;
        assert_ne!(short & 0x80, 0, "a client masks its frames");
        let length = match short & 0x7F {
            126 => usize::from(client.read_u16().await?),
            127 => usize::try_from(client.read_u64().await?).unwrap(),
            length => usize::from(length),
        };
        let mut mask = [0; 4];
        client.read_exact(&mut mask).await?;
        let mut payload = vec![0; length];
        client.read_exact(&mut payload).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match opcode {
            0x0 | 0x2 => broker.write_all(&payload).await?,
            0x8 => return Ok(()),
            _ => {}
        }
    }
}

async fn wrap_frames(
    mut broker: ReadHalf<DuplexStream>,
    mut client: WriteHalf<Box<dyn Stream>>,
) -> std::io::Result<()> {
    let mut payload = vec![0; 32 * 1024];
    loop {
        let length = broker.read(&mut payload).await?;
        if length == 0 {
            return client.shutdown().await;
        }
        let mut frame = vec![0x82, 126];
        frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        frame.extend_from_slice(&payload[..length]);
        client.write_all(&frame).await?;
        client.flush().await?;
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_usize, |group, byte| group << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = char::from(LETTERS[group >> (18 - 6 * place) & 0x3F]);
            text.push(if place > chunk.len() { '=' } else { letter });
        }
    }
    text
}
