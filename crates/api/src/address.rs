//! Where an agent listens: `host:port`, `http://`, `https://` or `unix://`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

impl Default for Address {
    fn default() -> Self {
        Self::Tcp { host: "127.0.0.1".to_owned(), port: 8500, tls: false }
    }
}

impl Address {
    /// The same address over TLS; a unix socket stays plain.
    pub fn with_tls(self) -> Self {
        match self {
            Self::Tcp { host, port, .. } => Self::Tcp { host, port, tls: true },
            unix => unix,
        }
    }

    /// What the `Host` header says.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port, .. } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Without a scheme the address is plain HTTP. Without a port it is the scheme's own, 80 or
    /// 443, as every HTTP client reads it.
    fn from_str(text: &str) -> Result<Self, Error> {
        let fail =
            |reason: &str| Error::Address { address: text.to_owned(), reason: reason.to_owned() };
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(("unix", path)) if !path.is_empty() => return Ok(Self::Unix(path.into())),
            Some(_) => return Err(fail("want host:port, http://, https:// or unix:///path")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            return Err(fail("a path is not part of an address"));
        }
        let port_default = if tls { 443 } else { 80 };
        let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
            let (host, after) = bracketed
                .split_once(']')
                .ok_or_else(|| fail("missing ']' after an IPv6 address"))?;
            (host, after.strip_prefix(':'))
        } else if rest.matches(':').count() > 1 {
            return Err(fail("write an IPv6 address in brackets, such as [::1]:8500"));
        } else {
            match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            }
        };
        let port = match port {
            None => port_default,
            Some(port) => port.parse().map_err(|_| fail("the port is not a number below 65536"))?,
        };
        // Like Go's dialer: an address of a port alone means this machine.
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        Ok(Self::Tcp { host: host.to_owned(), port, tls })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { tls: true, .. } => write!(f, "https://{}", self.authority()),
            Self::Tcp { .. } => write!(f, "http://{}", self.authority()),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let check = |text: &str, want: Option<&str>| {
            let got = text.parse::<Address>().ok().map(|address| address.to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        };
        check("127.0.0.1:8500", Some("http://127.0.0.1:8500"));
        check("http://agent.example:8500/", Some("http://agent.example:8500"));
        check("https://agent.example", Some("https://agent.example:443"));
        check("agent.example", Some("http://agent.example:80"));
        check(":8500", Some("http://127.0.0.1:8500"));
        check("[::1]:8500", Some("http://[::1]:8500"));
        check("unix:///run/lictor.sock", Some("unix:///run/lictor.sock"));
        check("ftp://x", None);
        check("::1:8500", None);
        check("http://x:port", None);
        check("http://x/path", None);
        check("unix://", None);
        check("[::1", None);
    }
}
