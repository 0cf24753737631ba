//! Records made ready once per change of a service, so that each answer only copies some.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use model::Meta;
use model::check::CheckStatus;
use model::health::CheckServiceNode;

use crate::lookup::address_label;
use crate::message::labels;

/// What is known of one service name, ready to be copied into answers.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// Distinct addresses of all instances.
    pub(crate) v4: Vec<Ipv4Addr>,
    pub(crate) v6: Vec<Ipv6Addr>,
    /// Wire labels of host names given instead of addresses.
    pub(crate) hosts: Vec<Vec<u8>>,
    /// Distinct by node, address and port: the targets of SRV records.
    pub(crate) instances: Vec<Instance>,
}

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) target: Target,
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) weight: u16,
    /// Wire labels of the node's name before our domain.
    pub(crate) node: Vec<u8>,
    /// The node's metadata as TXT texts.
    pub(crate) meta: Arc<[String]>,
}

/// Where an SRV record leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Wire labels before our domain.
    InDomain(Vec<u8>),
    /// Wire labels of a name elsewhere.
    Foreign(Vec<u8>),
}

impl Prepared {
    /// From the instances that may be answered with. Critical ones must be left out already, or
    /// are left out here.
    pub(crate) fn new(rows: &[CheckServiceNode], only_passing: bool, datacenter: &str) -> Self {
        let mut prepared = Self::default();
        let (mut addresses, mut hosts, mut targets) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for row in rows {
            let status = row.status();
            if status == CheckStatus::Critical || (only_passing && status != CheckStatus::Passing) {
                continue;
            }
            let address: Option<IpAddr> = row.address().parse().ok();
            match address {
                Some(address) if addresses.insert(address) => match address {
                    IpAddr::V4(address) => prepared.v4.push(address),
                    IpAddr::V6(address) => prepared.v6.push(address),
                },
                Some(_) => {}
                None => {
                    if hosts.insert(row.address())
                        && let Some(host) = labels(row.address())
                    {
                        prepared.hosts.push(host);
                    }
                }
            }
            let place = (&row.node.name, &row.service.address, row.service.port);
            if targets.insert(place)
                && let Some(instance) = Instance::new(row, address, status, datacenter)
            {
                prepared.instances.push(instance);
            }
        }
        prepared
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty() && self.hosts.is_empty()
    }
}

impl Instance {
    /// `None` when the node's or host's name cannot be written in DNS.
    fn new(
        row: &CheckServiceNode,
        address: Option<IpAddr>,
        status: CheckStatus,
        datacenter: &str,
    ) -> Option<Self> {
        let own_address = !row.service.address.is_empty();
        let node = node_labels(&row.node.name, datacenter)?;
        let target = match address {
            Some(address) if own_address => {
                let name = format!("{}.addr.{datacenter}", address_label(address));
                Target::InDomain(labels(&name)?)
            }
            Some(_) => Target::InDomain(node.clone()),
            None => Target::Foreign(labels(row.address())?),
        };
        let meta = meta_texts(&row.node.meta);
        let weights = row.service.weights;
        let weight = if status == CheckStatus::Warning { weights.warning } else { weights.passing };
        Some(Self { target, address, port: row.service.port, weight, node, meta })
    }
}

/// Wire labels of `<node>.node.<datacenter>`.
pub(crate) fn node_labels(node: &str, datacenter: &str) -> Option<Vec<u8>> {
    labels(&format!("{node}.node.{datacenter}"))
}

/// TXT texts of a node's metadata: `key=value`, or the bare value for `rfc1035-` keys.
pub(crate) fn meta_texts(meta: &Meta) -> Arc<[String]> {
    meta.iter()
        .flatten()
        .map(|(key, value)| match key.to_ascii_lowercase().starts_with("rfc1035-") {
            true => value.clone(),
            false => format!("{key}={value}"),
        })
        .collect()
}
