//! Dates as Go writes them: RFC 3339 with nanoseconds for humans, 15 bytes on the wire.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::duration::GoDuration;

/// Seconds from Go's zero time (year 1) to the Unix epoch.
const ZERO_TO_UNIX_SECONDS: i64 = 62_135_596_800;

/// A point in wall-clock time, UTC. Units: seconds since the Unix epoch and nanoseconds within.
/// The default is Go's zero time, `0001-01-01T00:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    pub unix_seconds: i64,
    pub nanos: u32,
}

impl Default for Timestamp {
    fn default() -> Self {
        Self { unix_seconds: -ZERO_TO_UNIX_SECONDS, nanos: 0 }
    }
}

impl Timestamp {
    pub const fn from_unix(unix_seconds: i64) -> Self {
        Self { unix_seconds, nanos: 0 }
    }

    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// This time moved by `span`, which may be negative.
    pub fn plus(self, span: GoDuration) -> Self {
        let total = i128::from(self.unix_seconds) * 1_000_000_000
            + i128::from(self.nanos)
            + i128::from(span.0);
        Self {
            unix_seconds: total.div_euclid(1_000_000_000) as i64,
            nanos: total.rem_euclid(1_000_000_000) as u32,
        }
    }

    /// The span from `earlier` to this, saturating at the ends of what a duration holds.
    pub fn since(self, earlier: Self) -> GoDuration {
        let total = (i128::from(self.unix_seconds) - i128::from(earlier.unix_seconds))
            * 1_000_000_000
            + i128::from(self.nanos)
            - i128::from(earlier.nanos);
        GoDuration(total.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }

    /// The 15 bytes of Go's `Time.MarshalBinary`, version 1, UTC.
    fn to_wire(self) -> [u8; 15] {
        let mut bytes = [0; 15];
        bytes[0] = 1;
        bytes[1..9].copy_from_slice(&(self.unix_seconds + ZERO_TO_UNIX_SECONDS).to_be_bytes());
        bytes[9..13].copy_from_slice(&self.nanos.to_be_bytes());
        bytes[13..15].copy_from_slice(&[0xff, 0xff]);
        bytes
    }

    fn from_wire(bytes: &[u8]) -> Option<Self> {
        // Version 1 has 15 bytes; version 2 (offsets with seconds) has 16.
        if !matches!((bytes.len(), bytes.first()?), (15, 1) | (16, 2)) {
            return None;
        }
        let seconds = i64::from_be_bytes(bytes.get(1..9)?.try_into().ok()?);
        let nanos = u32::from_be_bytes(bytes.get(9..13)?.try_into().ok()?);
        if nanos >= 1_000_000_000 {
            return None;
        }
        Some(Self { unix_seconds: seconds.checked_sub(ZERO_TO_UNIX_SECONDS)?, nanos })
    }
}

impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(span) => Self { unix_seconds: span.as_secs() as i64, nanos: span.subsec_nanos() },
            Err(_) => Self::from_unix(0),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::new(self.unix_seconds, self.nanos as i32) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => f.write_str("0001-01-01T00:00:00Z"),
        }
    }
}

/// The text is not an RFC 3339 date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid time {0:?}, want RFC 3339 such as 2006-01-02T15:04:05Z")]
pub struct TimestampError(String);

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let time: jiff::Timestamp =
            text.parse().map_err(|_| TimestampError(text.chars().take(64).collect()))?;
        let (mut seconds, mut nanos) = (time.as_second(), time.subsec_nanosecond());
        if nanos < 0 {
            (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
        }
        Ok(Self { unix_seconds: seconds, nanos: nanos as u32 })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_wire())
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        if deserializer.is_human_readable() {
            return match Option::<String>::deserialize(deserializer)? {
                None => Ok(Self::default()),
                Some(text) => text.parse().map_err(D::Error::custom),
            };
        }
        match Option::<serde_bytes::ByteBuf>::deserialize(deserializer)? {
            None => Ok(Self::default()),
            Some(bytes) => {
                Self::from_wire(&bytes).ok_or_else(|| D::Error::custom("malformed binary time"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_wire_forms() {
        let check = |text: &str, seconds: i64, nanos: u32| {
            let time = Timestamp { unix_seconds: seconds, nanos };
            assert_eq!(text.parse::<Timestamp>().unwrap(), time);
            assert_eq!(time.to_string(), text);
            assert_eq!(Timestamp::from_wire(&time.to_wire()), Some(time));
        };
        check("2026-11-23T03:41:00Z", 1_795_405_260, 0);
        check("2026-11-23T03:41:00.123456789Z", 1_795_405_260, 123_456_789);
        check("0001-01-01T00:00:00Z", -62_135_596_800, 0);
        check("1969-12-31T23:59:59.5Z", -1, 500_000_000);
    }

    #[test]
    fn zero_time_on_the_wire() {
        let mut want = [0u8; 15];
        (want[0], want[13], want[14]) = (1, 0xff, 0xff);
        assert_eq!(Timestamp::default().to_wire(), want);
    }
}
