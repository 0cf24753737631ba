//! The server port: where agents call, and servers meet.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use agent::Life;
use config::AgentConfig;
use rpc::tls::{Outgoing, TlsSettings};
use rpc::{Cluster, LinkHandler, ServeSettings};
use tokio::net::TcpListener;

use crate::Error;
use crate::sockets::listen;

/// Binds the port of a server; `None` where it is off.
pub(crate) fn bind(config: &AgentConfig) -> Result<Option<TcpListener>, Error> {
    let Some(address) = config.listen.server else { return Ok(None) };
    let what = || format!("{address} for servers (ports.server)");
    listen(address).map(Some).map_err(|source| Error::Bind { what: what(), source })
}

/// Answers on the port until the process ends.
pub(crate) fn serve(
    config: &AgentConfig,
    listener: TcpListener,
    cluster: Arc<dyn Cluster>,
    on_link: LinkHandler,
    life: &Life,
) -> Result<(), Error> {
    let usual = ServeSettings::new(config.datacenter.clone());
    let settings = ServeSettings {
        tls: tls(config)?.incoming().map_err(Error::AgentTls)?,
        connections_per_ip_max: config.calls.connections_per_client_max.unwrap_or(usize::MAX),
        ..usual
    };
    life.tasks.spawn(rpc::serve(listener, settings, cluster, on_link, life.stop.clone()));
    Ok(())
}

/// What the configuration says of TLS between agents, with its files read.
pub(crate) fn tls(config: &AgentConfig) -> Result<TlsSettings, Error> {
    let written = &config.rpc_tls;
    let read = |path: &str| match path {
        "" => Ok(None),
        path => std::fs::read_to_string(path)
            .map(Some)
            .map_err(|source| Error::File { path: path.into(), source }),
    };
    let mut authorities = read(&written.ca_file)?;
    if !written.ca_path.is_empty() {
        let path = Path::new(&written.ca_path);
        let found =
            read_all(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        authorities.get_or_insert_default().push_str(&found);
    }
    Ok(TlsSettings {
        authorities,
        certificate: read(&written.cert_file)?,
        key: read(&written.key_file)?,
        verify_incoming: written.verify_incoming,
        verify_outgoing: written.verify_outgoing,
        verify_server_hostname: written.verify_server_hostname,
        domain: config.domain.clone(),
    })
}

/// The files of a folder one after the other, by name.
fn read_all(folder: &Path) -> io::Result<String> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).map(|text| text + "\n")).collect()
}

/// Reaches the port of other servers.
pub(crate) struct Dialer {
    datacenter: String,
    tls: Option<Outgoing>,
}

impl Dialer {
    pub(crate) fn new(config: &AgentConfig) -> Result<Self, Error> {
        let tls = tls(config)?.outgoing().map_err(Error::AgentTls)?;
        Ok(Self { datacenter: config.datacenter.clone(), tls })
    }
}

impl server::Dial for Dialer {
    fn dial(
        &self,
        address: &str,
    ) -> Pin<Box<dyn Future<Output = io::Result<server::Stream>> + Send>> {
        let (datacenter, tls) = (self.datacenter.clone(), self.tls.clone());
        let address = address.parse::<SocketAddr>();
        Box::pin(async move {
            let address = address.map_err(io::Error::other)?;
            let socket = rpc::dial_link(address, &datacenter, tls.as_ref()).await?;
            Ok(Box::new(socket) as server::Stream)
        })
    }
}
