//! Every socket of the edges, bound before anything else is begun.

use std::os::unix::fs::PermissionsExt as _;

use config::AgentConfig;
use config::agent::ListenAddress;

use crate::Error;

/// UDP sockets, and threads, per DNS address.
const DNS_THREADS_MAX: usize = 8;

pub(crate) struct Sockets {
    pub(crate) http: Vec<http::Listener>,
    pub(crate) dns: Vec<dns::Bound>,
}

impl Sockets {
    pub(crate) fn bind(config: &AgentConfig) -> Result<Self, Error> {
        let mut http = Vec::new();
        for address in &config.listen.http {
            http.push(bind_http(address, None, config)?);
        }
        if !config.listen.https.is_empty() {
            let tls = https(config)?;
            for address in &config.listen.https {
                http.push(bind_http(address, Some(tls.clone()), config)?);
            }
        }
        let threads =
            std::thread::available_parallelism().map_or(1, usize::from).min(DNS_THREADS_MAX);
        let dns = config.listen.dns.iter().map(|address| dns::bind(*address, threads));
        let dns = dns.collect::<Result<_, _>>().map_err(|error| Error::Bind {
            what: format!("{} for DNS", error.address),
            source: error.source,
        })?;
        Ok(Self { http, dns })
    }
}

fn bind_http(
    address: &ListenAddress,
    tls: Option<http::Tls>,
    config: &AgentConfig,
) -> Result<http::Listener, Error> {
    let what = if tls.is_some() { "HTTPS" } else { "HTTP" };
    let fail = |source| Error::Bind { what: format!("{address} for {what}"), source };
    match address {
        ListenAddress::Tcp(address) => http::Listener::tcp(*address, tls).map_err(fail),
        ListenAddress::Unix(path) => {
            // Left by an agent that was killed; one that still lives keeps its own open file.
            if std::os::unix::net::UnixStream::connect(path).is_err() {
                let _ = std::fs::remove_file(path);
            }
            let listener = http::Listener::unix(path, tls).map_err(fail)?;
            let mode = &config.settings.unix_sockets.mode;
            if let Ok(mode) = u32::from_str_radix(mode, 8) {
                let permissions = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(path, permissions)
                    .map_err(|source| Error::File { path: path.clone(), source })?;
            }
            Ok(listener)
        }
    }
}

fn https(config: &AgentConfig) -> Result<http::Tls, Error> {
    let settings = &config.settings;
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .map_err(|source| Error::File { path: path.into(), source })
    };
    let (certificate, key) = (read(&settings.cert_file)?, read(&settings.key_file)?);
    let wants_client = settings.verify_incoming || settings.verify_incoming_https;
    let authority = match settings.ca_file.as_str() {
        path if wants_client && !path.is_empty() => Some(read(path)?),
        _ if wants_client => {
            return Err(Error::Https("verify_incoming needs ca_file; write it".to_owned()));
        }
        _ => None,
    };
    let own = pki::tls::KeyPairPem { certificate: &certificate, key: &key };
    pki::tls::server_config(own, authority.as_deref())
        .map_err(|error| Error::Https(error.to_string()))
}
