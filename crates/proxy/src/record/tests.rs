//! Every form, every size, every broken bit.

use super::*;
use rustls::crypto::cipher::{AeadKey, Iv};

fn secrets(suite: &str) -> ConnectionTrafficSecrets {
    let (key, iv) = (AeadKey::from([7; 32]), Iv::from([9; 12]));
    match suite {
        "aes256" => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
        _ => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
    }
}

fn pair(version: ProtocolVersion, suite: &str) -> (Sealer, Opener) {
    let sealer = Sealer::new(version, &(0, secrets(suite)), 1 << 24).expect("known suite");
    let opener = Opener::new(version, &(0, secrets(suite))).expect("known suite");
    (sealer, opener)
}

#[test]
fn what_is_sealed_opens_again_in_every_form_and_size() {
    for version in [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2] {
        for suite in ["aes256", "chacha"] {
            let (mut sealer, mut opener) = pair(version, suite);
            for size in [0, 1, 2, 63, 64, 1000, CONTENT_BYTES_MAX] {
                let mut record = vec![0; PREFIX_BYTES_MAX + size + SUFFIX_BYTES_MAX];
                let start = sealer.prefix_bytes();
                record[start..start + size].fill(0xa5);
                let total =
                    sealer.seal(ContentType::ApplicationData, &mut record, size).expect("seals");
                if size > 16 {
                    assert!(record[start..start + size].iter().any(|byte| *byte != 0xa5));
                }
                let opened = opener.open(&mut record).expect("opens").expect("is whole");
                assert_eq!(opened.record_bytes, total);
                assert_eq!(opened.content_type, ContentType::ApplicationData);
                assert_eq!(opened.content.len(), size);
                assert!(record[opened.content].iter().all(|byte| *byte == 0xa5));
            }
        }
    }
}

#[test]
fn a_record_is_refused_when_one_bit_differs_or_when_it_comes_twice() {
    for version in [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2] {
        let mut sealed = vec![0; PREFIX_BYTES_MAX + 10 + SUFFIX_BYTES_MAX];
        let (mut sealer, _) = pair(version, "chacha");
        let total = sealer.seal(ContentType::ApplicationData, &mut sealed, 10).expect("seals");
        for at in 5..total {
            let mut record = sealed[..total].to_vec();
            record[at] ^= 1;
            let (_, mut opener) = pair(version, "chacha");
            assert_eq!(opener.open(&mut record), Err(RecordError::Undecryptable));
        }
        let (_, mut opener) = pair(version, "chacha");
        assert!(opener.open(&mut sealed.clone()).expect("opens").is_some());
        assert_eq!(opener.open(&mut sealed.clone()), Err(RecordError::Undecryptable));
    }
}

#[test]
fn a_part_of_a_record_is_waited_for_and_an_oversized_one_refused() {
    let (mut sealer, mut opener) = pair(ProtocolVersion::TLSv1_3, "aes256");
    let mut record = vec![0; PREFIX_BYTES_MAX + 10 + SUFFIX_BYTES_MAX];
    let total = sealer.seal(ContentType::Handshake, &mut record, 10).expect("seals");
    for end in 0..total {
        assert_eq!(opener.open(&mut record[..end]), Ok(None));
    }
    let opened = opener.open(&mut record[..total]).expect("opens").expect("is whole");
    assert_eq!(opened.content_type, ContentType::Handshake);
    let mut long = [23, 3, 3, 0xff, 0xff];
    assert_eq!(opener.open(&mut long), Err(RecordError::TooLong));
    let mut unknown = [99; 5 + 0x63 * 256 + 0x63];
    unknown[3..5].copy_from_slice(&[0, 40]);
    assert_eq!(opener.open(&mut unknown), Err(RecordError::UnknownType));
}

#[test]
fn a_key_never_seals_more_records_than_its_limit() {
    let version = ProtocolVersion::TLSv1_3;
    let mut sealer = Sealer::new(version, &(0, secrets("aes256")), 3).expect("known suite");
    let mut record = vec![0; PREFIX_BYTES_MAX + SUFFIX_BYTES_MAX];
    assert!(!sealer.needs_update(2));
    for _ in 0..3 {
        sealer.seal(ContentType::ApplicationData, &mut record, 0).expect("under the limit");
    }
    assert!(sealer.needs_update(1));
    let refused = sealer.seal(ContentType::ApplicationData, &mut record, 0);
    assert_eq!(refused, Err(RecordError::Exhausted));
}
