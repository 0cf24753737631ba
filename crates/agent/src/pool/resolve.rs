//! From what users write to addresses of a pool.

use std::net::{IpAddr, SocketAddr};

use tokio::net::lookup_host;

/// Addresses one name may stand for; more are left out. A name that lists every server of a large cluster has some
/// dozens.
const ADDRESSES_MAX: usize = 128;

/// The addresses of `text`: `host`, `host:port`, or either behind `node-name/`.
///
/// Errors: why there is none, in one line.
pub(super) async fn resolve(text: &str, default_port: u16) -> Result<Vec<SocketAddr>, String> {
    let place = text.rsplit_once('/').map_or(text, |(_, place)| place).trim();
    if place.is_empty() {
        return Err("it names no host".into());
    }
    if let Ok(address) = place.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    if let Ok(ip) = place.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, default_port)]);
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) => {
            let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
            (host, port)
        }
        None => (place, default_port),
    };
    let found = lookup_host((host, port)).await.map_err(|error| error.to_string())?;
    let found: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    match found.is_empty() {
        true => Err("it has no address".into()),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_form_users_write() {
        let check = async |text: &str, want: Result<&str, &str>| {
            let got = resolve(text, 8301).await;
            match want {
                Ok(address) => assert_eq!(got, Ok(vec![address.parse().unwrap()]), "{text}"),
                Err(part) => assert!(got.unwrap_err().contains(part), "{text}"),
            }
        };
        check("10.0.0.1", Ok("10.0.0.1:8301")).await;
        check("10.0.0.1:9301", Ok("10.0.0.1:9301")).await;
        check("node.dc1/10.0.0.1:9301", Ok("10.0.0.1:9301")).await;
        check("::1", Ok("[::1]:8301")).await;
        check("[::1]", Ok("[::1]:8301")).await;
        check("[::1]:9301", Ok("[::1]:9301")).await;
        check("host:x", Err("is no port")).await;
        check("", Err("no host")).await;
    }
}
