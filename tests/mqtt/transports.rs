//! Every scheme, certificates, and what is wrong with them.

use std::sync::Arc;

use tokio::time::timeout;
use verkada2mqtt::{
    clock,
    model::{ProtocolChoice, Scheme},
    mqtt::{ClientCertificate, connect},
};

use crate::{
    BOTH, COMMAND, SEED,
    authority::{Authority, Identity},
    down, message, pair, patient, publication,
    scripted_broker::{Broker, LIMIT, Seen, Sent, Stream, Upgrade},
    settings, websocket,
};

/// What a broker does to a connection: TLS as `identity`, and the websocket where one is wanted.
fn upgrade(identity: &Identity, clients: Option<&Authority>, websocket: bool) -> Upgrade {
    let acceptor = identity.acceptor(clients);
    Arc::new(move |tcp| {
        let acceptor = acceptor.clone();
        Box::pin(async move {
            let stream: Box<dyn Stream> = Box::new(acceptor.accept(tcp).await?);
            if websocket { websocket::accept(stream).await } else { Ok(stream) }
        })
    })
}

#[tokio::test]
async fn every_scheme_carries_commands_and_publications() {
    let authority = Authority::new("ours");
    let identity = authority.sign("127.0.0.1");
    for scheme in [Scheme::Mqtt, Scheme::Mqtts, Scheme::Ws, Scheme::Wss] {
        for protocol in BOTH {
            let broker = match scheme {
                Scheme::Mqtt => Broker::start().await,
                Scheme::Mqtts => Broker::start_with(upgrade(&identity, None, false)).await,
                Scheme::Ws => {
                    Broker::start_with(Arc::new(|tcp| Box::pin(websocket::accept(Box::new(tcp))))).await
                }
                Scheme::Wss => Broker::start_with(upgrade(&identity, None, true)).await,
            };
            let mut settings = patient(broker.port(), protocol);
            settings.scheme = scheme;
            settings.path = "/mqtt".into();
            settings.tls.ca_pem = scheme.is_encrypted().then(|| authority.pem.clone().into_bytes());
            let (mut link, mut client) = pair(settings, &broker).await;
            client.publish(Sent { qos: 1, ..Sent::new(COMMAND, "UNLOCK") });
            assert_eq!(message(&mut link).await.payload, "UNLOCK");
            let large = "x".repeat(100_000);
            link.publisher().try_publish(publication("state", &large, true)).unwrap();
            assert_eq!(client.published("state").await.payload, large);
            assert_eq!(link.close(Vec::new(), LIMIT).await, Ok(()));
            client.until("DISCONNECT", |seen| (*seen == Seen::Disconnect).then_some(())).await;
        }
    }
}

#[tokio::test]
async fn a_client_certificate_opens_a_broker_that_wants_one() {
    let authority = Authority::new("ours");
    let ours = authority.sign("gateway-1");
    let broker = Broker::start_with(upgrade(&authority.sign("127.0.0.1"), Some(&authority), false)).await;
    let mut settings = settings(broker.port(), ProtocolChoice::V5);
    settings.scheme = Scheme::Mqtts;
    settings.tls.ca_pem = Some(authority.pem.clone().into_bytes());
    settings.tls.client = Some(ClientCertificate {
        chain_pem: ours.chain.clone().into_bytes(),
        key_pem: ours.key.clone().into_bytes().into(),
    });
    let (_link, _client) = pair(settings, &broker).await;
}

/// The first Down of a link to a server that answers TLS in the given way, and what it was sent inside TLS.
async fn tls_failure(acceptor: Option<tokio_rustls::TlsAcceptor>, trust: &Authority) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut settings = settings(port, ProtocolChoice::V5);
    settings.scheme = Scheme::Mqtts;
    settings.tls.ca_pem = Some(trust.pem.clone().into_bytes());
    let mut link = connect(settings, SEED).unwrap();
    let (mut tcp, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let Some(acceptor) = acceptor else {
            tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            tcp.read_to_end(&mut Vec::new()).await.ok();
            return;
        };
        if let Ok(mut stream) = acceptor.accept(tcp).await {
            let mut inside = Vec::new();
            stream.read_to_end(&mut inside).await.ok();
            assert_eq!(inside, b"", "CONNECT was sent to a server that is not trusted");
        }
    });
    let sentence = down(&mut link).await.replace(&format!(":{port}"), ":PORT");
    timeout(LIMIT, server).await.unwrap().unwrap();
    sentence
}

#[tokio::test]
async fn each_failure_of_tls_is_told_by_its_cause() {
    let ours = Authority::new("ours");
    let theirs = Authority::new("theirs");
    assert_eq!(
        tls_failure(Some(theirs.sign("127.0.0.1").acceptor(None)), &ours).await,
        "the certificate of 127.0.0.1 comes from an unknown issuer: the given CA file is not the one that signed it"
    );
    let today = clock::now().utc.strftime("%Y-%m-%d").to_string();
    let expired = tls_failure(Some(ours.sign_for("127.0.0.1", [2019, 2020]).acceptor(None)), &ours).await;
    let said = "the certificate of 127.0.0.1 has expired: it was valid until 2020-01-01T00:00:00Z, and our clock shows ";
    assert!(expired.starts_with(&format!("{said}{today}")) && expired.ends_with("(NTP)"), "{expired}");
    let early = tls_failure(Some(ours.sign_for("127.0.0.1", [2090, 2100]).acceptor(None)), &ours).await;
    let said = "the certificate of 127.0.0.1 is not valid yet: it is valid from 2090-01-01T00:00:00Z, and our clock shows ";
    assert!(early.starts_with(&format!("{said}{today}")) && early.ends_with("(NTP)"), "{early}");
    let own = Identity::self_signed("127.0.0.1", false);
    assert_eq!(
        tls_failure(Some(own.acceptor(None)), &ours).await,
        "the certificate of 127.0.0.1 comes from an unknown issuer: the given CA file is not the one that signed it"
    );
    let of_authority = Identity::self_signed("127.0.0.1", true);
    assert_eq!(
        tls_failure(Some(of_authority.acceptor(None)), &ours).await,
        "127.0.0.1 shows the certificate of an authority as its own: give the broker one that an authority signed, and \
         name that authority's as the CA file"
    );
    assert_eq!(
        tls_failure(Some(ours.sign("broker.example").acceptor(None)), &ours).await,
        "the certificate of 127.0.0.1 is for another host: it names DnsName(\"broker.example\")"
    );
    assert_eq!(
        tls_failure(None, &ours).await,
        "127.0.0.1:PORT does not speak TLS: is it the port without TLS (mqtt or ws)?"
    );
}

#[tokio::test]
async fn a_missing_client_certificate_is_told() {
    let authority = Authority::new("ours");
    let acceptor = authority.sign("127.0.0.1").acceptor(Some(&authority));
    assert_eq!(
        tls_failure(Some(acceptor), &authority).await,
        "127.0.0.1 does not accept our client certificate, or wants one (CertificateRequired)"
    );
}

#[tokio::test]
async fn a_websocket_path_that_does_not_exist_is_told() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut settings = settings(port, ProtocolChoice::V5);
    settings.scheme = Scheme::Ws;
    settings.path = "/elsewhere".into();
    let mut link = connect(settings, SEED).unwrap();
    let (mut tcp, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let mut request = vec![0; 4_096];
    assert!(tcp.read(&mut request).await.unwrap() > 0);
    tcp.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    assert_eq!(
        down(&mut link).await,
        format!("127.0.0.1:{port}/elsewhere does not take a websocket: HTTP error: 404 Not Found")
    );
}

#[test]
fn certificates_that_cannot_be_used_are_refused_before_any_connection() {
    let mut settings = settings(8883, ProtocolChoice::V5);
    settings.scheme = Scheme::Mqtts;
    settings.tls.ca_pem = Some(b"no certificate".to_vec());
    assert_eq!(
        connect(settings, SEED).expect_err("no certificate").to_string(),
        "mqtt: cannot use the CA certificate: the file holds no PEM certificate"
    );
}
