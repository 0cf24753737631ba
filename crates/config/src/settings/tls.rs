//! Certificates and what is asked of others, in the form of Consul 1.12 and later.

settings! {
    /// One group a port, over defaults for all.
    pub struct Tls {
        defaults: TlsGroup = TlsGroup::default();
        https: TlsGroup = TlsGroup::default();
        grpc: TlsGroup = TlsGroup::default();
        internal_rpc: TlsGroup = TlsGroup::default();
    }
}

settings! {
    /// What a group says; what it leaves out is as in the defaults.
    pub struct TlsGroup {
        ca_file: Option<String> = None;
        ca_path: Option<String> = None;
        cert_file: Option<String> = None;
        key_file: Option<String> = None;
        /// `TLSv1_2` or `TLSv1_3`, or in the older form.
        tls_min_version: Option<String> = None, check(group_min_version);
        tls_cipher_suites: Option<String> = None;
        verify_incoming: Option<bool> = None;
        verify_outgoing: Option<bool> = None;
        verify_server_hostname: Option<bool> = None;
        use_auto_cert: Option<bool> = None;
    }
}

fn group_min_version(version: &Option<String>) -> Result<(), String> {
    version.as_deref().map_or(Ok(()), min_version)
}

pub(super) fn min_version(version: &str) -> Result<(), String> {
    match version {
        "" | "tls10" | "tls11" | "tls12" | "tls13" => Ok(()),
        "TLS_AUTO" | "TLSv1_0" | "TLSv1_1" | "TLSv1_2" | "TLSv1_3" => Ok(()),
        other => Err(format!("{other:?} is no TLS version; write \"tls12\" or \"tls13\"")),
    }
}

/// The suites that Consul 1.8.7 knows, without what all begin with.
const CIPHER_SUITES: [&str; 10] = [
    "ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "ECDHE_RSA_WITH_AES_256_GCM_SHA384",
];

pub(super) fn cipher_suites(suites: &str) -> Result<(), String> {
    let is_known = |suite: &str| {
        suite.strip_prefix("TLS_").is_some_and(|suite| CIPHER_SUITES.contains(&suite))
    };
    let mut suites = suites.split(',').map(str::trim).filter(|suite| !suite.is_empty());
    match suites.find(|suite| !is_known(suite)) {
        None => Ok(()),
        Some(suite) => {
            Err(format!("invalid tls cipher suites: unsupported cipher {suite:?}; remove it"))
        }
    }
}
