//! Snapshots: nothing lost, nothing foreign or damaged accepted.

use proptest::prelude::*;

use super::{all_queries, command, config};
use crate::{SnapshotError, State};

fn bytes_of(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write_snapshot(&mut bytes).unwrap();
    bytes
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn a_restored_state_answers_and_goes_on_alike(
        commands in proptest::collection::vec(command(), 1..60),
        later in proptest::collection::vec(command(), 1..20),
    ) {
        let mut state = State::new();
        for (at, command) in commands.into_iter().enumerate() {
            state.apply(at as u64 + 1, command);
        }
        let mut restored = State::read_snapshot(&mut bytes_of(&state).as_slice()).unwrap();
        prop_assert_eq!(state.hash(), restored.hash());
        for query in all_queries() {
            prop_assert_eq!(state.read(&query), restored.read(&query));
        }
        let start = state.index();
        for (at, command) in later.into_iter().enumerate() {
            let index = start + at as u64 + 1;
            prop_assert_eq!(
                state.apply(index, command.clone()),
                restored.apply(index, command)
            );
        }
        prop_assert_eq!(bytes_of(&state), bytes_of(&restored));
    }

    #[test]
    fn a_damaged_snapshot_is_refused(
        commands in proptest::collection::vec(command(), 1..30),
        at in any::<proptest::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let mut state = State::new();
        for (at, command) in commands.into_iter().enumerate() {
            state.apply(at as u64 + 1, command);
        }
        let good = bytes_of(&state);
        let at = at.index(good.len());
        let mut flipped = good.clone();
        flipped[at] ^= flip;
        prop_assert!(State::read_snapshot(&mut flipped.as_slice()).is_err());
        prop_assert!(State::read_snapshot(&mut &good[..at]).is_err());
    }

    #[test]
    fn garbage_is_foreign(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let read = State::read_snapshot(&mut bytes.as_slice());
        prop_assert!(matches!(read, Err(SnapshotError::Foreign)));
    }
}

#[test]
fn another_version_is_named() {
    let mut bytes = bytes_of(&State::new());
    bytes[8] = 9;
    let read = State::read_snapshot(&mut bytes.as_slice());
    assert!(matches!(read, Err(SnapshotError::Version(9))), "{read:?}");
}
