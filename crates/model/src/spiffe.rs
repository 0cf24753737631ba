//! SPIFFE ids: who a certificate says its holder is. One strict parser, used by the signer, the
//! verifiers and the authorize endpoint alike.
//!
//! Deliberately absent: percent-decoding, ports, queries and every other part of a URL that the
//! standard forbids in an id. A name that does not fit a path segment is refused, never rewritten.
//! Source: SPIFFE-ID sections 2 and 3; Consul's URI forms.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest id in bytes that is accepted or made (SPIFFE-ID section 2.3).
pub const SPIFFE_ID_BYTES_MAX: usize = 2048;
/// Longest trust domain in bytes (SPIFFE-ID section 2.1).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;

const SCHEME: &str = "spiffe://";
/// The partition and namespace of everything that names none.
const DEFAULT: &str = "default";

/// An identity in the mesh, of one of the kinds that exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpiffeId {
    /// An instance of a service: `/ns/<ns>/dc/<dc>/svc/<service>`.
    Service(ServiceId),
    /// A client agent: `/agent/client/dc/<dc>/id/<node>`.
    Agent(AgentId),
    /// Any server of a datacenter: `/agent/server/dc/<dc>`.
    Server { trust_domain: TrustDomain, datacenter: Segment },
    /// Any mesh gateway of a datacenter: `/gateway/mesh/dc/<dc>`.
    MeshGateway { trust_domain: TrustDomain, partition: Segment, datacenter: Segment },
    /// The authority itself; the only form without a path and never that of a peer.
    Signing { trust_domain: TrustDomain },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId {
    pub trust_domain: TrustDomain,
    pub partition: Segment,
    pub namespace: Segment,
    pub datacenter: Segment,
    pub service: Segment,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId {
    pub trust_domain: TrustDomain,
    pub partition: Segment,
    pub datacenter: Segment,
    pub node: Segment,
}

impl SpiffeId {
    /// The id of `service` in the default namespace and partition of `datacenter`.
    ///
    /// Errors: a name that is no path segment, or an id that would be too long.
    pub fn service(
        trust_domain: &TrustDomain,
        datacenter: &str,
        service: &str,
    ) -> Result<Self, SpiffeError> {
        Self::Service(ServiceId {
            trust_domain: trust_domain.clone(),
            partition: Segment::default(),
            namespace: Segment::default(),
            datacenter: datacenter.parse()?,
            service: service.parse()?,
        })
        .within_bounds()
    }

    /// The id of the client agent `node` in the default partition of `datacenter`.
    ///
    /// Errors: as [`SpiffeId::service`].
    pub fn agent(
        trust_domain: &TrustDomain,
        datacenter: &str,
        node: &str,
    ) -> Result<Self, SpiffeError> {
        Self::Agent(AgentId {
            trust_domain: trust_domain.clone(),
            partition: Segment::default(),
            datacenter: datacenter.parse()?,
            node: node.parse()?,
        })
        .within_bounds()
    }

    pub fn trust_domain(&self) -> &TrustDomain {
        match self {
            Self::Service(id) => &id.trust_domain,
            Self::Agent(id) => &id.trust_domain,
            Self::Server { trust_domain, .. }
            | Self::MeshGateway { trust_domain, .. }
            | Self::Signing { trust_domain } => trust_domain,
        }
    }

    /// The datacenter named in the id; a signing id names none.
    pub fn datacenter(&self) -> Option<&Segment> {
        match self {
            Self::Service(id) => Some(&id.datacenter),
            Self::Agent(id) => Some(&id.datacenter),
            Self::Server { datacenter, .. } | Self::MeshGateway { datacenter, .. } => {
                Some(datacenter)
            }
            Self::Signing { .. } => None,
        }
    }

    pub fn as_service(&self) -> Option<&ServiceId> {
        match self {
            Self::Service(id) => Some(id),
            _ => None,
        }
    }

    /// Every segment is bounded only by the whole, so the whole is judged once it is put together.
    fn within_bounds(self) -> Result<Self, SpiffeError> {
        match self.to_string().len() {
            0..=SPIFFE_ID_BYTES_MAX => Ok(self),
            _ => Err(SpiffeError::TooLong),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    /// Shape: `spiffe://<trust domain>` and one of the known paths. The scheme may have any case,
    /// everything after it is compared byte by byte.
    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(SpiffeError::TooLong);
        }
        let rest = match text.get(..SCHEME.len()) {
            Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => &text[SCHEME.len()..],
            _ => return Err(SpiffeError::NotSpiffe),
        };
        let Some((domain, path)) = rest.split_once('/') else {
            let trust_domain: TrustDomain = rest.parse()?;
            // That of a cluster: `<cluster id>.consul`.
            return match trust_domain.as_str().contains('.') {
                true => Ok(Self::Signing { trust_domain }),
                false => Err(SpiffeError::UnknownForm),
            };
        };
        from_path(domain.parse()?, path)
    }
}

/// Longest path among the forms: a service in a partition.
const SEGMENTS_MAX: usize = 8;

fn from_path(trust_domain: TrustDomain, path: &str) -> Result<SpiffeId, SpiffeError> {
    // Every segment is judged before the form is, so that the error names the worse fault.
    let mut segments = [""; SEGMENTS_MAX];
    let mut count = 0;
    for segment in path.split('/') {
        check_segment(segment)?;
        if let Some(slot) = segments.get_mut(count) {
            *slot = segment;
        }
        count += 1;
    }
    let Some(segments) = segments.get(..count) else { return Err(SpiffeError::UnknownForm) };
    let (partition, form) = match segments {
        ["ap", partition, form @ ..] => (*partition, form),
        form => (DEFAULT, form),
    };
    let owned = |segment: &str| Segment(segment.into());
    match *form {
        ["ns", namespace, "dc", datacenter, "svc", service] => Ok(SpiffeId::Service(ServiceId {
            trust_domain,
            partition: owned(partition),
            namespace: owned(namespace),
            datacenter: owned(datacenter),
            service: owned(service),
        })),
        ["agent", "client", "dc", datacenter, "id", node] => Ok(SpiffeId::Agent(AgentId {
            trust_domain,
            partition: owned(partition),
            datacenter: owned(datacenter),
            node: owned(node),
        })),
        // Servers belong to no partition, so theirs must not be spelled out.
        ["agent", "server", "dc", datacenter] if segments.len() == form.len() => {
            Ok(SpiffeId::Server { trust_domain, datacenter: owned(datacenter) })
        }
        ["gateway", "mesh", "dc", datacenter] => Ok(SpiffeId::MeshGateway {
            trust_domain,
            partition: owned(partition),
            datacenter: owned(datacenter),
        }),
        _ => Err(SpiffeError::UnknownForm),
    }
}

impl fmt::Display for SpiffeId {
    /// The one spelling used in certificates: the default partition is not written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.trust_domain())?;
        match self {
            Self::Service(ServiceId {
                trust_domain: _,
                partition,
                namespace,
                datacenter,
                service,
            }) => {
                write_partition(f, partition)?;
                write!(f, "/ns/{namespace}/dc/{datacenter}/svc/{service}")
            }
            Self::Agent(AgentId { trust_domain: _, partition, datacenter, node }) => {
                write_partition(f, partition)?;
                write!(f, "/agent/client/dc/{datacenter}/id/{node}")
            }
            Self::Server { trust_domain: _, datacenter } => {
                write!(f, "/agent/server/dc/{datacenter}")
            }
            Self::MeshGateway { trust_domain: _, partition, datacenter } => {
                write_partition(f, partition)?;
                write!(f, "/gateway/mesh/dc/{datacenter}")
            }
            Self::Signing { trust_domain: _ } => Ok(()),
        }
    }
}

fn write_partition(f: &mut fmt::Formatter<'_>, partition: &Segment) -> fmt::Result {
    if partition.as_str() == DEFAULT { Ok(()) } else { write!(f, "/ap/{partition}") }
}

/// The authority part of an id: lower-case letters, digits, dot, dash, underscore.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// `<cluster id>.consul`, the domain a cluster keeps for life.
    ///
    /// Errors: a cluster id with characters that no trust domain may have.
    pub fn of_cluster(cluster_id: &str) -> Result<Self, SpiffeError> {
        if cluster_id.is_empty() {
            return Err(SpiffeError::TrustDomain);
        }
        format!("{cluster_id}.consul").parse()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// First label: the cluster id.
    pub fn cluster_id(&self) -> &str {
        self.0.split_once('.').map_or(&*self.0, |(label, _)| label)
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let fits = (1..=TRUST_DOMAIN_BYTES_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
        if fits { Ok(Self(text.into())) } else { Err(SpiffeError::TrustDomain) }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One part of an id's path: letters, digits, dot, dash, underscore; not empty, `.` or `..`.
/// The default is `default`, as of partitions and namespaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment(Box<str>);

impl Segment {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Segment {
    fn default() -> Self {
        Self(DEFAULT.into())
    }
}

impl FromStr for Segment {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(SpiffeError::TooLong);
        }
        check_segment(text)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq<str> for Segment {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

fn check_segment(text: &str) -> Result<(), SpiffeError> {
    let fits = !matches!(text, "" | "." | "..")
        && text.bytes().all(
            |byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_'),
        );
    if fits { Ok(()) } else { Err(SpiffeError::Path) }
}

/// Why a text is no id of ours. Always the fault of whoever wrote the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    #[error("identity is longer than {SPIFFE_ID_BYTES_MAX} bytes")]
    TooLong,
    #[error("identity does not begin with spiffe://")]
    NotSpiffe,
    #[error(
        "trust domain must have 1 to 255 lower-case letters, digits, dots, dashes, underscores"
    )]
    TrustDomain,
    #[error("path segments must be of letters, digits, dots, dashes, underscores")]
    Path,
    #[error("identity is not of a service, agent, server, mesh gateway or authority")]
    UnknownForm,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepted_texts() {
        let check = |text: &str, kind: &str, written: &str| {
            let id: SpiffeId = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            let debug = format!("{id:?}");
            assert!(debug.starts_with(kind), "{text} gave {debug}");
            assert_eq!(id.to_string(), written);
        };
        let same = |text: &str, kind: &str| check(text, kind, text);
        same("spiffe://a.consul", "Signing");
        same("spiffe://a_b-c.0", "Signing");
        same("spiffe://a.consul/ns/default/dc/dc1/svc/web", "Service");
        same("spiffe://a.consul/ns/n/dc/dc1/svc/Web_1.x-y", "Service");
        same("spiffe://a.consul/ap/p/ns/default/dc/dc1/svc/web", "Service");
        same("spiffe://a.consul/ns/default/dc/dc1/svc/...", "Service");
        same("spiffe://a.consul/agent/client/dc/dc1/id/n1", "Agent");
        same("spiffe://a.consul/ap/p/agent/client/dc/dc1/id/n1", "Agent");
        same("spiffe://a.consul/agent/server/dc/dc1", "Server");
        same("spiffe://a.consul/gateway/mesh/dc/dc1", "MeshGateway");
        same("spiffe://a.consul/ap/p/gateway/mesh/dc/dc1", "MeshGateway");
        check("SPIFFE://a.consul", "Signing", "spiffe://a.consul");
        check(
            "spiffe://a/ap/default/ns/default/dc/d/svc/s",
            "Service",
            "spiffe://a/ns/default/dc/d/svc/s",
        );
    }

    #[test]
    fn refused_texts() {
        use SpiffeError::*;
        let check = |text: &str, error: SpiffeError| {
            assert_eq!(text.parse::<SpiffeId>(), Err(error), "{text}");
        };
        check("", NotSpiffe);
        check("spiffe", NotSpiffe);
        check("spiffe:/a", NotSpiffe);
        check("http://a.consul/ns/default/dc/dc1/svc/web", NotSpiffe);
        check("späffe://a", NotSpiffe);
        check("spiffe://", TrustDomain);
        check("spiffe:///ns/default/dc/dc1/svc/web", TrustDomain);
        check("spiffe://A.consul/ns/default/dc/dc1/svc/web", TrustDomain);
        check("spiffe://u@a/ns/default/dc/dc1/svc/web", TrustDomain);
        check("spiffe://a:80/ns/default/dc/dc1/svc/web", TrustDomain);
        check("spiffe://a%2e/ns/default/dc/dc1/svc/web", TrustDomain);
        check("spiffe://ä", TrustDomain);
        check("spiffe://a?x", TrustDomain);
        check("spiffe://a#x", TrustDomain);
        check(" spiffe://a", NotSpiffe);
        check("spiffe://a ", TrustDomain);
        check("spiffe://a/", Path);
        check("spiffe://a//ns/default/dc/dc1/svc/web", Path);
        check("spiffe://a/ns/default/dc/dc1/svc/web/", Path);
        check("spiffe://a/ns/default/dc/dc1/svc/", Path);
        check("spiffe://a/ns/default/dc/dc1/svc/.", Path);
        check("spiffe://a/ns/default/dc/dc1/svc/..", Path);
        check("spiffe://a/ns/default/dc/../svc/web", Path);
        check("spiffe://a/ns/default/dc/dc1/svc/a%20b", Path);
        check("spiffe://a/ns/default/dc/dc1/svc/a b", Path);
        check("spiffe://a/ns/default/dc/dc1/svc/a?b", Path);
        check("spiffe://a/ns/default/dc/dc1/svc/a#b", Path);
        check("spiffe://a/ns/default/dc/dc1/svc/ü", Path);
        check("spiffe://a/ns/default/dc/dc1/svc/*", Path);
        check("spiffe://a/ns/default/dc/dc1/svc/a\0", Path);
        check("spiffe://a/ns/default/dc/dc1/svc", UnknownForm);
        check("spiffe://a/ns/default/dc/dc1/svc/web/x", UnknownForm);
        check("spiffe://a/NS/default/dc/dc1/svc/web", UnknownForm);
        check("spiffe://a/ns/default/svc/web/dc/dc1", UnknownForm);
        check("spiffe://a/ap/p", UnknownForm);
        check("spiffe://a/ap/p/agent/server/dc/dc1", UnknownForm);
        check("spiffe://a/ap/p/ap/p/ns/default/dc/dc1/svc/web", UnknownForm);
        check("spiffe://a/a/b/c/d/e/f/g/h/i/j/k/l", UnknownForm);
        check("spiffe://a/a/b/c/d/e/f/g/h/i/j/k/%", Path);
    }

    #[test]
    fn lengths_at_their_bounds() {
        let domain = |length: usize| "d".repeat(length).parse::<TrustDomain>();
        assert!(domain(TRUST_DOMAIN_BYTES_MAX).is_ok());
        assert_eq!(domain(TRUST_DOMAIN_BYTES_MAX + 1), Err(SpiffeError::TrustDomain));

        let prefix = "spiffe://a/ns/default/dc/d/svc/";
        let service = "s".repeat(SPIFFE_ID_BYTES_MAX - prefix.len());
        let longest = SpiffeId::service(&"a".parse().unwrap(), "d", &service).unwrap();
        assert_eq!(longest.to_string().parse(), Ok(longest));
        let error = SpiffeId::service(&"a".parse().unwrap(), "d", &format!("{service}s"));
        assert_eq!(error, Err(SpiffeError::TooLong));
        assert_eq!(format!("{prefix}{service}s").parse::<SpiffeId>(), Err(SpiffeError::TooLong));
    }

    #[test]
    fn names_that_fit_no_path_are_refused() {
        let domain = TrustDomain::of_cluster("11111111-2222").unwrap();
        assert_eq!(domain.as_str(), "11111111-2222.consul");
        assert_eq!(domain.cluster_id(), "11111111-2222");
        for name in ["", ".", "..", "a b", "a/b", "a%", "ü", "*"] {
            assert_eq!(SpiffeId::service(&domain, "dc1", name), Err(SpiffeError::Path), "{name}");
            assert_eq!(SpiffeId::agent(&domain, name, "n"), Err(SpiffeError::Path), "{name}");
        }
        assert!(TrustDomain::of_cluster("").is_err());
        assert!(TrustDomain::of_cluster("A").is_err());
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC{0,80}") {
            let _ = text.parse::<SpiffeId>();
        }

        #[test]
        fn near_misses_never_change_their_meaning(
            text in "(?i:spiffe)://[a-z%@:.]{0,6}(/(ns|ap|dc|svc|default|agent|client|id|[a-z.%]{0,3})){0,9}"
        ) {
            if let Ok(id) = text.parse::<SpiffeId>() {
                let written = id.to_string();
                prop_assert_eq!(written.parse::<SpiffeId>(), Ok(id));
                let spelled = text.replace("/ap/default", "").to_ascii_lowercase();
                prop_assert_eq!(spelled, written);
            }
        }

        #[test]
        fn what_is_made_parses_back(
            domain in "[a-z0-9._-]{1,40}",
            partition in "[a-zA-Z0-9_-]{1,12}",
            datacenter in "[a-zA-Z0-9_-]{1,12}",
            service in "[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,40}",
        ) {
            let trust_domain: TrustDomain = domain.parse().unwrap();
            let id = SpiffeId::Service(ServiceId {
                trust_domain: trust_domain.clone(),
                partition: partition.parse().unwrap(),
                namespace: Segment::default(),
                datacenter: datacenter.parse().unwrap(),
                service: service.parse().unwrap(),
            });
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let id = SpiffeId::agent(&trust_domain, &datacenter, &service).unwrap();
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
