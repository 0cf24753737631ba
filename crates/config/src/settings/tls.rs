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
