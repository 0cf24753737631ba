//! DNS messages (RFC 1035, EDNS of RFC 6891): reading one question, writing one answer.
//!
//! Names inside our domain are written as a few labels and a pointer to the domain's place in the
//! question, so compression costs nothing; other names are written out.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest name on the wire, RFC 1035 section 2.3.4.
pub(crate) const NAME_BYTES_MAX: usize = 255;
const HEADER_BYTES: usize = 12;
/// Where the question's name stands in every message.
const QUESTION_AT: usize = HEADER_BYTES;

pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_NS: u16 = 2;
pub(crate) const TYPE_CNAME: u16 = 5;
pub(crate) const TYPE_SOA: u16 = 6;
pub(crate) const TYPE_PTR: u16 = 12;
pub(crate) const TYPE_TXT: u16 = 16;
pub(crate) const TYPE_AAAA: u16 = 28;
pub(crate) const TYPE_SRV: u16 = 33;
pub(crate) const TYPE_OPT: u16 = 41;
pub(crate) const TYPE_AXFR: u16 = 252;
pub(crate) const TYPE_ANY: u16 = 255;
pub(crate) const CLASS_IN: u16 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
}

/// One question, borrowed from the packet.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) id: u16,
    pub(crate) recursion_desired: bool,
    /// Name in wire form with its final zero, in the asker's case.
    pub(crate) name: &'a [u8],
    pub(crate) qtype: u16,
    pub(crate) class: u16,
    /// The client's UDP size when it sent an OPT record.
    pub(crate) edns_bytes: Option<u16>,
}

/// Why a packet is not a question we can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Not worth an answer: too short for a header, or itself an answer.
    Drop,
    /// Answer with this code and no sections.
    Answer { id: u16, opcode_bits: u8, code: Code },
}

/// Reads a packet's question.
pub(crate) fn read(packet: &[u8]) -> Result<Question<'_>, Malformed> {
    let header: &[u8; HEADER_BYTES] =
        packet.first_chunk().filter(|header| header[2] & 0x80 == 0).ok_or(Malformed::Drop)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (id, opcode_bits) = (word(0), header[2] & 0x78);
    let refuse = |code| Malformed::Answer { id, opcode_bits, code };
    if opcode_bits != 0 {
        return Err(refuse(Code::NotImp));
    }
    let [questions, answers, authorities, additionals] = [word(4), word(6), word(8), word(10)];
    if questions != 1 {
        return Err(refuse(Code::FormErr));
    }
    let after_header = &packet[HEADER_BYTES..];
    let name_bytes = plain_name_len(after_header).ok_or(refuse(Code::FormErr))?;
    let (name, rest) = after_header.split_at(name_bytes);
    let (fixed, mut rest) = rest.split_first_chunk::<4>().ok_or(refuse(Code::FormErr))?;
    let mut edns_bytes = None;
    // The bound is on records read, so that a lying count costs nothing.
    for _ in 0..(answers.saturating_add(authorities).saturating_add(additionals)).min(32) {
        let Some((record_type, class, after)) = skip_record(rest) else {
            return Err(refuse(Code::FormErr));
        };
        if record_type == TYPE_OPT {
            edns_bytes = Some(class);
        }
        rest = after;
    }
    Ok(Question {
        id,
        recursion_desired: header[2] & 1 != 0,
        name,
        qtype: u16::from_be_bytes([fixed[0], fixed[1]]),
        class: u16::from_be_bytes([fixed[2], fixed[3]]),
        edns_bytes,
    })
}

/// Length of an uncompressed name with its final zero.
fn plain_name_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            label if label < 64 && at + usize::from(label) + 2 <= NAME_BYTES_MAX => {
                at += usize::from(label) + 1;
            }
            _ => return None,
        }
    }
}

/// Type and class of the record at the start of `bytes`, and what follows it.
pub(crate) fn skip_record(bytes: &[u8]) -> Option<(u16, u16, &[u8])> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => break at += 1,
            label if label >= 0xc0 => break at += 2,
            label if label < 64 && at < NAME_BYTES_MAX => at += usize::from(label) + 1,
            _ => return None,
        }
    }
    let (fixed, rest) = bytes.get(at..)?.split_first_chunk::<10>()?;
    let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    Some((word(0), word(2), rest.get(length..)?))
}

/// The text of a wire-form name, lower case, labels joined by dots, without the final dot.
/// `None` when a label holds a dot or is not UTF-8: no record of ours has such a name.
pub(crate) fn name_text(name: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((&length, after)) = rest.split_first() {
        if length == 0 {
            break;
        }
        let (label, next) = after.split_at_checked(usize::from(length))?;
        let label = std::str::from_utf8(label).ok()?;
        if label.contains('.') {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(label);
        rest = next;
    }
    text.make_ascii_lowercase();
    Some(text)
}

/// Wire labels of dotted text, without the final zero. `None` when a label does not fit.
pub(crate) fn labels(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let mut wire = Vec::with_capacity(text.len() + 1);
    if text.is_empty() {
        return Some(wire);
    }
    for label in text.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        wire.push(length);
        wire.extend_from_slice(label.as_bytes());
    }
    (wire.len() < NAME_BYTES_MAX).then_some(wire)
}

/// A name in an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Name<'a> {
    /// The question's own name.
    Question,
    /// These wire labels, then the domain that was asked for.
    InDomain(&'a [u8]),
    /// Wire labels of a name elsewhere, without the final zero.
    Foreign(&'a [u8]),
    /// A name already written at this offset.
    At(u16),
}

/// Which section the next records count for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Answer = 6,
    Authority = 8,
    Additional = 10,
}

/// Writes one answer into a reused buffer.
pub(crate) struct Writer<'b> {
    out: &'b mut Vec<u8>,
    /// Offset of the domain inside the question's name.
    domain_at: usize,
    compress: bool,
    /// Bytes the whole message may take, room for OPT already set aside.
    bytes_max: usize,
}

/// State to return to when a record did not fit.
#[derive(Clone, Copy)]
pub(crate) struct Mark(usize);

impl<'b> Writer<'b> {
    /// Starts an answer to `question`. `domain_offset`: where the domain begins in its name.
    pub(crate) fn new(
        out: &'b mut Vec<u8>,
        question: &Question<'_>,
        domain_offset: usize,
        compress: bool,
        bytes_max: usize,
    ) -> Self {
        out.clear();
        out.extend_from_slice(&question.id.to_be_bytes());
        out.extend_from_slice(&[0x80 | u8::from(question.recursion_desired), 0]);
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(question.name);
        out.extend_from_slice(&question.qtype.to_be_bytes());
        out.extend_from_slice(&question.class.to_be_bytes());
        let opt_bytes = if question.edns_bytes.is_some() { OPT_BYTES } else { 0 };
        Self {
            out,
            domain_at: QUESTION_AT + domain_offset,
            compress,
            bytes_max: bytes_max.saturating_sub(opt_bytes),
        }
    }

    pub(crate) fn set_authoritative(&mut self) {
        self.out[2] |= 0x04;
    }

    pub(crate) fn set_truncated(&mut self) {
        self.out[2] |= 0x02;
    }

    pub(crate) fn set_recursion_available(&mut self) {
        self.out[3] |= 0x80;
    }

    pub(crate) fn set_code(&mut self, code: Code) {
        self.out[3] = (self.out[3] & 0xf0) | code as u8;
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(self.out.len())
    }

    pub(crate) fn is_overfull(&self) -> bool {
        self.is_overfull_with(0)
    }

    /// Whether `bytes` more would not fit.
    pub(crate) fn is_overfull_with(&self, bytes: usize) -> bool {
        self.out.len() + bytes > self.bytes_max
    }

    /// Forgets what was written since `mark`; its records must not have been counted yet.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.out.truncate(mark.0);
    }

    pub(crate) fn count(&mut self, section: Section, records: u16) {
        let at = section as usize;
        let count = u16::from_be_bytes([self.out[at], self.out[at + 1]]).saturating_add(records);
        self.out[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }

    /// Writes a name and returns where, for [`Name::At`].
    fn name(&mut self, name: Name<'_>) -> u16 {
        // A message is at most 64 KiB, and pointers reach only its first 16 KiB; whoever keeps
        // the offset checks it in `Name::At`.
        let at = self.out.len().min(usize::from(u16::MAX)) as u16;
        match name {
            Name::Question if self.compress => self.pointer(QUESTION_AT),
            Name::Question => self.copy_question_from(QUESTION_AT),
            Name::InDomain(prefix) => {
                self.out.extend_from_slice(prefix);
                if self.compress {
                    self.pointer(self.domain_at);
                } else {
                    self.copy_question_from(self.domain_at);
                }
            }
            Name::Foreign(labels) => {
                self.out.extend_from_slice(labels);
                self.out.push(0);
            }
            Name::At(offset) => self.pointer(usize::from(offset)),
        }
        at
    }

    fn pointer(&mut self, to: usize) {
        debug_assert!(to < 0x4000);
        self.out.extend_from_slice(&(0xc000 | (to as u16 & 0x3fff)).to_be_bytes());
    }

    fn copy_question_from(&mut self, at: usize) {
        let length = plain_name_len(&self.out[at..]).expect("the question's name was read before");
        self.out.extend_from_within(at..at + length);
    }

    fn head(&mut self, owner: Name<'_>, record_type: u16, ttl: u32) -> usize {
        self.name(owner);
        self.out.extend_from_slice(&record_type.to_be_bytes());
        self.out.extend_from_slice(&CLASS_IN.to_be_bytes());
        self.out.extend_from_slice(&ttl.to_be_bytes());
        self.out.extend_from_slice(&[0, 0]);
        self.out.len()
    }

    fn end(&mut self, data_at: usize) {
        let length = (self.out.len() - data_at).min(usize::from(u16::MAX)) as u16;
        self.out[data_at - 2..data_at].copy_from_slice(&length.to_be_bytes());
    }

    pub(crate) fn a(&mut self, owner: Name<'_>, ttl: u32, address: Ipv4Addr) {
        let at = self.head(owner, TYPE_A, ttl);
        self.out.extend_from_slice(&address.octets());
        self.end(at);
    }

    pub(crate) fn aaaa(&mut self, owner: Name<'_>, ttl: u32, address: Ipv6Addr) {
        let at = self.head(owner, TYPE_AAAA, ttl);
        self.out.extend_from_slice(&address.octets());
        self.end(at);
    }

    /// A CNAME, NS or PTR record. Returns where the target's name stands.
    pub(crate) fn pointing(
        &mut self,
        owner: Name<'_>,
        record_type: u16,
        ttl: u32,
        target: Name<'_>,
    ) -> u16 {
        let at = self.head(owner, record_type, ttl);
        let target_at = self.name(target);
        self.end(at);
        target_at
    }

    /// An SRV record with priority 1. Returns where the target's name stands.
    pub(crate) fn srv(
        &mut self,
        owner: Name<'_>,
        ttl: u32,
        weight: u16,
        port: u16,
        target: Name<'_>,
    ) -> u16 {
        let at = self.head(owner, TYPE_SRV, ttl);
        self.out.extend_from_slice(&1u16.to_be_bytes());
        self.out.extend_from_slice(&weight.to_be_bytes());
        self.out.extend_from_slice(&port.to_be_bytes());
        let target_at = self.name(target);
        self.end(at);
        target_at
    }

    pub(crate) fn txt(&mut self, owner: Name<'_>, ttl: u32, text: &[u8]) {
        let at = self.head(owner, TYPE_TXT, ttl);
        if text.is_empty() {
            self.out.push(0);
        }
        for piece in text.chunks(255) {
            self.out.push(piece.len() as u8);
            self.out.extend_from_slice(piece);
        }
        self.end(at);
    }

    pub(crate) fn soa(&mut self, serial: u32, soa: &crate::Soa) {
        let at = self.head(Name::InDomain(&[]), TYPE_SOA, soa.min_ttl);
        self.name(Name::InDomain(b"\x02ns"));
        self.name(Name::InDomain(b"\x0ahostmaster"));
        for number in [serial, soa.refresh, soa.retry, soa.expire, soa.min_ttl] {
            self.out.extend_from_slice(&number.to_be_bytes());
        }
        self.end(at);
    }

    /// Ends the answer with the OPT record of RFC 6891, echoing the client's size.
    pub(crate) fn opt(&mut self, edns_bytes: u16) {
        self.out.push(0);
        self.out.extend_from_slice(&TYPE_OPT.to_be_bytes());
        self.out.extend_from_slice(&edns_bytes.to_be_bytes());
        self.out.extend_from_slice(&[0; 6]);
        self.count(Section::Additional, 1);
    }
}

const OPT_BYTES: usize = 11;

/// An answer of a header alone.
pub(crate) fn bare(out: &mut Vec<u8>, id: u16, opcode_bits: u8, code: Code) {
    out.clear();
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[0x80 | opcode_bits, code as u8]);
    out.extend_from_slice(&[0; 8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, qtype: u16, edns: Option<u16>) -> Vec<u8> {
        let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
        packet.extend(labels(name).unwrap());
        packet.push(0);
        packet.extend(qtype.to_be_bytes());
        packet.extend(CLASS_IN.to_be_bytes());
        if let Some(bytes) = edns {
            packet.extend([0, 0, 41]);
            packet.extend(bytes.to_be_bytes());
            packet.extend([0; 6]);
        }
        packet
    }

    #[test]
    fn reads_questions() {
        let packet = question("Web.Service.Consul", TYPE_SRV, Some(1232));
        let read = read(&packet).unwrap();
        assert_eq!((read.id, read.qtype, read.class), (0x1234, TYPE_SRV, CLASS_IN));
        assert_eq!(read.edns_bytes, Some(1232));
        assert!(read.recursion_desired);
        assert_eq!(name_text(read.name).as_deref(), Some("web.service.consul"));
    }

    #[test]
    fn refuses_what_is_no_question() {
        let check = |edit: fn(&mut Vec<u8>), want: Malformed| {
            let mut packet = question("web.service.consul", TYPE_A, None);
            edit(&mut packet);
            assert_eq!(read(&packet).unwrap_err(), want);
        };
        let answer = |opcode_bits, code| Malformed::Answer { id: 0x1234, opcode_bits, code };
        check(|packet| packet.truncate(11), Malformed::Drop);
        check(|packet| packet[2] |= 0x80, Malformed::Drop);
        check(|packet| packet[2] |= 0x28, answer(0x28, Code::NotImp));
        check(|packet| packet[5] = 2, answer(0, Code::FormErr));
        check(|packet| packet.truncate(20), answer(0, Code::FormErr));
        check(|packet| packet[12] = 0xc0, answer(0, Code::FormErr));
        check(|packet| packet[11] = 1, answer(0, Code::FormErr));
    }

    #[test]
    fn an_independent_reader_understands_every_record() {
        use hickory_proto::op::Message;
        use hickory_proto::serialize::binary::BinDecodable;
        for compress in [true, false] {
            let packet = question("web.service.consul", TYPE_ANY, Some(4096));
            let read = read(&packet).unwrap();
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out, &read, 12, compress, 4096);
            writer.set_authoritative();
            writer.a(Name::Question, 7, Ipv4Addr::new(10, 0, 0, 1));
            writer.aaaa(Name::Question, 7, Ipv6Addr::LOCALHOST);
            let at = writer.srv(Name::Question, 7, 3, 80, Name::InDomain(b"\x01n\x04node"));
            writer.txt(Name::At(at), 7, b"k=v");
            writer.pointing(Name::Question, TYPE_CNAME, 7, Name::Foreign(b"\x01x\x03org"));
            writer.soa(9, &crate::Soa::default());
            writer.count(Section::Answer, 6);
            writer.opt(4096);
            let message = Message::from_bytes(&out).unwrap();
            let shown: Vec<String> =
                message.answers.iter().map(|record| record.to_string()).collect();
            assert_eq!(
                shown,
                [
                    "web.service.consul. 7 IN A 10.0.0.1",
                    "web.service.consul. 7 IN AAAA ::1",
                    "web.service.consul. 7 IN SRV 1 3 80 n.node.consul.",
                    "n.node.consul. 7 IN TXT k=v",
                    "web.service.consul. 7 IN CNAME x.org.",
                    "consul. 0 IN SOA ns.consul. hostmaster.consul. 9 3600 600 86400 0",
                ]
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(packet in proptest::collection::vec(0u8.., 0..600)) {
            if let Ok(question) = read(&packet) {
                let _ = name_text(question.name);
            }
        }

        #[test]
        fn names_round_trip(name in "[a-z0-9_-]{1,20}(\\.[a-z0-9_-]{1,20}){0,5}") {
            let mut wire = labels(&name).unwrap();
            wire.push(0);
            proptest::prop_assert_eq!(name_text(&wire), Some(name));
        }
    }
}
