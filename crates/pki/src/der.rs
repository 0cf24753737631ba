//! A small writer of DER, enough for certificates and requests of our own fixed shapes.
//!
//! Lengths are patched in after the content is known; content is a few hundred bytes, so moving it
//! by a byte or two costs less than measuring it first would.

use model::time::Timestamp;

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const PRINTABLE_STRING: u8 = 0x13;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The tag of a context-specific constructed value, such as `[3]` of certificate extensions.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// The tag of a context-specific primitive value, such as `[6]` of a URI name.
pub(crate) const fn context_primitive(number: u8) -> u8 {
    0x80 | number
}

#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A value whose content `body` writes.
    pub(crate) fn nest(&mut self, tag: u8, body: impl FnOnce(&mut Self)) {
        self.bytes.push(tag);
        self.bytes.push(0);
        let start = self.bytes.len();
        body(self);
        let length = self.bytes.len() - start;
        if length < 0x80 {
            self.bytes[start - 1] = length as u8;
            return;
        }
        let big_endian = length.to_be_bytes();
        let skip = big_endian.iter().take_while(|byte| **byte == 0).count();
        let length_bytes = &big_endian[skip..];
        self.bytes[start - 1] = 0x80 | length_bytes.len() as u8;
        self.bytes.splice(start..start, length_bytes.iter().copied());
    }

    pub(crate) fn sequence(&mut self, body: impl FnOnce(&mut Self)) {
        self.nest(SEQUENCE, body);
    }

    pub(crate) fn primitive(&mut self, tag: u8, content: &[u8]) {
        self.nest(tag, |w| w.raw(content));
    }

    /// Bytes that are DER already.
    pub(crate) fn raw(&mut self, der: &[u8]) {
        self.bytes.extend_from_slice(der);
    }

    /// A number given as big-endian bytes, never negative.
    pub(crate) fn unsigned(&mut self, big_endian: &[u8]) {
        let skip = big_endian.iter().take_while(|byte| **byte == 0).count();
        let magnitude = &big_endian[skip..];
        self.nest(INTEGER, |w| {
            if magnitude.first().is_none_or(|first| first & 0x80 != 0) {
                w.bytes.push(0);
            }
            w.raw(magnitude);
        });
    }

    /// An object identifier by its encoded content.
    pub(crate) fn oid(&mut self, content: &[u8]) {
        self.primitive(OID, content);
    }

    pub(crate) fn boolean_true(&mut self) {
        self.primitive(BOOLEAN, &[0xff]);
    }

    /// Text of which every character must be printable in the narrow sense of X.680.
    pub(crate) fn printable(&mut self, text: &str) {
        self.primitive(PRINTABLE_STRING, text.as_bytes());
    }

    pub(crate) fn bit_string(&mut self, content: &[u8]) {
        self.nest(BIT_STRING, |w| {
            w.bytes.push(0);
            w.raw(content);
        });
    }

    /// A date to the second: two-digit years until 2049, as RFC 5280 section 4.1.2.5 demands.
    pub(crate) fn time(&mut self, time: Timestamp) {
        let Date { year, month, day, hour, minute, second } = Date::of(time);
        let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
        if (1950..2050).contains(&year) {
            self.primitive(UTC_TIME, format!("{:02}{rest}", year % 100).as_bytes());
        } else {
            let year = year.clamp(0, 9999);
            self.primitive(GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes());
        }
    }
}

/// A date in the Gregorian calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
}

const DAY_SECONDS: i64 = 86_400;

impl Date {
    /// Source: Howard Hinnant, "chrono-compatible low-level date algorithms".
    pub(crate) fn of(time: Timestamp) -> Self {
        let days = time.unix_seconds.div_euclid(DAY_SECONDS);
        let seconds = time.unix_seconds.rem_euclid(DAY_SECONDS);
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year,
            month: month as u8,
            day: day as u8,
            hour: (seconds / 3600) as u8,
            minute: (seconds / 60 % 60) as u8,
            second: (seconds % 60) as u8,
        }
    }

    pub(crate) fn to_timestamp(self) -> Timestamp {
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        let seconds =
            i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        Timestamp::from_unix(days * DAY_SECONDS + seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(body: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        body(&mut writer);
        writer.into_bytes()
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        let check = |length: usize, head: &[u8]| {
            let bytes = written(|w| w.primitive(OCTET_STRING, &vec![9; length]));
            assert_eq!(&bytes[..head.len()], head);
            assert_eq!(bytes.len(), head.len() + length);
        };
        check(0, &[4, 0]);
        check(127, &[4, 127]);
        check(128, &[4, 0x81, 128]);
        check(255, &[4, 0x81, 255]);
        check(256, &[4, 0x82, 1, 0]);
        check(65_536, &[4, 0x83, 1, 0, 0]);
    }

    #[test]
    fn numbers_are_positive_and_minimal() {
        let check = |given: &[u8], want: &[u8]| {
            assert_eq!(written(|w| w.unsigned(given)), want);
        };
        check(&[], &[2, 1, 0]);
        check(&[0], &[2, 1, 0]);
        check(&[7], &[2, 1, 7]);
        check(&[0, 0, 7], &[2, 1, 7]);
        check(&[0x7f], &[2, 1, 0x7f]);
        check(&[0x80], &[2, 2, 0, 0x80]);
        check(&[0xff, 1], &[2, 3, 0, 0xff, 1]);
    }

    #[test]
    fn dates_in_both_forms() {
        let check = |text: &str, tag: u8, want: &str| {
            let time: Timestamp = text.parse().unwrap();
            let bytes = written(|w| w.time(time));
            assert_eq!((bytes[0], std::str::from_utf8(&bytes[2..]).unwrap()), (tag, want));
            assert_eq!(Date::of(time).to_timestamp(), time);
        };
        check("2026-11-23T03:58:40Z", UTC_TIME, "261123035840Z");
        check("1970-01-01T00:00:00Z", UTC_TIME, "700101000000Z");
        check("2000-02-29T23:59:59Z", UTC_TIME, "000229235959Z");
        check("2049-12-31T23:59:59Z", UTC_TIME, "491231235959Z");
        check("2050-01-01T00:00:00Z", GENERALIZED_TIME, "20500101000000Z");
        check("2100-03-01T00:00:00Z", GENERALIZED_TIME, "21000301000000Z");
        check("1949-12-31T00:00:00Z", GENERALIZED_TIME, "19491231000000Z");
    }
}
