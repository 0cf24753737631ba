//! Go's durations: signed nanoseconds, written `1h2m3.5s`, read from that text or from a number.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A signed span of time. Unit: nanoseconds. Serializes as the number of nanoseconds; use
/// [`text`] with `#[serde(with)]` where humans are shown text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub i64);

impl GoDuration {
    pub const ZERO: Self = Self(0);

    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis * 1_000_000)
    }

    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// As an unsigned duration; negative spans become zero.
    pub fn to_std(self) -> Duration {
        Duration::from_nanos(self.0.max(0) as u64)
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// Why a text is not a duration. The message is the one Go gives, which API clients know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit { unit: String, text: String },
}

impl FromStr for GoDuration {
    type Err = DurationError;

    /// Accepts what Go's `time.ParseDuration` accepts: sign, decimal numbers with unit suffixes
    /// `ns us µs ms s m h`, and the bare `0`.
    fn from_str(text: &str) -> Result<Self, DurationError> {
        let invalid = || DurationError::Invalid(text.to_owned());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let number_len = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
            let (number, after) = rest.split_at(number_len);
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
                return Err(invalid());
            }
            let unit_len = after
                .char_indices()
                .find(|(_, c)| c.is_ascii_digit() || *c == '.')
                .map_or(after.len(), |(at, _)| at);
            let (unit, next) = after.split_at(unit_len);
            if unit.is_empty() {
                return Err(DurationError::MissingUnit(text.to_owned()));
            }
            let scale = unit_nanos(unit).ok_or_else(|| DurationError::UnknownUnit {
                unit: unit.to_owned(),
                text: text.to_owned(),
            })?;
            if whole.len() > 19 {
                return Err(invalid());
            }
            let mut part = i128::from(whole.parse::<u64>().unwrap_or(0)) * i128::from(scale);
            let mut digit_scale = i128::from(scale);
            for digit in fraction.bytes().take(18) {
                digit_scale /= 10;
                part += i128::from(digit - b'0') * digit_scale;
            }
            total += part;
            rest = next;
        }
        let signed = if negative { -total } else { total };
        i64::try_from(signed).map(Self).map_err(|_| invalid())
    }
}

fn unit_nanos(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

impl fmt::Display for GoDuration {
    /// Go's `Duration.String`: `0s`, `1.5µs`, `300ms`, `1h0m10s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let nanos = self.0.unsigned_abs();
        if nanos < 1_000_000_000 {
            let (unit, scale) = match nanos {
                0..1_000 => ("ns", 1),
                1_000..1_000_000 => ("µs", 1_000),
                _ => ("ms", 1_000_000),
            };
            write_decimal(f, nanos, scale)?;
            return f.write_str(unit);
        }
        let seconds = nanos / 1_000_000_000;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write_decimal(f, nanos % 60_000_000_000, 1_000_000_000)?;
        f.write_str("s")
    }
}

fn write_decimal(f: &mut fmt::Formatter<'_>, value: u64, scale: u64) -> fmt::Result {
    write!(f, "{}", value / scale)?;
    let fraction = value % scale;
    if fraction == 0 {
        return Ok(());
    }
    let width = scale.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    write!(f, ".{}", digits.trim_end_matches('0'))
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = GoDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"10s\" or a number of nanoseconds")
            }
            fn visit_unit<E>(self) -> Result<GoDuration, E> {
                Ok(GoDuration::ZERO)
            }
            fn visit_i64<E>(self, nanos: i64) -> Result<GoDuration, E> {
                Ok(GoDuration(nanos))
            }
            fn visit_u64<E: serde::de::Error>(self, nanos: u64) -> Result<GoDuration, E> {
                i64::try_from(nanos).map(GoDuration).map_err(E::custom)
            }
            fn visit_f64<E>(self, nanos: f64) -> Result<GoDuration, E> {
                Ok(GoDuration(nanos as i64))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<GoDuration, E> {
                if text.is_empty() {
                    return Ok(GoDuration::ZERO);
                }
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `#[serde(with = "duration::text")]`: text where humans read, nanoseconds elsewhere.
pub mod text {
    use super::*;

    pub fn serialize<S: Serializer>(value: &GoDuration, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(value)
        } else {
            value.serialize(serializer)
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<GoDuration, D::Error> {
        GoDuration::deserialize(d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_as_go_does() {
        let check = |text: &str, nanos: i64, shown: &str| {
            let parsed: GoDuration = text.parse().unwrap();
            assert_eq!(parsed.0, nanos, "{text}");
            assert_eq!(parsed.to_string(), shown, "{text}");
        };
        check("0", 0, "0s");
        check("10s", 10_000_000_000, "10s");
        check("1.5h", 5_400_000_000_000, "1h30m0s");
        check("72h", 259_200_000_000_000, "72h0m0s");
        check("-1m", -60_000_000_000, "-1m0s");
        check("1h0m10s", 3_610_000_000_000, "1h0m10s");
        check("300ms", 300_000_000, "300ms");
        check("1500us", 1_500_000, "1.5ms");
        check(".5s", 500_000_000, "500ms");
        check("2m0.25s", 120_250_000_000, "2m0.25s");
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["", "-", "10", "s", "1x", "1.2.3s", ".s", "9999999999999999999h", "1 s"] {
            assert!(text.parse::<GoDuration>().is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn text_round_trips(nanos in proptest::num::i64::ANY.prop_filter("min", |n| *n != i64::MIN)) {
            let shown = GoDuration(nanos).to_string();
            proptest::prop_assert_eq!(shown.parse::<GoDuration>(), Ok(GoDuration(nanos)));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = text.parse::<GoDuration>();
        }
    }

    use proptest::strategy::Strategy as _;
}
