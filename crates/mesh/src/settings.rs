//! Reads single values out of the opaque `Proxy.Config` and upstream `Config` maps.
//!
//! The keys are Consul's, so numbers may come as JSON numbers or, from HCL and the command line, as text. Keys that
//! this data plane does not know belong to another one and are left alone.

use std::time::Duration;

use model::service::OpaqueConfig;
use serde_json::Value;

use crate::definition::ConfigError;

/// One opaque map and the words that name it in errors.
pub(crate) struct Keys<'a> {
    pub(crate) config: &'a OpaqueConfig,
    /// `proxy` or `upstream "db"`.
    pub(crate) owner: &'a str,
}

impl Keys<'_> {
    pub(crate) fn text(&self, key: &'static str) -> Result<Option<String>, ConfigError> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.wrong(key, "text", other)),
        }
    }

    pub(crate) fn flag(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" => Ok(Some(false)),
            Some(other) => Err(self.wrong(key, "true or false", other)),
        }
    }

    /// A whole number from `range`.
    pub(crate) fn number(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, ConfigError> {
        let number = match self.config.get(key) {
            None | Some(Value::Null) => return Ok(None),
            // Go decodes every JSON number as a float, so `1000.0` must mean 1000 here too.
            Some(value @ Value::Number(number)) => number
                .as_u64()
                .or_else(|| whole(number.as_f64()?))
                .ok_or_else(|| self.wrong(key, "a whole number", value))?,
            Some(value @ Value::String(text)) => {
                text.trim().parse().map_err(|_| self.wrong(key, "a whole number", value))?
            }
            Some(other) => return Err(self.wrong(key, "a whole number", other)),
        };
        if range.contains(&number) {
            return Ok(Some(number));
        }
        Err(ConfigError::OutOfRange {
            owner: self.owner.into(),
            key,
            number,
            min: *range.start(),
            max: *range.end(),
        })
    }

    pub(crate) fn port(&self, key: &'static str) -> Result<Option<u16>, ConfigError> {
        let number = self.number(key, 0..=u64::from(u16::MAX))?;
        Ok(number.map(|number| u16::try_from(number).expect("the range was checked")))
    }

    /// Milliseconds, at most an hour: longer waits are mistakes.
    pub(crate) fn millis(
        &self,
        key: &'static str,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        const HOUR_MS: u64 = 3_600_000;
        // 0 means unset, as it does to Consul.
        let number = self.number(key, 0..=HOUR_MS)?.filter(|number| *number > 0);
        Ok(number.map_or(default, Duration::from_millis))
    }

    fn wrong(&self, key: &'static str, expected: &'static str, found: &Value) -> ConfigError {
        ConfigError::WrongType {
            owner: self.owner.into(),
            key,
            expected,
            found: found.to_string().chars().take(80).collect(),
        }
    }
}

/// Whole numbers up to 2^53, below which floats are exact.
fn whole(float: f64) -> Option<u64> {
    let is_whole = float.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&float);
    is_whole.then_some(float as u64)
}
