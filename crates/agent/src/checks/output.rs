//! Keeping output small: the last bytes of what a target says.

use std::collections::VecDeque;

/// Keeps the last bytes written to it and counts all.
#[derive(Clone, Debug)]
pub struct Tail {
    kept: VecDeque<u8>,
    bytes_max: usize,
    total: usize,
}

impl Tail {
    pub fn new(bytes_max: usize) -> Self {
        Self { kept: VecDeque::new(), bytes_max, total: 0 }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.total = self.total.saturating_add(bytes.len());
        let fresh = &bytes[bytes.len().saturating_sub(self.bytes_max)..];
        let overflow = (self.kept.len() + fresh.len()).saturating_sub(self.bytes_max);
        self.kept.drain(..overflow);
        self.kept.extend(fresh);
    }

    pub fn total(&self) -> usize {
        self.total
    }

    /// What was kept; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        let bytes: Vec<u8> = self.kept.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// As [`Tail::text`], with a line before it saying how much is missing.
    pub fn annotated(&self) -> String {
        let text = self.text();
        if self.total > self.kept.len() {
            format!("Captured {} of {} bytes\n...\n{text}", self.kept.len(), self.total)
        } else {
            text
        }
    }
}

/// Cuts `text` to at most `bytes_max` bytes, at the end of a character.
pub fn truncate(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let mut cut = bytes_max;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        text.truncate(cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_end() {
        let check = |max: usize, parts: &[&str], text: &str, annotated: &str| {
            let mut tail = Tail::new(max);
            parts.iter().for_each(|part| tail.push(part.as_bytes()));
            assert_eq!(tail.text(), text, "{parts:?}");
            assert_eq!(tail.annotated(), annotated, "{parts:?}");
        };
        check(4, &[], "", "");
        check(4, &["ab", "cd"], "abcd", "abcd");
        check(4, &["ab", "cde"], "bcde", "Captured 4 of 5 bytes\n...\nbcde");
        check(4, &["abcdefgh"], "efgh", "Captured 4 of 8 bytes\n...\nefgh");
        check(0, &["ab"], "", "Captured 0 of 2 bytes\n...\n");
    }
}
