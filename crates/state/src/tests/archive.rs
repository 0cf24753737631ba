//! Archives: what comes in goes out, and answers are the same.

use proptest::prelude::*;

use super::{all_queries, command, config};
use crate::State;

fn records_of(state: &State) -> Vec<u8> {
    let mut records = Vec::new();
    state.write_archive(&mut records).unwrap();
    records
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn an_archived_state_answers_alike(commands in proptest::collection::vec(command(), 1..60)) {
        let mut state = State::new();
        for (at, command) in commands.into_iter().enumerate() {
            state.apply(at as u64 + 1, command);
        }
        let records = records_of(&state);
        let read = State::read_archive(records.as_slice()).unwrap();
        prop_assert_eq!(read.index(), state.index());
        for query in all_queries() {
            prop_assert_eq!(read.read(&query).reply, state.read(&query).reply);
        }
        prop_assert_eq!(records_of(&read), records);
    }
}
