//! One socket: handshake, keep-alive, reading and writing.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures_util::{SinkExt as _, StreamExt as _};
use rumqttc::mqttbytes::v5::{
    ConnAck, ConnAckProperties, Connect, ConnectReturnCode, DisconnectReasonCode, LastWill,
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt as _},
    net::{TcpStream, tcp::OwnedWriteHalf},
    sync::mpsc,
    time::timeout,
};
use tokio_util::codec::{Encoder as _, Framed, FramedRead};

use super::{
    Shared,
    hub::{ConnectionId, Event, kept_for, will_message},
    session::Terms,
    wire::{Codec, Incoming, MAX_PACKET_BYTES, Outgoing, Version, WireError},
};

/// How long a new connection may take to send its CONNECT.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long the last packet of a connection may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// The longest keep-alive, in seconds; an MQTT 5 client that asks for more, or none, is told this one.
const MAX_KEEP_ALIVE_SECONDS: u16 = 600;

/// After how many packets a reader lets others run, so that a fast publisher does not outrun its subscribers' writers.
const PACKETS_A_TURN: u32 = 64;

/// What the broker tells the task of a connection.
#[derive(Debug)]
pub(super) enum Order {
    /// Write these packets. The next batch comes only after this one was reported as written.
    Write(Vec<Outgoing>),
    /// Say why, as far as the protocol can, and close.
    Close(Option<DisconnectReasonCode>),
}

/// Serves one connection until it ends.
pub(super) async fn serve(socket: TcpStream, id: ConnectionId, shared: Arc<Shared>) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let mut framed = Framed::new(socket, Codec::default());
    let Some((version, keep_alive, terms, ack)) = handshake(&mut framed, id).await else { return };
    let (orders, inbox) = mpsc::unbounded_channel();
    shared.join(id, orders, terms, ack);
    let parts = framed.into_parts();
    let (read_half, write_half) = parts.io.into_split();
    let mut reader = FramedRead::new(read_half, parts.codec);
    *reader.read_buffer_mut() = parts.read_buf;
    let codec = Codec::of(version);
    tokio::select! {
        // The writer ends when the broker closes the connection; nothing read after that counts.
        biased;
        end = write(write_half, codec, inbox, || shared.handle(Event::Written { id })) => {
            if end.is_err() {
                shared.handle(Event::Lost { id, reason: None });
            }
        }
        () = read_until_lost(&mut reader, id, keep_alive, &shared) => {}
    }
    shared.leave(id);
}

/// Reads packets until the connection is lost, says so, and then waits to be closed.
async fn read_until_lost<R: AsyncRead + Unpin>(
    reader: &mut FramedRead<R, Codec>,
    id: ConnectionId,
    keep_alive: Option<Duration>,
    shared: &Shared,
) {
    let mut packets = 0_u32;
    let reason = loop {
        let next = match keep_alive {
            Some(limit) => timeout(limit, reader.next()).await,
            None => Ok(reader.next().await),
        };
        match next {
            Ok(Some(Ok(packet))) => shared.handle(Event::Received { id, packet }),
            Ok(Some(Err(error))) => {
                tracing::debug!(connection = id, %error, "connection ended by what it sent");
                break error.reason();
            }
            Ok(None) => break None,
            Err(_) => break Some(DisconnectReasonCode::KeepAliveTimeout),
        }
        packets = packets.wrapping_add(1);
        if packets.is_multiple_of(PACKETS_A_TURN) {
            tokio::task::yield_now().await;
        }
    };
    shared.handle(Event::Lost { id, reason });
    // The order to close is in the writer's inbox.
    std::future::pending::<()>().await;
}

/// Carries out orders until one says close, or the socket fails.
async fn write(
    mut socket: OwnedWriteHalf,
    mut codec: Codec,
    mut inbox: mpsc::UnboundedReceiver<Order>,
    written: impl Fn(),
) -> Result<(), WireError> {
    let mut buffer = BytesMut::new();
    while let Some(order) = inbox.recv().await {
        match order {
            Order::Write(packets) => {
                for packet in packets {
                    codec.encode(packet, &mut buffer)?;
                }
                // While a batch is written only an order to close can come: the client reads nothing, so it is not told.
                tokio::select! {
                    biased;
                    result = socket.write_all_buf(&mut buffer) => result?,
                    _ = inbox.recv() => return Ok(()),
                }
                written();
            }
            Order::Close(reason) => {
                if let Some(reason) = reason {
                    codec.encode(Outgoing::Disconnect(reason), &mut buffer)?;
                }
                in_time(async {
                    socket.write_all_buf(&mut buffer).await?;
                    socket.shutdown().await
                })
                .await;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads the CONNECT; answers and returns `None` if it cannot be accepted.
async fn handshake(
    framed: &mut Framed<TcpStream, Codec>,
    id: ConnectionId,
) -> Option<(Version, Option<Duration>, Terms, ConnAck)> {
    let refusal = match timeout(CONNECT_WITHIN, framed.next()).await {
        Ok(Some(Ok(Incoming::Connect(connect, will)))) => {
            let version = framed.codec().version()?;
            match accept(version, &connect, will.map(|will| *will), id) {
                Ok((keep_alive, terms, ack)) => return Some((version, keep_alive, terms, ack)),
                Err(code) => code,
            }
        }
        Ok(Some(Err(WireError::UnknownVersion))) => ConnectReturnCode::UnsupportedProtocolVersion,
        Ok(Some(Ok(_) | Err(_)) | None) | Err(_) => {
            tracing::debug!(connection = id, "connection closed, it did not begin with a CONNECT");
            return None;
        }
    };
    tracing::debug!(connection = id, code = ?refusal, "client refused");
    let ack = ConnAck { session_present: false, code: refusal, properties: None };
    in_time(framed.send(Outgoing::ConnAck(Box::new(ack)))).await;
    None
}

/// Waits for the last words of a connection, but not for long; that they fail changes nothing.
async fn in_time<T, E: std::fmt::Display>(words: impl Future<Output = Result<T, E>>) {
    match timeout(CLOSE_WITHIN, words).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::trace!(%error, "peer was gone before it was told"),
        Err(_) => tracing::trace!("peer took too long to be told"),
    }
}

/// Judges a CONNECT: how long the client may be silent, the terms of its session, and the answer.
fn accept(
    version: Version,
    connect: &Connect,
    will: Option<LastWill>,
    id: ConnectionId,
) -> Result<(Option<Duration>, Terms, ConnAck), ConnectReturnCode> {
    let assigned = connect.client_id.is_empty().then(|| format!("anonymous-{id}"));
    if version == Version::V4 && assigned.is_some() && !connect.clean_start {
        return Err(ConnectReturnCode::ClientIdentifierNotValid);
    }
    let will =
        will.map(|will| will_message(will, crate::clock::now().mono)).transpose().map_err(refused_will)?;
    let properties = connect.properties.as_ref();
    if properties.is_some_and(|p| p.authentication_method.is_some()) {
        return Err(ConnectReturnCode::BadAuthenticationMethod);
    }
    // 3.1.1 has no end of a session: it is not kept.
    let kept = kept_for(properties.and_then(|p| p.session_expiry_interval).unwrap_or(0));
    let terms = Terms {
        client_id: assigned.clone().unwrap_or_else(|| connect.client_id.clone()),
        will,
        clean_start: connect.clean_start,
        kept_for: kept,
        receive_maximum: properties.and_then(|p| p.receive_maximum),
        may_use_qos_2: version == Version::V4,
        max_packet_bytes: properties.and_then(|p| p.max_packet_size),
    };
    let asked = connect.keep_alive;
    let lowered = version == Version::V5 && (asked == 0 || asked > MAX_KEEP_ALIVE_SECONDS);
    let seconds = if lowered { MAX_KEEP_ALIVE_SECONDS } else { asked };
    // One and a half times, as the standard says (3.1.2.10).
    let keep_alive = (seconds > 0).then(|| Duration::from_millis(u64::from(seconds) * 1_500));
    let ack = ConnAck {
        session_present: false,
        code: ConnectReturnCode::Success,
        properties: Some(answer(assigned, lowered.then_some(seconds), kept)),
    };
    Ok((keep_alive, terms, ack))
}

fn refused_will(reason: DisconnectReasonCode) -> ConnectReturnCode {
    if reason == DisconnectReasonCode::QoSNotSupported {
        ConnectReturnCode::QoSNotSupported
    } else if reason == DisconnectReasonCode::TopicNameInvalid {
        ConnectReturnCode::TopicNameInvalid
    } else {
        ConnectReturnCode::ProtocolError
    }
}

/// What this broker can do, in the words of MQTT 5.
fn answer(
    assigned_client_identifier: Option<String>,
    server_keep_alive: Option<u16>,
    kept: Duration,
) -> ConnAckProperties {
    ConnAckProperties {
        session_expiry_interval: u32::try_from(kept.as_secs()).ok(),
        receive_max: None,
        max_qos: Some(1),
        retain_available: None,
        max_packet_size: Some(MAX_PACKET_BYTES),
        assigned_client_identifier,
        topic_alias_max: Some(0),
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: Some(0),
        server_keep_alive,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}
