//! What is cut, changed, foreign or too much is refused, and with what words.

use proptest::prelude::*;
use proptest::sample::Index;
use state::State;

use super::HEADER_BYTES;
use super::{Files, GOLDEN, archive_of, files, hash, records_of, tarred, zipped};
use crate::{METADATA, STATE, SUMS, inspect, restore};

fn check(archive: &[u8], want: &str) {
    let text = restore(archive).map(|_| ()).unwrap_err().to_string();
    assert_eq!(text, want);
    // Looking into it is no more lenient.
    assert_eq!(inspect(archive).unwrap_err().to_string(), want);
}

/// Texts are those of 1.8.7 for the same bytes, but where it reads on or falls over itself.
#[test]
fn containers_that_are_not_sound() {
    let records = records_of(&State::new());
    let good = files(&records);
    let of = |change: &dyn Fn(&mut Files)| {
        let mut files = good.clone();
        change(&mut files);
        zipped(&tarred(&files))
    };
    const FILE: &str = "failed to read snapshot file:";
    let integrity = |text: &str| format!("{FILE} failed checking integrity of snapshot: {text}");

    restore(of(&|_| {}).as_slice()).unwrap();
    restore(of(&|files| files.reverse()).as_slice()).unwrap();

    check(b"", "failed to decompress snapshot: EOF");
    check(b"garbage\n", "failed to decompress snapshot: unexpected EOF");
    check(b"this is no gzip file", "failed to decompress snapshot: gzip: invalid header");
    check(&zipped(b""), &integrity("file missing for \"meta.json\""));
    check(&of(&|files| drop(files.remove(0))), &integrity("file missing for \"meta.json\""));
    check(&of(&|files| drop(files.remove(1))), &integrity("file missing for \"state.bin\""));
    check(&of(&|files| drop(files.remove(2))), &integrity("file missing for \"SHA256SUMS\""));
    check(
        &of(&|files| files.push(("evil", b"x".to_vec()))),
        &format!("{FILE} unexpected file \"evil\" in snapshot"),
    );
    for name in ["./meta.json", "/meta.json", "../meta.json", "meta.json/", "META.JSON"] {
        check(
            &of(&|files| files[0].0 = name),
            &format!("{FILE} unexpected file {name:?} in snapshot"),
        );
    }
    check(
        &of(&|files| files.push((METADATA, b"{}".to_vec()))),
        &format!("{FILE} file \"meta.json\" twice in snapshot"),
    );
    check(&of(&|files| files[0].1[20] ^= 1), &integrity("hash check failed for \"meta.json\""));
    check(
        &of(&|files| files[2].1.extend_from_slice(b"00  evil\n")),
        &integrity("list missing hash for \"evil\""),
    );
    check(&of(&|files| files[2].1.truncate(76)), &integrity("file missing for \"state.bin\""));
    check(&of(&|files| files[2].1.extend_from_slice(b"x\n")), &integrity("no sum in line \"x\""));
    let resized = |metadata: &str, files: &mut Files| {
        let metadata = metadata.as_bytes().to_vec();
        let sums = format!("{}  {STATE}\n{}  {METADATA}\n", hash(&records), hash(&metadata));
        *files = vec![(METADATA, metadata), (STATE, records.clone()), (SUMS, sums.into())];
    };
    check(
        &of(&|files| resized("{\"Version\":1,\"Size\":5}", files)),
        &format!("{FILE} size didn't match ({} != 5)", records.len()),
    );
    check(
        &of(&|files| resized("{\"Version\":2}", files)),
        &format!("{FILE} unknown snapshot version 2"),
    );
    let mut padded = tarred(&good);
    padded.extend([0; 9216]);
    check(&zipped(&padded), "9216 unread uncompressed bytes remain");
    let twice = [zipped(&tarred(&good)), zipped(b"x")].concat();
    check(&twice, "compressed data is followed by something else");
}

#[test]
fn records_that_are_not_sound() {
    let header = records_of(&State::new())[..HEADER_BYTES].to_vec();
    let check = |records: &[u8], want: &str| {
        let archive = zipped(&tarred(&files(&[&header, records].concat())));
        let text = restore(archive.as_slice()).map(|_| ()).unwrap_err().to_string();
        let shown = text.strip_prefix("failed to read snapshot records: ").unwrap_or(&text);
        assert!(shown.contains(want), "{text}");
    };
    check(&[77, 0xc0], "type 77, which only Consul Enterprise writes");
    check(&[4, 0x80], "migrate the tokens of the old cluster first");
    check(&[11, 0x80], "migrate the tokens of the old cluster first");
    check(&[1, 0x80], "no snapshot has records of type 1");
    check(&[2], "record 1, KVS: the value is cut off");
    check(&[2, 0xc1], "record 1, KVS: byte 0xc1 begins no value");
    check(&[16, 0x90], "record 1, Index:");
    check(&[16, 0xdf, 0xff, 0xff, 0xff, 0xff], "record 1, Index:");
    let service = b"\x00\x82\xa4Node\xa1n\xa7Service\x81\xa2ID\xa1s";
    check(service, "a service or check comes before its node");
    let far = b"\x10\x82\xa3Key\xa1k\xa5Value\xcf\xff\xff\xff\xff\xff\xff\xff\xff";
    check(far, "beyond all bounds");
    let deep = [&[40][..], &[0x91; 1000], &[0xc0]].concat();
    check(&deep, "deeper");
}

#[test]
fn records_of_later_versions_are_kept() {
    let header = records_of(&State::new())[..HEADER_BYTES].to_vec();
    let records = [&header[..], b"\x20\xa1v\x1f\xa1m\x23\xa1p"].concat();
    let (_, state) = restore(zipped(&tarred(&files(&records))).as_slice()).unwrap();
    // Virtual addresses first, as those who know them expect; the last is the chunking state.
    let want = [&header[..], b"\x20\xa1v\x1f\xa1m\x23\xa1p\x1d\x81\xa8ChunkMap\x80"].concat();
    assert_eq!(records_of(&state), want);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn damage_anywhere_is_noticed(at in any::<Index>(), flip in 1..=255u8) {
        let (_, state) = restore(GOLDEN).unwrap();
        let good = archive_of(&state);
        let at = at.index(good.len());
        let mut flipped = good.clone();
        flipped[at] ^= flip;
        // Some bits of the compression mean nothing: its time and system, those behind its end.
        if let Ok((_, read)) = restore(flipped.as_slice()) {
            prop_assert_eq!(read.hash(), state.hash());
        }
        prop_assert!(restore(&good[..at]).is_err());
    }

    #[test]
    fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(restore(bytes.as_slice()).is_err());
        prop_assert!(restore(zipped(&bytes).as_slice()).is_err());
        // Nor does what stands where records should bring anything down.
        let _ = restore(zipped(&tarred(&files(&bytes))).as_slice());
    }

    /// Damage that all checksums are made anew for.
    #[test]
    fn damaged_records_bring_nothing_down(at in any::<Index>(), flip in 1..=255u8) {
        let mut records = records_of(&restore(GOLDEN).unwrap().1);
        let at = at.index(records.len());
        records[at] ^= flip;
        if let Ok((_, state)) = restore(zipped(&tarred(&files(&records))).as_slice()) {
            prop_assert!(restore(archive_of(&state).as_slice()).is_ok());
        }
    }
}
