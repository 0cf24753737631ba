//! A proxy described by flags instead of a registration.

use std::fmt;

use mesh::definition::PublicListener;
use mesh::{Definition, Target, UpstreamDefinition};

use crate::output::Failure;

/// Value of `-upstream`: a service and where to take connections for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upstream {
    service: String,
    /// Empty for loopback.
    host: String,
    port: u16,
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} => {}:{}", self.service, self.host, self.port)
    }
}

/// Reads `name:port` or `name:host:port`.
pub(super) fn upstream(text: &str) -> Result<Upstream, String> {
    let (service, address) = text
        .split_once(':')
        .filter(|(service, _)| !service.is_empty())
        .ok_or_else(|| format!("upstream {text:?} should be name:port or name:host:port"))?;
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (unbracketed(host), port),
        None => ("", address),
    };
    let port = port.parse().ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| format!("upstream {text:?} has no port from 1 to 65535"))?;
    Ok(Upstream { service: service.to_owned(), host: host.to_owned(), port })
}

/// What the flags say.
pub(super) fn from_flags(
    service: &str,
    listen: &str,
    service_addr: &str,
    upstreams: &[Upstream],
) -> Result<Definition, Failure> {
    if service.is_empty() {
        return Err(Failure::new(
            "-service, -sidecar-for or -proxy-id must be given, so that the proxy knows what it is",
        ));
    }
    let public = match (listen, service_addr) {
        ("", _) => None,
        (_, "") => {
            return Err(Failure::new(
                "-service-addr must be given with -listen, so that the proxy knows where its \
                 application is",
            ));
        }
        (listen, service_addr) => {
            Some(PublicListener::new(host_port(listen)?, host_port(service_addr)?))
        }
    };
    let upstreams = upstreams
        .iter()
        .map(|Upstream { service, host, port }| {
            let target = Target { service: service.clone(), datacenter: String::new() };
            UpstreamDefinition::new(target, (host, *port))
        })
        .collect();
    Ok(Definition {
        proxy_id: format!("{service}-proxy"),
        service: service.to_owned(),
        public,
        upstreams,
        refused: Vec::new(),
    })
}

/// Splits `host:port`, where the host may be empty or an IPv6 address in brackets.
fn host_port(address: &str) -> Result<(&str, u16), Failure> {
    let fail = |reason: &str| Failure::new(format!("address {address}: {reason}"));
    let (host, port) = address.rsplit_once(':').ok_or_else(|| fail("missing port in address"))?;
    if host.contains(':') && !host.starts_with('[') {
        return Err(fail("write an IPv6 address in brackets, such as [::1]:8443"));
    }
    let port = port.parse().map_err(|_| fail("the port is not a number below 65536"))?;
    Ok((unbracketed(host), port))
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_read() {
        let check = |text: &str, want: Option<(&str, &str, u16)>| {
            let want = want.map(|(service, host, port)| Upstream {
                service: service.into(),
                host: host.into(),
                port,
            });
            assert_eq!(upstream(text).ok(), want, "{text}");
        };
        check("db:9191", Some(("db", "", 9191)));
        check("db:127.0.0.1:9191", Some(("db", "127.0.0.1", 9191)));
        check("db:[::1]:9191", Some(("db", "::1", 9191)));
        check("db", None);
        check("db:", None);
        check(":9191", None);
        check("db:0", None);
        check("db:99999", None);
    }

    #[test]
    fn flags_make_a_definition() {
        let check =
            |service: &str, listen: &str, application: &str, want: Result<bool, &str>| match (
                from_flags(service, listen, application, &[]),
                want,
            ) {
                (Ok(definition), Ok(has_public)) => {
                    assert_eq!(definition.public.is_some(), has_public);
                }
                (Err(failure), Err(part)) => {
                    assert!(failure.message.contains(part), "{failure}");
                }
                (got, want) => panic!("{listen} {application}: {got:?}, {want:?}"),
            };
        check("web", "", "", Ok(false));
        check("web", ":8443", "127.0.0.1:80", Ok(true));
        check("web", "[::]:8443", "localhost:80", Ok(true));
        check("", "", "", Err("-service"));
        check("web", ":8443", "", Err("-service-addr"));
        check("web", "8443", ":80", Err("missing port"));
        check("web", "::1:8443", ":80", Err("brackets"));
        check("web", ":x", ":80", Err("number"));
    }
}
