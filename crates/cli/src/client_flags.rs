//! Flags every command that talks to an agent understands, and the client made from them.

use std::path::PathBuf;

use api::client_config::token_from_file;
use api::{Client, ClientConfig, QueryParams};
use clap::Args;
use model::query::{Consistency, Token};

use crate::output::Failure;

/// How to reach the agent. Flags win over variables, `LICTOR_*` over `CONSUL_*`.
#[derive(Args, Default)]
#[command(next_help_heading = "Agent connection")]
pub(crate) struct ClientFlags {
    /// Address of the agent's HTTP interface: host:port, http://, https:// or unix:///path.
    /// Also LICTOR_HTTP_ADDR, CONSUL_HTTP_ADDR; default 127.0.0.1:8500.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) http_addr: Option<String>,
    /// Access token to present. Also *_HTTP_TOKEN.
    #[arg(long, value_name = "SECRET")]
    pub(crate) token: Option<String>,
    /// File that holds the access token; wins over -token. Also *_HTTP_TOKEN_FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// File of CA certificates to trust for TLS. Also *_CACERT.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Directory of CA certificates to trust for TLS. Also *_CAPATH.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) ca_path: Option<PathBuf>,
    /// Client certificate for agents that ask for one. Also *_CLIENT_CERT.
    #[arg(long, value_name = "FILE")]
    pub(crate) client_cert: Option<PathBuf>,
    /// Key of the client certificate. Also *_CLIENT_KEY.
    #[arg(long, value_name = "FILE")]
    pub(crate) client_key: Option<PathBuf>,
    /// Name to expect in the agent's certificate. Also *_TLS_SERVER_NAME.
    #[arg(long, value_name = "NAME")]
    pub(crate) tls_server_name: Option<String>,
}

/// Which servers answer.
#[derive(Args, Default)]
#[command(next_help_heading = "Agent connection")]
pub(crate) struct ServerFlags {
    /// Datacenter to ask; default is the agent's own.
    #[arg(long, value_name = "NAME")]
    pub(crate) datacenter: Option<String>,
    /// Accept an answer from any server, which may lag behind the leader.
    #[arg(long)]
    pub(crate) stale: bool,
}

/// Both of the above, as most commands have them.
#[derive(Args, Default)]
pub(crate) struct HttpFlags {
    #[command(flatten)]
    pub(crate) client: ClientFlags,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

#[derive(Args, Default)]
pub(crate) struct NamespaceFlag {
    /// Namespace to ask for; agents of the community edition have only one and refuse others.
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

impl ClientFlags {
    /// The environment's settings under these flags.
    pub(crate) fn config(&self) -> Result<ClientConfig, Failure> {
        let mut config = ClientConfig::from_env()?;
        let present = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(address) = present(&self.http_addr) {
            let tls = matches!(config.address, api::Address::Tcp { tls: true, .. });
            config.address = address.parse()?;
            // *_HTTP_SSL=true asks for TLS wherever the address comes from.
            if tls && !address.contains("://") {
                config.address = config.address.with_tls();
            }
        }
        if let Some(token) = present(&self.token) {
            config.token = Token(token.into());
        }
        if let Some(path) = &self.token_file {
            let token = token_from_file(path.clone())?;
            if !token.0.is_empty() {
                config.token = token;
            }
        }
        let files = &mut config.tls;
        for (flag, setting) in [
            (&self.ca_file, &mut files.ca_file),
            (&self.ca_path, &mut files.ca_path),
            (&self.client_cert, &mut files.client_cert),
            (&self.client_key, &mut files.client_key),
        ] {
            if let Some(path) = flag.as_ref().filter(|path| !path.as_os_str().is_empty()) {
                *setting = Some(path.clone());
            }
        }
        if let Some(name) = present(&self.tls_server_name) {
            config.tls.server_name = Some(name);
        }
        Ok(config)
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.config()?)?)
    }
}

impl HttpFlags {
    pub(crate) fn config(&self) -> Result<ClientConfig, Failure> {
        let mut config = self.client.config()?;
        if let Some(datacenter) = &self.server.datacenter {
            config.datacenter.clone_from(datacenter);
        }
        if self.server.stale {
            config.consistency = Consistency::Stale;
        }
        Ok(config)
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.config()?)?)
    }

    pub(crate) fn client_in(&self, namespace: &NamespaceFlag) -> Result<Client, Failure> {
        let mut config = self.config()?;
        if let Some(namespace) = &namespace.namespace {
            config.namespace.clone_from(namespace);
        }
        Ok(Client::new(config)?)
    }
}

/// Runs one command's conversation with the agent to its end.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::during("starting the runtime"))?;
    runtime.block_on(work)
}

/// Reads `key=value` for a repeatable flag.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(format!("missing \"=\" between key and value in {text:?}")),
    }
}

/// Parameters that keep only nodes with all of these labels.
pub(crate) fn with_node_meta(node_meta: &[(String, String)]) -> QueryParams {
    QueryParams { node_meta: node_meta.to_vec(), ..QueryParams::default() }
}
