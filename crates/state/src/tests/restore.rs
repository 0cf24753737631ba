//! Restores: piece by piece, all or nothing, and indexes that only go up.

use model::command::{Command, Outcome};
use model::snapshot::RestoreChunk;
use model::topic::Topic;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{all_queries, command, config};
use crate::State;

fn state_of(commands: Vec<Command>, first: u64) -> State {
    let mut state = State::new();
    for (at, command) in commands.into_iter().enumerate() {
        state.apply(first + at as u64, command);
    }
    state
}

fn stream_of(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write_snapshot(&mut bytes).unwrap();
    bytes
}

/// `stream` cut at the given places, at least one piece.
fn pieces(id: &str, stream: &[u8], cuts: &[Index]) -> Vec<Command> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
    at.push(0);
    at.push(stream.len());
    at.sort_unstable();
    let count = at.len() - 1;
    at.windows(2)
        .enumerate()
        .map(|(sequence, cut)| {
            Command::Restore(RestoreChunk {
                id: id.to_owned(),
                sequence: sequence as u64,
                bytes: stream[cut[0]..cut[1]].to_vec(),
                is_last: sequence + 1 == count,
            })
        })
        .collect()
}

/// Applies at consecutive entries of a log behind what `state` has, as replicas do.
fn apply_next(state: &mut State, command: Command) -> crate::Applied {
    let index = state.index_of(state.log_index() + 1);
    state.apply(index, command)
}

proptest! {
    #![proptest_config(config(64))]

    /// Whatever was there before, wherever the stream is cut, and though the replica is begun anew
    /// from a snapshot after any piece.
    #[test]
    fn the_last_piece_replaces_everything(
        before in proptest::collection::vec(command(), 0..20),
        wanted in proptest::collection::vec(command(), 1..40),
        wanted_first in 1..500u64,
        cuts in proptest::collection::vec(any::<Index>(), 0..6),
        later in proptest::collection::vec(command(), 1..10),
    ) {
        let mut state = state_of(before, 1);
        let wanted = state_of(wanted, wanted_first);
        let queries = all_queries();
        let (log_before, index_before) = (state.log_index(), state.index());
        let commands = pieces("r", &stream_of(&wanted), &cuts);
        let count = commands.len() as u64;
        for command in commands {
            let was_last = matches!(&command, Command::Restore(chunk) if chunk.is_last);
            let mut begun_anew = State::read_snapshot(&mut stream_of(&state).as_slice()).unwrap();
            let applied = apply_next(&mut state, command.clone());
            prop_assert_eq!(&apply_next(&mut begun_anew, command), &applied);
            prop_assert_eq!(begun_anew.hash(), state.hash());
            prop_assert_eq!(applied.outcome, Outcome::Done);
            prop_assert_eq!(applied.is_replaced, was_last);
            prop_assert_eq!(applied.touched, match was_last {
                true => vec![Topic::Everything],
                false => vec![],
            });
        }
        prop_assert_eq!(state.log_index(), log_before + count);
        prop_assert!(state.index() > wanted.index() && state.index() >= index_before + count);
        prop_assert_eq!(state.restored_at(), state.index());
        for query in &queries {
            let (read, want) = (state.read(query), wanted.read(query));
            prop_assert_eq!(read.reply, want.reply, "{:?}", query);
            // Whoever waited on any index given out before gets his answer.
            prop_assert!(read.index > index_before && read.index > want.index);
            prop_assert!(!state.is_unchanged_since(&read.topics, read.index - 1));
        }
        for command in later {
            let index = state.index();
            apply_next(&mut state, command);
            prop_assert_eq!(state.index(), index + 1);
        }
    }

    #[test]
    fn damage_changes_nothing_that_can_be_read(
        before in proptest::collection::vec(command(), 0..20),
        wanted in proptest::collection::vec(command(), 1..20),
        cuts in proptest::collection::vec(any::<Index>(), 0..4),
        at in any::<Index>(),
        flip in 1..=255u8,
    ) {
        let mut state = state_of(before, 1);
        let mut stream = stream_of(&state_of(wanted, 1));
        let at = at.index(stream.len());
        stream[at] ^= flip;
        let reads: Vec<_> = all_queries().iter().map(|query| state.read(query)).collect();
        let mut refused = 0;
        for command in pieces("r", &stream, &cuts) {
            let applied = apply_next(&mut state, command);
            refused += u32::from(matches!(applied.outcome, Outcome::Refused(_)));
            prop_assert!(!applied.is_replaced && applied.touched.is_empty());
        }
        prop_assert!(refused > 0);
        prop_assert!(state.staged.is_none(), "nothing is kept of it");
        for (query, before) in all_queries().iter().zip(reads) {
            prop_assert_eq!(state.read(query), before);
        }
    }
}

fn piece(id: &str, sequence: u64, bytes: &[u8], is_last: bool) -> Command {
    Command::Restore(RestoreChunk { id: id.into(), sequence, bytes: bytes.to_vec(), is_last })
}

#[test]
fn pieces_out_of_place_discard_what_was_staged() {
    let stream = stream_of(&State::new());
    let (first, rest) = stream.split_at(5);
    let check = |commands: Vec<Command>, wanted: &[bool]| {
        let mut state = State::new();
        let done: Vec<bool> = commands
            .into_iter()
            .map(|command| apply_next(&mut state, command).outcome == Outcome::Done)
            .collect();
        assert_eq!(done, wanted);
        state.restored_at() > 0
    };
    assert!(check(vec![piece("a", 0, first, false), piece("a", 1, rest, true)], &[true, true]));
    // Begun anew, under its own name or another one.
    let again = [piece("a", 0, first, false), piece("a", 1, rest, true)];
    let begun = |id| vec![piece(id, 0, first, false)];
    assert!(check([begun("a"), again.to_vec()].concat(), &[true, true, true]));
    assert!(check([begun("b"), again.to_vec()].concat(), &[true, true, true]));
    // A foreign piece in between, a missing one, one twice, the end too early, more than the end.
    let foreign = vec![piece("a", 0, first, false), piece("b", 1, rest, true)];
    assert!(!check([foreign, vec![piece("a", 1, rest, true)]].concat(), &[true, false, false]));
    assert!(!check(vec![piece("a", 1, rest, true)], &[false]));
    let twice = vec![piece("a", 0, first, false), piece("a", 1, b"", false)];
    assert!(!check([twice, vec![piece("a", 1, rest, true)]].concat(), &[true, true, false]));
    assert!(!check(vec![piece("a", 0, first, true)], &[false]));
    assert!(!check(vec![piece("a", 0, &[&stream[..], b"x"].concat(), true)], &[false]));
}

#[test]
fn a_restore_may_be_of_a_state_with_a_restore_under_way() {
    let mut busy = State::new();
    apply_next(&mut busy, piece("x", 0, &stream_of(&State::new())[..20], false));
    let mut state = State::new();
    let applied = apply_next(&mut state, piece("r", 0, &stream_of(&busy), true));
    assert_eq!(applied.outcome, Outcome::Done);
    assert!(state.staged.is_none());
    assert_eq!(state.log_index(), 1);
}

#[test]
fn an_index_beyond_all_bounds_is_refused() {
    let far = State { index: u64::MAX, ..State::new() };
    let mut state = State::new();
    let applied = apply_next(&mut state, piece("r", 0, &stream_of(&far), true));
    assert!(matches!(applied.outcome, Outcome::Refused(_)), "{applied:?}");
}
