//! Bounded runs of the simulation. `SIM_SEED=<seed>` picks one, `SIM_RUNS=<count>` asks for more.

mod cluster;
mod gossip;
mod world;

/// A number from the environment.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}
