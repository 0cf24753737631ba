//! Network coordinates: where a node lies in a space whose distances are round trips (Vivaldi; Dabek et al., 2004,
//! with adjustments and gravity after Ledlie, 2007).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::wire::WireError;
use crate::wire::msgpack::{Reader, Writer};

pub const DIMENSIONS: usize = 8;
const ERROR_MAX: f64 = 1.5;
const CE: f64 = 0.25;
const CC: f64 = 0.25;
const ADJUSTMENT_WINDOW: usize = 20;
const HEIGHT_MIN: f64 = 1e-5;
const LATENCY_FILTER: usize = 3;
const GRAVITY_RHO: f64 = 150.0;
const ZERO: f64 = 1e-6;
/// A round trip beyond this says more about a stopped process than about the network.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);
/// First byte of the payload of a ping's answer.
const PAYLOAD_VERSION: u8 = 1;

/// Units: seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Coordinate {
    pub vector: [f64; DIMENSIONS],
    pub error: f64,
    pub adjustment: f64,
    pub height: f64,
}

impl Default for Coordinate {
    fn default() -> Self {
        Coordinate {
            vector: [0.0; DIMENSIONS],
            error: ERROR_MAX,
            adjustment: 0.0,
            height: HEIGHT_MIN,
        }
    }
}

impl Coordinate {
    /// The estimated round trip between two nodes.
    pub fn distance(&self, other: &Coordinate) -> Duration {
        let raw = self.raw_distance(other);
        let adjusted = raw + self.adjustment + other.adjustment;
        Duration::try_from_secs_f64(if adjusted > 0.0 { adjusted } else { raw }).unwrap_or_default()
    }

    fn raw_distance(&self, other: &Coordinate) -> f64 {
        magnitude(&difference(&self.vector, &other.vector)) + self.height + other.height
    }

    fn adjusted_distance(&self, other: &Coordinate) -> f64 {
        let raw = self.raw_distance(other);
        let adjusted = raw + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { raw }
    }

    fn is_finite(&self) -> bool {
        self.vector
            .iter()
            .chain([&self.error, &self.adjustment, &self.height])
            .all(|x| x.is_finite())
    }

    /// Moved by `force` away from `other`.
    fn apply_force(&mut self, force: f64, other: &Coordinate, rng: &mut StdRng) {
        let (unit, magnitude) = unit_vector(&self.vector, &other.vector, rng);
        for (at, direction) in self.vector.iter_mut().zip(unit) {
            *at += direction * force;
        }
        if magnitude > ZERO {
            let height = (self.height + other.height) * force / magnitude + self.height;
            self.height = height.max(HEIGHT_MIN);
        }
    }

    /// The payload of a ping's answer.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_type(PAYLOAD_VERSION);
        writer.map(4);
        writer.raw("Adjustment");
        writer.float(self.adjustment);
        writer.raw("Error");
        writer.float(self.error);
        writer.raw("Height");
        writer.float(self.height);
        writer.raw("Vec");
        writer.array(DIMENSIONS);
        for x in self.vector {
            writer.float(x);
        }
        writer.finish()
    }

    /// Errors: another version, another number of dimensions, a component that is no finite number.
    pub(crate) fn decode(payload: &[u8]) -> Result<Coordinate, WireError> {
        let mut reader = Reader::new(payload);
        if reader.byte()? != PAYLOAD_VERSION {
            return Err(WireError::Malformed("coordinate of another version"));
        }
        let mut coordinate = Coordinate::default();
        let mut dimensions = 0;
        reader.map(|key, reader| {
            match key {
                b"Error" => coordinate.error = reader.float()?,
                b"Adjustment" => coordinate.adjustment = reader.float()?,
                b"Height" => coordinate.height = reader.float()?,
                b"Vec" => {
                    dimensions = reader.array_length()?;
                    if dimensions != DIMENSIONS {
                        return Err(WireError::Malformed("coordinate of other dimensions"));
                    }
                    for x in &mut coordinate.vector {
                        *x = reader.float()?;
                    }
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if dimensions != DIMENSIONS || !coordinate.is_finite() {
            return Err(WireError::Malformed("coordinate is incomplete"));
        }
        Ok(coordinate)
    }
}

fn difference(a: &[f64; DIMENSIONS], b: &[f64; DIMENSIONS]) -> [f64; DIMENSIONS] {
    std::array::from_fn(|i| a[i] - b[i])
}

fn magnitude(vector: &[f64; DIMENSIONS]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// From `b` to `a`, and how far that is; a random direction and zero when they coincide.
fn unit_vector(
    a: &[f64; DIMENSIONS],
    b: &[f64; DIMENSIONS],
    rng: &mut StdRng,
) -> ([f64; DIMENSIONS], f64) {
    let between = difference(a, b);
    let length = magnitude(&between);
    if length > ZERO {
        return (between.map(|x| x / length), length);
    }
    let random: [f64; DIMENSIONS] = std::array::from_fn(|_| rng.random::<f64>() - 0.5);
    let length = magnitude(&random);
    if length > ZERO {
        return (random.map(|x| x / length), 0.0);
    }
    let mut axis = [0.0; DIMENSIONS];
    axis[0] = 1.0;
    (axis, 0.0)
}

/// Our own coordinate and how it came to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vivaldi {
    coordinate: Coordinate,
    adjustments: VecDeque<f64>,
    /// The last round trips to each peer.
    round_trips: BTreeMap<String, VecDeque<f64>>,
    /// Where peers said they were.
    peers: BTreeMap<String, Coordinate>,
    resets: u64,
}

impl Vivaldi {
    pub(crate) fn own(&self) -> &Coordinate {
        &self.coordinate
    }

    pub(crate) fn peers(&self) -> &BTreeMap<String, Coordinate> {
        &self.peers
    }

    /// How often the own coordinate had to start over.
    pub(crate) fn resets(&self) -> u64 {
        self.resets
    }

    pub(crate) fn forget(&mut self, peer: &str) {
        self.round_trips.remove(peer);
        self.peers.remove(peer);
    }

    /// Learns from one round trip to a peer that said where it is; returns whether it counted.
    pub(crate) fn update(
        &mut self,
        peer: &str,
        other: Coordinate,
        round_trip: Duration,
        rng: &mut StdRng,
    ) -> bool {
        if round_trip.is_zero() || round_trip > ROUND_TRIP_MAX || !other.is_finite() {
            return false;
        }
        let round_trip = self.filtered(peer, round_trip.as_secs_f64()).max(ZERO);
        self.pull(&other, round_trip, rng);
        self.adjust(&other, round_trip);
        self.gravitate(rng);
        if !self.coordinate.is_finite() {
            self.coordinate = Coordinate::default();
            self.adjustments.clear();
            self.resets += 1;
        }
        self.peers.insert(peer.to_owned(), other);
        true
    }

    /// The median of the last round trips, which one slow answer does not move.
    fn filtered(&mut self, peer: &str, round_trip: f64) -> f64 {
        let last = self.round_trips.entry(peer.to_owned()).or_default();
        last.push_back(round_trip);
        if last.len() > LATENCY_FILTER {
            last.pop_front();
        }
        let mut sorted: Vec<f64> = last.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    fn pull(&mut self, other: &Coordinate, round_trip: f64, rng: &mut StdRng) {
        let own = &mut self.coordinate;
        let distance = own.adjusted_distance(other);
        let wrong = (distance - round_trip).abs() / round_trip;
        let total = (own.error + other.error).max(ZERO);
        let weight = own.error / total;
        own.error = (CE * weight * wrong + own.error * (1.0 - CE * weight)).min(ERROR_MAX);
        own.apply_force(CC * weight * (round_trip - distance), other, rng);
    }

    fn adjust(&mut self, other: &Coordinate, round_trip: f64) {
        self.adjustments.push_back(round_trip - self.coordinate.raw_distance(other));
        if self.adjustments.len() > ADJUSTMENT_WINDOW {
            self.adjustments.pop_front();
        }
        let sum: f64 = self.adjustments.iter().sum();
        self.coordinate.adjustment = sum / (2.0 * ADJUSTMENT_WINDOW as f64);
    }

    /// Keeps the whole pool from drifting away.
    fn gravitate(&mut self, rng: &mut StdRng) {
        let origin = Coordinate::default();
        let distance = origin.adjusted_distance(&self.coordinate);
        let force = -(distance / GRAVITY_RHO).powi(2);
        self.coordinate.apply_force(force, &origin, rng);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn at(x: f64) -> Coordinate {
        let mut coordinate = Coordinate::default();
        coordinate.vector[0] = x;
        coordinate
    }

    #[test]
    fn distances() {
        let check = |a: &Coordinate, b: &Coordinate, seconds: f64| {
            let got = a.distance(b).as_secs_f64();
            assert!((got - seconds).abs() < 1e-9, "{got} is not {seconds}");
        };
        check(&at(0.0), &at(0.0), 2e-5);
        check(&at(0.01), &at(-0.02), 0.030_02);
        let adjusted = Coordinate { adjustment: 0.005, ..at(0.01) };
        check(&adjusted, &at(0.0), 0.015_02);
        let negative = Coordinate { adjustment: -1.0, ..at(0.01) };
        check(&negative, &at(0.0), 0.010_02);
    }

    #[test]
    fn three_nodes_find_their_places() {
        let mut rng = StdRng::seed_from_u64(1);
        let trips = [[0.0, 0.010, 0.040], [0.010, 0.0, 0.040], [0.040, 0.040, 0.0]];
        let mut nodes: Vec<Vivaldi> = (0..3).map(|_| Vivaldi::default()).collect();
        for _ in 0..500 {
            for (i, j) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
                let other = nodes[j].own().clone();
                let trip = Duration::from_secs_f64(trips[i][j]);
                assert!(nodes[i].update(&j.to_string(), other, trip, &mut rng));
            }
        }
        for (i, j) in [(0, 1), (1, 2), (2, 0)] {
            let got = nodes[i].own().distance(nodes[j].own()).as_secs_f64();
            assert!((got / trips[i][j] - 1.0).abs() < 0.1, "{i} to {j}: {got}");
        }
        assert!(nodes.iter().all(|node| node.own().error < 0.2));
    }

    #[test]
    fn what_cannot_be_is_not_learned() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut node = Vivaldi::default();
        let nan = Coordinate { error: f64::NAN, ..at(0.0) };
        assert!(!node.update("a", nan, Duration::from_millis(1), &mut rng));
        assert!(!node.update("a", at(0.0), Duration::from_secs(11), &mut rng));
        assert!(!node.update("a", at(0.0), Duration::ZERO, &mut rng));
        assert_eq!(*node.own(), Coordinate::default());
        // Far enough away to overflow every square.
        let far = Coordinate { vector: [f64::MAX; DIMENSIONS], ..at(0.0) };
        assert!(node.update("a", far, Duration::from_millis(1), &mut rng));
        assert_eq!((node.own(), node.resets()), (&Coordinate::default(), 1));
    }

    #[test]
    fn payloads() {
        let coordinate = Coordinate { error: 0.5, adjustment: -0.1, ..at(0.25) };
        assert_eq!(Coordinate::decode(&coordinate.encode()), Ok(coordinate.clone()));
        assert!(Coordinate::decode(b"").is_err());
        assert!(Coordinate::decode(b"\x01\x80").is_err());
        let endless = Coordinate { height: f64::INFINITY, ..coordinate };
        assert!(Coordinate::decode(&endless.encode()).is_err());
    }
}
