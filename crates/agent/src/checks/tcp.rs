//! The TCP probe: does something accept connections there?

use std::time::Duration;

use tokio::time::Instant;

use super::Outcome;
use super::dial::dial;

pub(crate) async fn attempt(address: &str, timeout: Duration) -> Outcome {
    match dial(address, Instant::now() + timeout).await {
        Ok(_) => Outcome::passing(format!("TCP connect {address}: Success")),
        Err(error) => Outcome::critical(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn tells_listening_from_refused() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let want = Outcome::passing(format!("TCP connect {address}: Success"));
        assert_eq!(attempt(&address, SHORT).await, want);

        drop(listener);
        let want = Outcome::critical(format!("dial tcp {address}: connect: connection refused"));
        assert_eq!(attempt(&address, SHORT).await, want);

        let want = Outcome::critical("dial tcp: address 127.0.0.1: missing port in address");
        assert_eq!(attempt("127.0.0.1", SHORT).await, want);
    }
}
