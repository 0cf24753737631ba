//! The names that certificates carry beside the identity: for people reading them, never for
//! decisions. Forms are those of Consul, observed on 1.8.7.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use model::spiffe::{AgentId, ServiceId, SpiffeId, TrustDomain};

use crate::der::{SET, Writer};

/// Longest common name (RFC 5280 appendix A, `ub-common-name`).
const COMMON_NAME_BYTES_MAX: usize = 64;
/// Letters of the cluster id shown in common names.
const CLUSTER_ID_BYTES: usize = 8;
/// Random letters that tell one authority's certificates from the next one's.
const AUTHORITY_TAG_BYTES: usize = 8;

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// A `Name` of one common name, as DER. `common_name` is printable: made by this module only.
pub(crate) fn name(common_name: &str) -> Vec<u8> {
    let mut writer = Writer::with_capacity(common_name.len() + 16);
    writer.sequence(|w| {
        w.nest(SET, |w| {
            w.sequence(|w| {
                w.oid(COMMON_NAME);
                w.printable(common_name);
            });
        });
    });
    writer.into_bytes()
}

/// The common name of a leaf for `id`.
pub(crate) fn common_name(id: &SpiffeId) -> String {
    let cluster = cluster(id.trust_domain());
    match id {
        SpiffeId::Service(ServiceId { service, namespace, .. }) => fitted(
            service.as_str(),
            &format!(".svc.{}.{cluster}.consul", plain(namespace.as_str())),
        ),
        SpiffeId::Agent(AgentId { node, .. }) => {
            fitted(node.as_str(), &format!(".agnt.{cluster}.consul"))
        }
        SpiffeId::Server { datacenter, .. } => {
            fitted(datacenter.as_str(), &format!(".srv.{cluster}.consul"))
        }
        SpiffeId::MeshGateway { datacenter, .. } => {
            fitted(datacenter.as_str(), &format!(".mgw.{cluster}.consul"))
        }
        SpiffeId::Signing { .. } => format!("ca.{cluster}.consul"),
    }
}

/// The common name of a new root (`pri`) or of a secondary's intermediate (`sec`).
pub(crate) fn authority_name(
    role: &str,
    trust_domain: &TrustDomain,
) -> Result<String, Unspecified> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0u8; AUTHORITY_TAG_BYTES];
    rand::fill(&mut random)?;
    let tag: String =
        random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    Ok(format!("{role}-{tag}.consul.ca.{}.consul", cluster(trust_domain)))
}

fn cluster(trust_domain: &TrustDomain) -> String {
    trust_domain.cluster_id().chars().take(CLUSTER_ID_BYTES).collect()
}

/// `head` without what a host name may not have, cut so that the whole fits.
fn fitted(head: &str, tail: &str) -> String {
    let room = COMMON_NAME_BYTES_MAX.saturating_sub(tail.len());
    let mut text: String = plain(head).chars().take(room).collect();
    text.push_str(tail);
    text.truncate(COMMON_NAME_BYTES_MAX);
    text
}

fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected names were given by Consul 1.8.7.
    #[test]
    fn common_names_of_services() {
        let domain: TrustDomain = "458884c2-7743-8784-498f-a3b3e3d58792.consul".parse().unwrap();
        let check = |service: &str, want: &str| {
            let id = SpiffeId::service(&domain, "dc1", service).unwrap();
            assert_eq!(common_name(&id), want);
        };
        check("web", "web.svc.default.458884c2.consul");
        check("My_Svc.x-1", "mysvcx1.svc.default.458884c2.consul");
        check(
            "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg",
            "aaaaaaaaaabbbbbbbbbbccccccccccdddddd.svc.default.458884c2.consul",
        );
    }

    #[test]
    fn authority_names_differ() {
        let domain: TrustDomain = "458884c2-7743-8784-498f-a3b3e3d58792.consul".parse().unwrap();
        let first = authority_name("pri", &domain).unwrap();
        assert!(first.starts_with("pri-") && first.ends_with(".consul.ca.458884c2.consul"));
        assert_ne!(first, authority_name("pri", &domain).unwrap());
    }
}
