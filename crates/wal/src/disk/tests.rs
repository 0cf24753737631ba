use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::*;
use crate::{Entry, HardState};

fn entry(index: u64, term: u64, data: &[u8]) -> Entry {
    Entry { index, term, kind: 0, data: Bytes::copy_from_slice(data) }
}

fn batch(first: u64, count: u64, bytes: usize) -> Batch {
    Batch {
        hard_state: HardState { term: 1, vote: 1, commit: first - 1 },
        entries: (first..first + count).map(|i| entry(i, 1, &vec![i as u8 | 1; bytes])).collect(),
    }
}

fn small() -> DiskLogOptions {
    DiskLogOptions { segment_bytes: 4096, first_segment_bytes: 4096 }
}

fn open(dir: &Path) -> (DiskLog, Recovered) {
    DiskLog::open(dir, small()).unwrap()
}

fn commit(log: &mut DiskLog, batch: &Batch) {
    log.write(batch).unwrap();
    log.sync().unwrap();
}

fn indexes(recovered: &Recovered) -> Vec<u64> {
    recovered.entries.iter().map(|e| e.index).collect()
}

#[test]
fn what_was_written_comes_back_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, empty) = open(dir.path());
    assert_eq!(empty, Recovered::default());
    let batches: Vec<_> = (0..20).map(|i| batch(1 + 3 * i, 3, 200)).collect();
    for b in &batches {
        commit(&mut log, b);
    }
    drop(log);
    let (_, back) = open(dir.path());
    let want: Vec<Entry> = batches.iter().flat_map(|b| b.entries.clone()).collect();
    assert_eq!(back.entries, want);
    assert_eq!(back.hard_state, batches[19].hard_state);
    assert_eq!(back.torn_bytes, 0);
}

#[test]
fn later_entries_replace_a_suffix() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    commit(&mut log, &batch(1, 5, 10));
    let replaced = Batch {
        hard_state: HardState { term: 2, vote: 0, commit: 2 },
        entries: vec![entry(3, 2, b"x")],
    };
    commit(&mut log, &replaced);
    drop(log);
    let (_, back) = open(dir.path());
    assert_eq!(indexes(&back), [1, 2, 3]);
    assert_eq!(back.entries[2].term, 2);
    assert_eq!(back.hard_state, replaced.hard_state);
}

#[test]
fn a_batch_larger_than_a_segment_gets_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    commit(&mut log, &batch(1, 1, 10));
    commit(&mut log, &batch(2, 1, 50_000));
    commit(&mut log, &batch(3, 1, 10));
    drop(log);
    assert_eq!(indexes(&open(dir.path()).1), [1, 2, 3]);
}

#[test]
fn compaction_frees_and_recycles_and_old_remains_do_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    for round in 0..60 {
        commit(&mut log, &batch(1 + 3 * round, 3, 200));
        log.compact((3 * round).saturating_sub(6)).unwrap();
    }
    assert!(log.disk_bytes() < 6 * 4096, "{}", log.disk_bytes());
    drop(log);
    let (_, back) = open(dir.path());
    let indexes = indexes(&back);
    assert_eq!(indexes.last(), Some(&180));
    assert!(indexes[0] <= 172);
    assert!(indexes.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

/// Every way to cut or garble the last record yields exactly the records before it.
#[test]
fn a_torn_last_record_is_cut_off_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    commit(&mut log, &batch(1, 2, 30));
    let before = log.active.offset as usize;
    commit(&mut log, &batch(3, 1, 30));
    let after = log.active.offset as usize;
    let path = log.active.path.clone();
    drop(log);
    let whole = fs::read(&path).unwrap();
    for cut in before..after {
        let mut torn = whole.clone();
        torn[cut..].fill(0);
        fs::write(&path, &torn).unwrap();
        let (mut log, back) = open(dir.path());
        // Padding and zeros at the end of the data may be missing without loss.
        let expected: &[u64] = if torn == whole { &[1, 2, 3] } else { &[1, 2] };
        assert_eq!(indexes(&back), expected, "cut at {cut}");
        commit(&mut log, &batch(3, 1, 5));
        drop(log);
        let (_, again) = open(dir.path());
        assert_eq!((indexes(&again), again.torn_bytes), (vec![1, 2, 3], 0), "cut at {cut}");
    }
}

#[test]
fn damage_before_good_records_stops_and_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    for i in 1..=3 {
        commit(&mut log, &batch(i, 1, 30));
    }
    let path = log.active.path.clone();
    drop(log);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"!", HEADER_BYTES + 40).unwrap();
    let error = DiskLog::open(dir.path(), small()).unwrap_err();
    assert!(matches!(error, Error::Damaged { offset: 64, .. }), "{error}");
    assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join(segment::file_name(1));
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&9u32.to_le_bytes(), 8).unwrap();
    let error = DiskLog::open(dir.path(), small()).unwrap_err();
    assert!(matches!(error, Error::Newer { found: 9, .. }), "{error}");
}

#[test]
fn a_missing_middle_segment_is_loss() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    for round in 0..30 {
        commit(&mut log, &batch(1 + 3 * round, 3, 200));
    }
    drop(log);
    fs::remove_file(dir.path().join(segment::file_name(3))).unwrap();
    let error = DiskLog::open(dir.path(), small()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn a_failed_write_is_final() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    commit(&mut log, &batch(1, 1, 10));
    log.active.file = File::open(&log.active.path).unwrap();
    let first = log.write(&batch(2, 1, 10)).unwrap_err();
    assert!(matches!(first, Error::NotDurable { .. }), "{first}");
    log.active.file = fs::OpenOptions::new().write(true).open(&log.active.path).unwrap();
    assert!(matches!(log.write(&batch(2, 1, 10)), Err(Error::NotDurable { .. })));
    assert!(matches!(log.sync(), Err(Error::NotDurable { .. })));
}

/// A received snapshot takes the place of a log whose tail was of another history.
#[test]
fn a_restarted_log_holds_nothing_from_before() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path());
    for i in 0..20 {
        commit(&mut log, &batch(1 + 3 * i, 3, 200));
    }
    log.compact(30).unwrap();
    let mark = Batch {
        hard_state: HardState { term: 4, vote: 0, commit: 40 },
        entries: vec![Entry { kind: 3, ..entry(40, 4, b"") }],
    };
    log.restart(&mark).unwrap();
    commit(&mut log, &batch(41, 2, 10));
    drop(log);
    let (_, back) = open(dir.path());
    // Older ones in the very file of the mark come before it.
    let at = back.entries.iter().position(|e| e.kind == 3).unwrap();
    assert_eq!(indexes(&back)[at..], [40, 41, 42]);
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert!(files <= 3, "{files} files");
}
