//! The HTTP probe against a server that answers by its path.

use std::convert::Infallible;

use hyper::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

use super::*;

/// Serves until the test ends: `/404` answers 404, `/302?to` redirects to `to`, `/echo` gives back
/// the request, `/big` a long body, `/slow` nothing.
async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    });
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let mut response = Response::builder();
    let body = match path.as_str() {
        "/slow" => std::future::pending().await,
        "/big" => "0123456789".repeat(1000),
        "/echo" => {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let header = |name: &str| {
                let all = head.headers.get_all(name).iter();
                all.map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join(",")
            };
            format!(
                "{} {} {} {} {}",
                head.method,
                header("host"),
                header("user-agent"),
                header("x-a"),
                String::from_utf8_lossy(&body)
            )
        }
        other => {
            let status: u16 = other.trim_start_matches('/').parse().unwrap();
            response = response.status(status);
            if !query.is_empty() {
                response = response.header(header::LOCATION, query);
            }
            format!("hello {path}")
        }
    };
    Ok(response.body(Full::new(Bytes::from(body))).unwrap())
}

fn probe(url: impl Into<String>) -> HttpProbe {
    HttpProbe {
        url: url.into(),
        method: String::new(),
        header: BTreeMap::new(),
        body: String::new(),
        tls_skip_verify: false,
        tls_server_name: String::new(),
        follows_redirects: true,
    }
}

async fn run(probe: &HttpProbe) -> Outcome {
    probe.attempt(Duration::from_secs(20), 20).await
}

#[tokio::test]
async fn statuses() {
    let server = serve().await;
    let check = async |path: &str, status, line: &str| {
        let url = format!("http://{server}{path}");
        let outcome = run(&probe(url.as_str())).await;
        assert_eq!(outcome.status, status, "{path}");
        assert_eq!(outcome.output, format!("HTTP GET {url}: {line}"));
    };
    use CheckStatus::{Critical, Passing, Warning};
    check("/200", Passing, "200 OK Output: hello /200").await;
    check("/204", Passing, "204 No Content Output: ").await;
    check("/429", Warning, "429 Too Many Requests Output: hello /429").await;
    check("/404", Critical, "404 Not Found Output: hello /404").await;
    check("/500", Critical, "500 Internal Server Error Output: hello /500").await;
    check("/302?/200", Passing, "200 OK Output: hello /200").await;
    check("/big", Passing, "200 OK Output: 01234567890123456789").await;
    let url = format!("http://{server}/302");
    let outcome = run(&probe(url.as_str())).await;
    let want = format!("Get \"{url}\": 302 response missing Location header");
    assert_eq!(outcome, Outcome::critical(want));
    check("/307", Critical, "307 Temporary Redirect Output: hello /307").await;
}

#[tokio::test]
async fn redirects_end() {
    let server = serve().await;
    let url = format!("http://{server}/302?/302?/200");
    let fixed = HttpProbe { follows_redirects: false, ..probe(url.as_str()) };
    assert_eq!(run(&fixed).await.status, CheckStatus::Critical);
    let looping = probe(format!("http://{server}/307?307"));
    let outcome = run(&looping).await;
    // Without a query the second answer leads nowhere.
    assert!(outcome.output.contains("307 Temporary Redirect"), "{}", outcome.output);
}

#[tokio::test]
async fn what_is_sent() {
    let server = serve().await;
    let url = format!("http://{server}/echo");
    let written = HttpProbe {
        method: "POST".into(),
        header: BTreeMap::from([
            ("Host".into(), vec!["foo".into()]),
            ("X-A".into(), vec!["b".into(), "c".into()]),
        ]),
        body: "bb".into(),
        ..probe(url.as_str())
    };
    let outcome = written.attempt(Duration::from_secs(20), 100).await;
    let want = format!("HTTP POST {url}: 200 OK Output: POST foo Consul Health Check b,c bb");
    assert_eq!(outcome.output, want);
}

#[tokio::test]
async fn failures_have_consuls_words() {
    let server = serve().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let check = async |probe: HttpProbe, want: &str| {
        assert_eq!(run(&probe).await, Outcome::critical(want));
    };
    let refused = format!("http://{gone}/");
    let want = format!("Get \"{refused}\": dial tcp {gone}: connect: connection refused");
    check(probe(refused.as_str()), &want).await;
    check(probe("foo"), "Get \"foo\": unsupported protocol scheme \"\"").await;
    check(probe("ftp://x/"), "Get \"ftp://x/\": unsupported protocol scheme \"ftp\"").await;
    let method = HttpProbe { method: "b ad".into(), ..probe(format!("http://{server}/200")) };
    check(method, "net/http: invalid method \"b ad\"").await;
    let tls = format!("https://{server}/200");
    let want = format!("Get \"{tls}\": tls: first record does not look like a TLS handshake");
    check(probe(tls.as_str()), &want).await;

    let slow = format!("http://{server}/slow");
    let outcome = probe(slow.as_str()).attempt(Duration::from_millis(200), 20).await;
    let want = format!(
        "Get \"{slow}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    );
    assert_eq!(outcome, Outcome::critical(want));
}

#[tokio::test]
async fn garbage_is_an_error_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(&[0xff; 70_000]).await;
        }
    });
    let outcome = run(&probe(format!("http://{address}/"))).await;
    assert_eq!(outcome.status, CheckStatus::Critical);
    assert!(outcome.output.len() <= ERROR_BYTES_MAX);
}

#[tokio::test]
async fn the_servers_own_words_are_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 All Fine\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
    });
    let url = format!("http://{address}/");
    let outcome = run(&probe(url.as_str())).await;
    assert_eq!(outcome.output, format!("HTTP GET {url}: 200 All Fine Output: ok"));
}

#[tokio::test]
async fn tls_is_verified_unless_told_not_to() {
    let (address, accepted) = serve_tls().await;
    let url = format!("https://{address}/");
    let strict = run(&probe(url.as_str())).await;
    assert_eq!(strict.status, CheckStatus::Critical);
    assert!(strict.output.contains("tls: "), "{}", strict.output);
    let lenient = HttpProbe { tls_skip_verify: true, ..probe(url.as_str()) };
    assert_eq!(run(&lenient).await.status, CheckStatus::Passing);
    assert!(accepted.load(std::sync::atomic::Ordering::Relaxed) >= 1);
}

/// Answers 200 over TLS with a certificate nobody trusts.
async fn serve_tls() -> (std::net::SocketAddr, std::sync::Arc<std::sync::atomic::AtomicU64>) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            count.fetch_add(1, Ordering::Relaxed);
            let ok = service_fn(|_: Request<Incoming>| async {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
            });
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), ok).await;
        }
    });
    (address, accepted)
}
