//! Network coordinates: where each node stands in the latency space gossip measures.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::wire::null_as_default;

/// Dimensions of the space, without the height.
pub const DIMENSIONS: usize = 8;

/// A Vivaldi coordinate. Units: seconds throughout.
///
/// Source: Dabek et al., "Vivaldi: a decentralized network coordinate system" (2004), with the
/// height and adjustment terms Serf adds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Coordinate {
    #[serde(deserialize_with = "null_as_default")]
    pub vec: Vec<f64>,
    pub error: f64,
    pub adjustment: f64,
    pub height: f64,
}

/// Only finite coordinates enter the state, so that equality is what it seems.
impl Eq for Coordinate {}

impl Coordinate {
    /// Whether every part is a finite number and the dimensions are the usual ones.
    pub fn is_valid(&self) -> bool {
        let parts = [self.error, self.adjustment, self.height];
        self.vec.len() == DIMENSIONS && self.vec.iter().chain(&parts).all(|part| part.is_finite())
    }

    /// Estimated round trip to `other`. Unit: seconds. `None` when the dimensions differ.
    pub fn distance(&self, other: &Self) -> Option<f64> {
        if self.vec.len() != other.vec.len() {
            return None;
        }
        let squares = self.vec.iter().zip(&other.vec).map(|(a, b)| (a - b) * (a - b));
        let raw = squares.sum::<f64>().sqrt() + self.height + other.height;
        let adjusted = raw + self.adjustment + other.adjustment;
        Some(if adjusted > 0.0 { adjusted } else { raw })
    }
}

/// Row of `/v1/coordinate/nodes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeCoordinate {
    pub node: String,
    pub segment: String,
    pub coord: Coordinate,
}

/// Row of `/v1/coordinate/datacenters`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DatacenterMap {
    pub datacenter: String,
    #[serde(rename = "AreaID")]
    pub area_id: String,
    #[serde(deserialize_with = "null_as_default")]
    pub coordinates: Vec<Arc<NodeCoordinate>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_the_round_trip_and_never_negative() {
        let at = |x: f64, height: f64, adjustment: f64| {
            let mut vec = vec![0.0; DIMENSIONS];
            vec[0] = x;
            Coordinate { vec, error: 0.5, adjustment, height }
        };
        let check = |a: Coordinate, b: Coordinate, seconds: f64| {
            let distance = a.distance(&b).unwrap();
            assert!((distance - seconds).abs() < 1e-9, "{distance}");
        };
        check(at(0.0, 0.0, 0.0), at(0.3, 0.0, 0.0), 0.3);
        check(at(0.0, 0.01, 0.0), at(0.3, 0.02, 0.0), 0.33);
        check(at(0.0, 0.0, 0.05), at(0.3, 0.0, -0.1), 0.25);
        // Adjustments that would make it negative are left out.
        check(at(0.0, 0.0, -1.0), at(0.3, 0.0, 0.0), 0.3);
        assert_eq!(at(0.0, 0.0, 0.0).distance(&Coordinate::default()), None);
    }
}
