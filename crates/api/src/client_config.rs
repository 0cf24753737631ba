//! How to reach an agent: address, token, TLS files. Read from flags, or from the environment.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use model::query::{Consistency, Token};

use crate::address::Address;
use crate::error::Error;

/// Longest wait for an answer that does not block on purpose.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer read into memory. A listing of half a million keys fits, a runaway peer does not.
pub const ANSWER_BYTES_MAX: usize = 512 << 20;

/// Files and names for TLS towards the agent. Absent CA files mean the system's roots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca_file: Option<PathBuf>,
    /// Directory of CA certificates.
    pub ca_path: Option<PathBuf>,
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    /// Name expected in the agent's certificate instead of the address's host.
    pub server_name: Option<String>,
    /// Accept any certificate. Set only by `*_HTTP_SSL_VERIFY=false`.
    pub skip_verify: bool,
}

/// Basic authentication, for agents behind a reverse proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpAuth {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for HttpAuth {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAuth").field("username", &self.username).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub struct ClientConfig {
    pub address: Address,
    pub token: Token,
    /// Empty for the agent's own.
    pub datacenter: String,
    /// Sent as it is; agents of the community edition refuse any.
    pub namespace: String,
    /// How fresh answers must be, where a call does not say.
    pub consistency: Consistency,
    pub http_auth: Option<HttpAuth>,
    pub tls: TlsFiles,
    pub answer_timeout: Duration,
    pub answer_bytes_max: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            address: Address::default(),
            token: Token::default(),
            datacenter: String::new(),
            namespace: String::new(),
            consistency: Consistency::default(),
            http_auth: None,
            tls: TlsFiles::default(),
            answer_timeout: ANSWER_TIMEOUT,
            answer_bytes_max: ANSWER_BYTES_MAX,
        }
    }
}

impl ClientConfig {
    /// Reads `LICTOR_*` and, where that is unset or empty, `CONSUL_*`.
    ///
    /// Errors: an address or switch that cannot be understood, a token file that cannot be read.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// As [`Self::from_env`], from any source of variables.
    pub fn from_variables(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let environment = Environment { lookup };
        let mut config = Self::default();
        if let Some((_, address)) = environment.find("HTTP_ADDR") {
            config.address = address.parse()?;
        }
        if let Some((_, token)) = environment.find("HTTP_TOKEN") {
            config.token = Token(token.into());
        }
        // The file wins over the variable, so that a secret need not be in the environment.
        if let Some((_, path)) = environment.find("HTTP_TOKEN_FILE") {
            config.token = token_from_file(path.into())?;
        }
        if let Some((_, auth)) = environment.find("HTTP_AUTH") {
            let (username, password) = auth.split_once(':').unwrap_or((&auth, ""));
            config.http_auth =
                Some(HttpAuth { username: username.to_owned(), password: password.to_owned() });
        }
        if environment.switch("HTTP_SSL")? == Some(true) {
            config.address = config.address.with_tls();
        }
        if environment.switch("HTTP_SSL_VERIFY")? == Some(false) {
            config.tls.skip_verify = true;
        }
        let value = |name| environment.find(name).map(|(_, value)| value);
        config.tls.ca_file = value("CACERT").map(Into::into);
        config.tls.ca_path = value("CAPATH").map(Into::into);
        config.tls.client_cert = value("CLIENT_CERT").map(Into::into);
        config.tls.client_key = value("CLIENT_KEY").map(Into::into);
        config.tls.server_name = value("TLS_SERVER_NAME");
        config.namespace = value("NAMESPACE").unwrap_or_default();
        Ok(config)
    }
}

/// Reads a token from a file, without the line end around it.
pub fn token_from_file(path: PathBuf) -> Result<Token, Error> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Token(text.trim().into())),
        Err(error) => Err(Error::File { path, reason: error.to_string() }),
    }
}

struct Environment<F> {
    lookup: F,
}

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    /// The full name and value of a variable given without its prefix; empty counts as unset.
    fn find(&self, name: &str) -> Option<(String, String)> {
        ["LICTOR_", "CONSUL_"].into_iter().find_map(|prefix| {
            let full = format!("{prefix}{name}");
            let value = (self.lookup)(&full).filter(|value| !value.is_empty())?;
            Some((full, value))
        })
    }

    fn switch(&self, name: &str) -> Result<Option<bool>, Error> {
        let Some((variable, value)) = self.find(name) else { return Ok(None) };
        match parse_switch(&value) {
            Some(on) => Ok(Some(on)),
            None => Err(Error::Environment {
                variable,
                reason: format!("{value:?} is neither true nor false"),
            }),
        }
    }
}

/// The words Go accepts for a boolean.
pub fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<ClientConfig, Error> {
        ClientConfig::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn own_variables_come_first() {
        let config = read(&[
            ("CONSUL_HTTP_ADDR", "10.0.0.1:8500"),
            ("LICTOR_HTTP_ADDR", "10.0.0.2:8500"),
            ("CONSUL_HTTP_TOKEN", "theirs"),
            ("LICTOR_HTTP_TOKEN", ""),
            ("CONSUL_HTTP_SSL", "true"),
            ("CONSUL_HTTP_AUTH", "user:pass:word"),
        ])
        .unwrap();
        assert_eq!(config.address.to_string(), "https://10.0.0.2:8500");
        assert_eq!(&*config.token.0, "theirs");
        let auth = config.http_auth.unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("user", "pass:word"));
    }

    #[test]
    fn bad_values_name_their_variable() {
        let error = read(&[("CONSUL_HTTP_SSL_VERIFY", "perhaps")]).unwrap_err().to_string();
        assert!(error.contains("CONSUL_HTTP_SSL_VERIFY"), "{error}");
        let error = read(&[("CONSUL_HTTP_TOKEN_FILE", "/nonexistent")]).unwrap_err().to_string();
        assert!(error.contains("/nonexistent"), "{error}");
    }

    #[test]
    fn secrets_are_not_printed() {
        let config =
            read(&[("LICTOR_HTTP_TOKEN", "s3cret"), ("LICTOR_HTTP_AUTH", "u:s3cret")]).unwrap();
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
