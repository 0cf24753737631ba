//! Timing of gossip.

use model::time::GoDuration;

use crate::SettingError;
use crate::decode::{Decode, Values};
use crate::setting::Setting;

/// Timing of one gossip pool. LAN and WAN have different defaults, so this is written out.
#[derive(Clone, Debug, PartialEq)]
pub struct Gossip {
    pub gossip_interval: GoDuration,
    /// Members told in each round.
    pub gossip_nodes: i64,
    pub probe_interval: GoDuration,
    pub probe_timeout: GoDuration,
    pub suspicion_mult: i64,
    pub retransmit_mult: i64,
}

impl Gossip {
    pub fn lan() -> Gossip {
        Gossip {
            gossip_interval: GoDuration::from_millis(200),
            gossip_nodes: 3,
            probe_interval: GoDuration::from_secs(1),
            probe_timeout: GoDuration::from_millis(500),
            suspicion_mult: 4,
            retransmit_mult: 4,
        }
    }

    pub fn wan() -> Gossip {
        Gossip {
            gossip_interval: GoDuration::from_millis(500),
            gossip_nodes: 3,
            probe_interval: GoDuration::from_secs(5),
            probe_timeout: GoDuration::from_secs(3),
            suspicion_mult: 6,
            retransmit_mult: 4,
        }
    }
}

impl Decode for Gossip {
    fn decode(values: &Values<'_>) -> Result<Gossip, SettingError> {
        let fields = values.fields()?;
        // The block's own name tells the pool.
        let absent = if values.key().ends_with("wan") { Gossip::wan() } else { Gossip::lan() };
        let gossip = Gossip {
            gossip_interval: fields.get("gossip_interval")?.unwrap_or(absent.gossip_interval),
            gossip_nodes: fields.get("gossip_nodes")?.unwrap_or(absent.gossip_nodes),
            probe_interval: fields.get("probe_interval")?.unwrap_or(absent.probe_interval),
            probe_timeout: fields.get("probe_timeout")?.unwrap_or(absent.probe_timeout),
            suspicion_mult: fields.get("suspicion_mult")?.unwrap_or(absent.suspicion_mult),
            retransmit_mult: fields.get("retransmit_mult")?.unwrap_or(absent.retransmit_mult),
        };
        fields.finish()?;
        Ok(gossip)
    }
}

impl Setting for Gossip {}
