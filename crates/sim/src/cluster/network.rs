//! What lies between the servers: links that are cut in one direction or both, lose, double, delay
//! and reorder.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// From one server to another.
pub(super) type Link = (u64, u64);

#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) loss_percent: u32,
    pub(super) duplication_percent: u32,
    pub(super) delay_max: Duration,
}

impl Weather {
    pub(super) const FINE: Self =
        Self { loss_percent: 0, duplication_percent: 0, delay_max: Duration::from_millis(4) };
}

#[derive(Debug)]
pub(super) struct Network {
    /// By the fault that cut them.
    cuts: BTreeMap<u64, BTreeSet<Link>>,
    weathers: BTreeMap<u64, Weather>,
    usual: Weather,
}

impl Network {
    pub(super) fn new(usual: Weather) -> Self {
        Self { cuts: BTreeMap::new(), weathers: BTreeMap::new(), usual }
    }

    pub(super) fn cut(&mut self, fault: u64, links: BTreeSet<Link>) {
        self.cuts.insert(fault, links);
    }

    pub(super) fn change_weather(&mut self, fault: u64, weather: Weather) {
        self.weathers.insert(fault, weather);
    }

    pub(super) fn end(&mut self, fault: u64) {
        self.cuts.remove(&fault);
        self.weathers.remove(&fault);
    }

    pub(super) fn heal(&mut self) {
        *self = Self::new(Weather::FINE);
    }

    pub(super) fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cuts.values().any(|links| links.contains(&(from, to)))
    }

    fn weather(&self) -> Weather {
        self.weathers.values().next_back().copied().unwrap_or(self.usual)
    }

    /// After which delays something sent arrives: once, twice, or never.
    pub(super) fn deliveries(&self, from: u64, to: u64, rng: &mut StdRng) -> Vec<Duration> {
        let weather = self.weather();
        if self.is_cut(from, to) || rng.random_range(0..100) < weather.loss_percent {
            return Vec::new();
        }
        let copies = 1 + u32::from(rng.random_range(0..100) < weather.duplication_percent);
        (0..copies).map(|_| self.delay(rng)).collect()
    }

    /// Of what comes over a connection: once, or the connection breaks.
    pub(super) fn delivery(&self, from: u64, to: u64, rng: &mut StdRng) -> Option<Duration> {
        (!self.is_cut(from, to)).then(|| self.delay(rng))
    }

    fn delay(&self, rng: &mut StdRng) -> Duration {
        let most = self.weather().delay_max.as_micros() as u64;
        Duration::from_micros(rng.random_range(100..=most))
    }
}
