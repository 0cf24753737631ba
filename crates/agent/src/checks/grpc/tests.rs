//! The gRPC probe against a server made of frames.

use std::convert::Infallible;

use hyper::Response;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use tokio::net::TcpListener;

use super::*;

/// Answers by the service asked about: its name is the status to give, or `gone` for an error.
async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    });
    address
}

/// A body of frames known beforehand.
mod frames {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::{Bytes, Frame, Infallible};

    pub(super) struct Known(pub(super) VecDeque<Frame<Bytes>>);

    impl hyper::body::Body for Known {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<frames::Known>, Infallible> {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let service = String::from_utf8_lossy(body.get(7..).unwrap_or_default()).into_owned();
    let mut trailers = HeaderMap::new();
    let mut frames = std::collections::VecDeque::new();
    match service.as_str() {
        "gone" => {
            trailers.insert("grpc-status", "5".parse().unwrap());
            trailers.insert("grpc-message", "unknown%20service".parse().unwrap());
        }
        "mad" => {
            trailers.insert("grpc-status", "0".parse().unwrap());
            frames.push_back(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 9, 8])));
        }
        status => {
            trailers.insert("grpc-status", "0".parse().unwrap());
            let status = status.parse().unwrap_or(1);
            frames.push_back(Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 0x08, status])));
        }
    }
    frames.push_back(Frame::trailers(trailers));
    Ok(Response::new(frames::Known(frames)))
}

async fn run(target: String) -> Outcome {
    let probe = GrpcProbe {
        target,
        use_tls: false,
        tls_skip_verify: false,
        tls_server_name: String::new(),
    };
    probe.attempt(Duration::from_secs(20)).await
}

#[tokio::test]
async fn asks_a_server_or_one_of_its_services() {
    let server = serve().await;
    let check = async |target: String, want: Outcome| assert_eq!(run(target).await, want);
    check(server.clone(), Outcome::passing(format!("gRPC check {server}: success"))).await;
    let one = format!("{server}/1");
    check(one.clone(), Outcome::passing(format!("gRPC check {one}: success"))).await;
    let unhealthy = "gRPC application didn't report service healthy";
    check(format!("{server}/2"), Outcome::critical(unhealthy)).await;
    let unknown = "rpc error: code = NotFound desc = unknown service";
    check(format!("{server}/gone"), Outcome::critical(unknown)).await;
    let malformed = "rpc error: code = Internal desc = malformed health answer";
    check(format!("{server}/mad"), Outcome::critical(malformed)).await;
}

#[tokio::test]
async fn a_port_that_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let want = format!(
        "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while \
         dialing dial tcp {address}: connect: connection refused\""
    );
    assert_eq!(run(format!("{address}/x")).await, Outcome::critical(want));
}

#[test]
fn answers_are_read_strictly() {
    let check = |frame: &[u8], want| assert_eq!(decode_answer(frame), want, "{frame:?}");
    check(&[0, 0, 0, 0, 2, 0x08, 1], Some(1));
    check(&[0, 0, 0, 0, 0], Some(0));
    // An unknown field before it, of each wire type.
    check(&[0, 0, 0, 0, 6, 0x12, 2, 9, 9, 0x08, 1], Some(1));
    check(&[0, 0, 0, 0, 7, 0x15, 1, 2, 3, 4, 0x08, 1], Some(1));
    check(&[0, 0, 0, 0, 4, 0x10, 7, 0x08, 1], Some(1));
    check(&[1, 0, 0, 0, 2, 0x08, 1], None);
    check(&[0, 0, 0, 0, 3, 0x08, 1], None);
    check(&[0, 0, 0, 0, 1, 0x08], None);
    check(&[0, 0, 0], None);
    check(&[0, 0, 0, 0, 3, 0x12, 0xff, 0x01], None);
    check(&[0, 0, 0, 0, 2, 0x0b, 0], None);
}

#[test]
fn requests_and_texts() {
    assert_eq!(&*encode_request(""), [0, 0, 0, 0, 0]);
    assert_eq!(&*encode_request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
    let check = |text: &str, want: &str| assert_eq!(percent_decode(text), want, "{text}");
    check("a%20b", "a b");
    check("100%", "100%");
    check("%zz%4", "%zz%4");
}
