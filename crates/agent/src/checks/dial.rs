//! Connecting, with failures told in the words of Go's `net` package.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::Instant;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// Connects to `host:port`, trying each address of a name, until `deadline`.
///
/// Errors: a text such as `dial tcp 127.0.0.1:1: connect: connection refused`.
pub(crate) async fn dial(address: &str, deadline: Instant) -> Result<TcpStream, String> {
    let Some((host, port)) = split_host_port(address) else {
        return Err(format!("dial tcp: address {address}: missing port in address"));
    };
    let addresses = resolve(host, port, deadline).await?;
    let mut first_error = None;
    for address in addresses {
        let attempt = tokio::time::timeout_at(deadline, TcpStream::connect(address)).await;
        let error = match attempt {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => format!("dial tcp {address}: connect: {}", errno_text(&error)),
            Err(_) => format!("dial tcp {address}: i/o timeout"),
        };
        first_error.get_or_insert(error);
    }
    Err(first_error.unwrap_or_else(|| format!("dial tcp: lookup {host}: no such host")))
}

async fn resolve(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
    let lookup = tokio::time::timeout_at(deadline, tokio::net::lookup_host((host, port))).await;
    match lookup {
        Ok(Ok(found)) => {
            let mut addresses: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
            addresses.dedup();
            Ok(addresses)
        }
        Ok(Err(_)) => Err(format!("dial tcp: lookup {host}: no such host")),
        Err(_) => Err(format!("dial tcp: lookup {host}: i/o timeout")),
    }
}

/// Host without brackets and port of `host:port`.
pub(crate) fn split_host_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    Some((host, port.parse().ok()?))
}

/// The system's word for an error, without Rust's additions.
pub(crate) fn errno_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => {
            let text = io::Error::from_raw_os_error(code).to_string();
            let end = text.find(" (os error").unwrap_or(text.len());
            text[..end].to_lowercase()
        }
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_addresses() {
        let check = |text, want| assert_eq!(split_host_port(text), want, "{text}");
        check("127.0.0.1:80", Some(("127.0.0.1", 80)));
        check("[::1]:80", Some(("::1", 80)));
        check("host:0", Some(("host", 0)));
        check("127.0.0.1", None);
        check("::1", None);
        check("::1:80", None);
        check("host:99999", None);
        check("host:", None);
        check("", None);
    }

    #[test]
    fn errors_read_as_gos() {
        let refused = io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error());
        assert_eq!(errno_text(&refused), "connection refused");
        assert_eq!(errno_text(&io::Error::other("x")), "x");
    }
}
