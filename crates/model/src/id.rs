//! UUIDs as sessions, intentions and nodes carry them: compared by their digits alone.

/// Why a text is not a UUID. The messages are those API clients know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UuidError {
    #[error("UUID must be 36 characters")]
    Length,
    #[error("UUID should have maximum of 4 \"-\"; got {0}")]
    Hyphens(usize),
    #[error("UUID (without hyphens) must be even length")]
    Odd,
    #[error("Invalid UUID: encoding/hex: invalid byte: U+{:04X} '{}'", u32::from(*.0), .0)]
    Digit(char),
}

/// The digits of a UUID in lower case, without hyphens: what two spellings of one id share.
pub fn uuid_key(text: &str) -> Result<String, UuidError> {
    if text.len() != 36 {
        return Err(UuidError::Length);
    }
    let hyphens = text.bytes().filter(|byte| *byte == b'-').count();
    if hyphens > 4 {
        return Err(UuidError::Hyphens(hyphens));
    }
    if !(text.len() - hyphens).is_multiple_of(2) {
        return Err(UuidError::Odd);
    }
    let digits = text.chars().filter(|c| *c != '-');
    match digits.clone().find(|c| !c.is_ascii_hexdigit()) {
        Some(other) => Err(UuidError::Digit(other)),
        None => Ok(digits.map(|c| c.to_ascii_lowercase()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_keys() {
        let check = |text: &str, want: Result<&str, UuidError>| {
            assert_eq!(uuid_key(text), want.map(str::to_owned), "{text}");
        };
        let key = "40e4a7482192161a05109bf59fe950b5";
        check("40e4a748-2192-161a-0510-9bf59fe950b5", Ok(key));
        check("40E4A748-2192-161A-0510-9BF59FE950B5", Ok(key));
        check("bad", Err(UuidError::Length));
        check("40e4a748-2192-161a-0510-9bf59f-950b5", Err(UuidError::Hyphens(5)));
        check("40e4a748-2192-161a-051009bf59fe950b5", Err(UuidError::Odd));
        check("40e4a748-2192-161a-0510-9bf59fe950bz", Err(UuidError::Digit('z')));
    }
}
