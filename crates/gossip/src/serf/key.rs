//! Keys of the whole pool, changed and listed through queries.

use bytes::Bytes;

use super::query::QUERY_BYTES_MAX;
use crate::input::{Event, KeyRequest, KeyringReport, OperationId, Query, Refusal};
use crate::machine::{Gossip, Step};
use crate::serf::message::{KEY_REQUEST, KEY_RESPONSE};
use crate::wire::WireError;
use crate::wire::keyring::{KEYS_MAX, Key, KeyError};
use crate::wire::msgpack::{Reader, Writer};

const INSTALL: &str = "_serf_install-key";
const USE: &str = "_serf_use-key";
const REMOVE: &str = "_serf_remove-key";
const LIST: &str = "_serf_list-keys";
/// What a response adds around its answer, generously: names, numbers, and the node's name aside.
const RESPONSE_OVERHEAD_BYTES: usize = 64;

/// What one node answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyResponse {
    pub(crate) is_done: bool,
    pub(crate) message: String,
    /// In base64.
    pub(crate) keys: Vec<String>,
    pub(crate) primary: String,
}

impl KeyResponse {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_type(KEY_RESPONSE);
        writer.map(4);
        writer.raw("Keys");
        writer.array(self.keys.len());
        for key in &self.keys {
            writer.raw(key);
        }
        writer.raw("Message");
        writer.raw(&self.message);
        writer.raw("PrimaryKey");
        writer.raw(&self.primary);
        writer.raw("Result");
        writer.bool(self.is_done);
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<KeyResponse, WireError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.byte()?;
        if kind != KEY_RESPONSE {
            return Err(WireError::UnknownType(kind));
        }
        let mut response = KeyResponse::default();
        reader.map(|key, reader| {
            match key {
                b"Result" => response.is_done = reader.bool()?,
                b"Message" => response.message = reader.text()?,
                b"PrimaryKey" => response.primary = reader.text()?,
                b"Keys" => {
                    let count = reader.array_length()?;
                    if count > KEYS_MAX {
                        return Err(WireError::TooLarge);
                    }
                    for _ in 0..count {
                        response.keys.push(reader.text()?);
                    }
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(response)
    }

    /// Leaves out keys until the answer fits a response.
    fn shrink(mut self, limit: usize) -> KeyResponse {
        let all = self.keys.len();
        while self.encode().len() > limit && !self.keys.is_empty() {
            self.keys.pop();
            let shown = self.keys.len();
            self.message =
                format!("truncated key list response, showing first {shown} of {all} keys");
        }
        self
    }
}

fn encode_request(key: &[u8]) -> Bytes {
    let mut writer = Writer::with_type(KEY_REQUEST);
    writer.map(1);
    writer.raw("Key");
    writer.raw(key);
    writer.finish().into()
}

fn decode_request(bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut reader = Reader::new(bytes);
    let kind = reader.byte()?;
    if kind != KEY_REQUEST {
        return Err(WireError::UnknownType(kind));
    }
    let mut found = Vec::new();
    reader.map(|key, reader| {
        if key != b"Key" {
            return Ok(false);
        }
        found = reader.bytes()?.to_vec();
        Ok(true)
    })?;
    Ok(found)
}

/// Gathers the answers of the pool.
#[derive(Debug)]
pub(crate) struct KeyAsked {
    report: KeyringReport,
}

impl KeyAsked {
    pub(crate) fn add(&mut self, from: String, payload: &[u8]) {
        let report = &mut self.report;
        report.answers += 1;
        report.from.insert(from.clone());
        let response = match KeyResponse::decode(payload) {
            Ok(response) => response,
            Err(error) => {
                report.errors.insert(from, error.to_string());
                return;
            }
        };
        if !response.is_done {
            report.errors.insert(from, response.message);
            return;
        }
        if !response.message.is_empty() {
            report.messages.insert(from, response.message);
        }
        for key in response.keys {
            *report.keys.entry(key).or_default() += 1;
        }
        if !response.primary.is_empty() {
            *report.primary_keys.entry(response.primary).or_default() += 1;
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.report.answers >= self.report.nodes
    }

    pub(crate) fn finish(self) -> KeyringReport {
        self.report
    }
}

impl Gossip {
    pub(crate) fn ask_keys(
        &mut self,
        operation: OperationId,
        request: KeyRequest,
        step: &mut Step<'_>,
    ) -> Result<(), Refusal> {
        if self.keyring.is_none() {
            return Err(Refusal::NotEncrypted);
        }
        let (name, payload) = match &request {
            KeyRequest::Install(key) => (INSTALL, encode_request(key.bytes())),
            KeyRequest::Use(key) => (USE, encode_request(key.bytes())),
            KeyRequest::Remove(key) => (REMOVE, encode_request(key.bytes())),
            KeyRequest::List => (LIST, Bytes::new()),
        };
        let query = Query { name: name.to_owned(), payload, ..Query::default() };
        let report = KeyringReport { nodes: self.count_alive(), ..KeyringReport::default() };
        self.ask_as(operation, query, Some(KeyAsked { report }), step)
    }

    /// Does what a query asks of our keyring. None for a query that is not about keys.
    pub(crate) fn key_answer(
        &mut self,
        query: &str,
        payload: &[u8],
        step: &mut Step<'_>,
    ) -> Option<Vec<u8>> {
        if ![INSTALL, USE, REMOVE, LIST].contains(&query) {
            return None;
        }
        let response = match self.change_keys(query, payload, step) {
            Ok(response) => KeyResponse { is_done: true, ..response },
            Err(message) => KeyResponse { message, ..KeyResponse::default() },
        };
        let limit = QUERY_BYTES_MAX - RESPONSE_OVERHEAD_BYTES;
        Some(response.shrink(limit.saturating_sub(self.config.name.len())).encode())
    }

    fn change_keys(
        &mut self,
        query: &str,
        payload: &[u8],
        step: &mut Step<'_>,
    ) -> Result<KeyResponse, String> {
        let Some(ring) = &mut self.keyring else {
            return Err("no keyring to modify (encryption not enabled)".to_owned());
        };
        if query == LIST {
            let keys = ring.keys().iter().map(Key::to_base64).collect();
            let primary = ring.primary().to_base64();
            return Ok(KeyResponse { keys, primary, ..KeyResponse::default() });
        }
        let bytes = decode_request(payload).map_err(|error| error.to_string())?;
        let key = Key::new(&bytes).map_err(|error| error.to_string())?;
        let changed: Result<(), KeyError> = match query {
            INSTALL => ring.install(key).map(|_| ()),
            USE => ring.choose(&key),
            _ => ring.remove(&key).map(|_| ()),
        };
        changed.map_err(|error| error.to_string())?;
        let keys = ring.keys().to_vec();
        step.event(Event::KeyringChanged(keys));
        Ok(KeyResponse::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_back_as_written() {
        let response = KeyResponse {
            is_done: true,
            message: "ok".into(),
            keys: vec!["a".into(), "b".into()],
            primary: "a".into(),
        };
        assert_eq!(KeyResponse::decode(&response.encode()), Ok(response));
        assert_eq!(decode_request(&encode_request(b"key")), Ok(b"key".to_vec()));
        assert!(decode_request(b"").is_err());
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let keys = vec!["k".repeat(44); 32];
        let response = KeyResponse { is_done: true, keys, ..KeyResponse::default() };
        let shrunk = response.shrink(960);
        assert!(shrunk.encode().len() <= 960);
        assert!(shrunk.message.ends_with("of 32 keys"), "{}", shrunk.message);
        assert!(shrunk.keys.len() > 15);
    }
}
