//! Tells in which ways two answers to the same request differ: status, headers, layout, keys, values.

use std::collections::BTreeSet;
use std::io::Read;

use crate::json::{Json, form};
use crate::request::Answer;
use crate::scrub::{Opaque, Relations, Scrub};

/// Headers that say nothing of the interface: framing and clocks.
const HEADERS_IGNORED: [&str; 4] = ["date", "content-length", "transfer-encoding", "connection"];
/// Headers whose presence counts and whose value depends on the moment.
const HEADERS_PRESENT: [&str; 1] = ["age"];

/// One difference: where, and what each side has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `status`, `form`, `body`, `header NAME` or `body/POINTER`.
    pub at: String,
    pub left: String,
    pub right: String,
}

/// What a comparison lets pass, beyond what must differ.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Pointers into the JSON body of which only the kind of value counts; `*` stands for any one part.
    pub ignored: Vec<String>,
    /// Pointers to lists whose order is random by nature, such as lists sorted by a random id.
    pub unordered: Vec<String>,
    /// Headers, in lower case, of which only the presence counts.
    pub headers_ignored: Vec<String>,
}

/// Compares two answers. `scrubs` are those of the left and of the right agent.
pub fn compare(
    left: &Answer,
    right: &Answer,
    rules: &Rules,
    scrubs: (&Scrub, &Scrub),
    relations: &mut Relations,
) -> Vec<Difference> {
    let mut walk = Walk { rules, scrubs, relations, found: Vec::new() };
    if left.status != right.status {
        walk.tell("status", left.status, right.status);
    }
    walk.headers(left, right);
    walk.bodies(&unpacked(left), &unpacked(right));
    walk.found
}

/// The body as text, unpacked if it came compressed.
pub fn unpacked(answer: &Answer) -> String {
    if answer.header("Content-Encoding") == Some("gzip") {
        let mut text = String::new();
        return match flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_string(&mut text)
        {
            Ok(_) => text,
            Err(error) => format!("<damaged gzip: {error}>"),
        };
    }
    match std::str::from_utf8(&answer.body) {
        Ok(text) => text.to_owned(),
        // Bytes that are no text are compared by their spelling.
        Err(_) => answer.body.escape_ascii().to_string(),
    }
}

struct Walk<'a> {
    rules: &'a Rules,
    scrubs: (&'a Scrub, &'a Scrub),
    relations: &'a mut Relations,
    found: Vec<Difference>,
}

impl Walk<'_> {
    fn tell(&mut self, at: &str, left: impl ToString, right: impl ToString) {
        self.found.push(Difference {
            at: at.to_owned(),
            left: left.to_string(),
            right: right.to_string(),
        });
    }

    fn headers(&mut self, left: &Answer, right: &Answer) {
        let names: BTreeSet<String> = left
            .headers
            .iter()
            .chain(&right.headers)
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        for name in names {
            if HEADERS_IGNORED.contains(&name.as_str()) {
                continue;
            }
            let at = format!("header {name}");
            match (joined(left, &name), joined(right, &name)) {
                (Some(a), Some(b)) => self.header(&at, &name, &a, &b),
                (a, b) => self.tell(
                    &at,
                    a.unwrap_or_else(|| "none".into()),
                    b.unwrap_or_else(|| "none".into()),
                ),
            }
        }
    }

    fn header(&mut self, at: &str, name: &str, left: &str, right: &str) {
        match name {
            _ if HEADERS_PRESENT.contains(&name) => {}
            _ if self.rules.headers_ignored.iter().any(|ignored| ignored == name) => {}
            "x-consul-index" => self.index(at, left, right),
            "x-consul-contenthash" => self.opaque(at, Opaque::Hash, left, right),
            _ => self.text(at, left, right),
        }
    }

    fn bodies(&mut self, left: &str, right: &str) {
        let (Some(a), Some(b)) = (Json::parse(left), Json::parse(right)) else {
            return self.text("body", left, right);
        };
        let (form_left, form_right) = (form(left, &a), form(right, &b));
        // One line of scalars has no indentation to differ in, and an empty list neither.
        if form_left != form_right
            && !(left.trim_end() == right.trim_end() && form_left.1 == form_right.1)
        {
            self.tell("form", format!("{form_left:?}"), format!("{form_right:?}"));
        }
        self.value("body", "", "", &a, &b);
    }

    fn value(&mut self, at: &str, pointer: &str, key: &str, left: &Json, right: &Json) {
        if left.kind() != right.kind() {
            return self.tell(at, shown(left), shown(right));
        }
        if self.rules.ignored.iter().any(|pattern| matches(pattern, pointer)) {
            return;
        }
        match (left, right) {
            (Json::Object(a), Json::Object(b)) => self.objects(at, pointer, a, b),
            (Json::List(a), Json::List(b)) => {
                if self.rules.unordered.iter().any(|pattern| matches(pattern, pointer)) {
                    let (a, b) = (sorted(a, self.scrubs.0), sorted(b, self.scrubs.1));
                    self.lists(at, pointer, &a, &b);
                } else {
                    self.lists(at, pointer, a, b);
                }
            }
            (Json::Number(a), Json::Number(b)) if is_index(key) => self.index(at, a, b),
            (Json::Number(a), Json::Number(b)) => {
                if key != "SerialNumber" && self.scrubs.0.number(a) != self.scrubs.1.number(b) {
                    self.tell(at, a, b);
                }
            }
            (Json::Text(_), Json::Text(_)) if key == "SerialNumber" => {}
            (Json::Text(a), Json::Text(b)) if is_hash(key) => self.opaque(at, Opaque::Hash, a, b),
            (Json::Text(a), Json::Text(b)) => self.text(at, a, b),
            (a, b) => {
                if a != b {
                    self.tell(at, shown(a), shown(b));
                }
            }
        }
    }

    fn objects(
        &mut self,
        at: &str,
        pointer: &str,
        left: &[(String, Json)],
        right: &[(String, Json)],
    ) {
        let (scrub_left, scrub_right) = self.scrubs;
        let names = |rows: &[(String, Json)], scrub: &Scrub| -> Vec<String> {
            rows.iter().map(|(name, _)| scrub.text(name).0).collect()
        };
        let (names_left, names_right) = (names(left, scrub_left), names(right, scrub_right));
        for (name, (_, value)) in names_left.iter().zip(left) {
            if !names_right.contains(name) {
                self.tell(&format!("{at}/{name}"), shown(value), "none");
            }
        }
        for (name, (_, value)) in names_right.iter().zip(right) {
            if !names_left.contains(name) {
                self.tell(&format!("{at}/{name}"), "none", shown(value));
            }
        }
        let common = |names: &[String], other: &[String]| -> Vec<String> {
            names.iter().filter(|name| other.contains(name)).cloned().collect()
        };
        let (order_left, order_right) =
            (common(&names_left, &names_right), common(&names_right, &names_left));
        if order_left != order_right {
            self.tell(&format!("{at} order"), order_left.join(" "), order_right.join(" "));
        }
        for (name, (key, value)) in names_left.iter().zip(left) {
            if let Some(n) = names_right.iter().position(|other| other == name) {
                let (other_key, other) = &right[n];
                self.text(&format!("{at}/{name}"), key, other_key);
                self.value(
                    &format!("{at}/{name}"),
                    &format!("{pointer}/{name}"),
                    key,
                    value,
                    other,
                );
            }
        }
    }

    fn lists(&mut self, at: &str, pointer: &str, left: &[Json], right: &[Json]) {
        if left.len() != right.len() {
            self.tell(&format!("{at} length"), list_shown(left), list_shown(right));
        }
        for (n, (a, b)) in left.iter().zip(right).enumerate() {
            self.value(&format!("{at}/{n}"), &format!("{pointer}/{n}"), "", a, b);
        }
    }

    fn index(&mut self, at: &str, left: &str, right: &str) {
        let (Ok(a), Ok(b)) = (left.parse::<u64>(), right.parse::<u64>()) else {
            return self.tell(at, left, right);
        };
        let (start_left, start_right) = (self.scrubs.0.is_start(a), self.scrubs.1.is_start(b));
        // None is zero on both sides or on neither.
        if (a == 0) != (b == 0) || start_left != start_right {
            self.tell(at, left, right);
        } else if !start_left {
            self.opaque(at, Opaque::Index, left, right);
        }
    }

    fn opaque(&mut self, at: &str, kind: Opaque, left: &str, right: &str) {
        if left.is_empty() != right.is_empty() {
            self.tell(at, left, right);
        } else if !self.relations.relate(kind, left, right) {
            self.tell(
                at,
                format!("{left} ({kind:?}, seen before)"),
                format!("{right} (another than then)"),
            );
        }
    }

    fn text(&mut self, at: &str, left: &str, right: &str) {
        let ((a, found_a), (b, found_b)) = (self.scrubs.0.text(left), self.scrubs.1.text(right));
        if a != b {
            return self.tell(at, left, right);
        }
        for ((kind, a), (_, b)) in found_a.iter().zip(&found_b) {
            self.opaque(at, *kind, a, b);
        }
    }
}

/// All values of a header, as a list sent in several lines means the same as one.
fn joined(answer: &Answer, name: &str) -> Option<String> {
    let values: Vec<&str> = answer
        .headers
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Whether a pattern such as `/*/ID` names a pointer.
fn matches(pattern: &str, pointer: &str) -> bool {
    let (mut a, mut b) = (pattern.split('/'), pointer.split('/'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(part), Some(other)) if part == "*" || part == other => {}
            _ => return false,
        }
    }
}

/// Keys that hold a replicated index. A lock's index is a counter of its own that starts at one everywhere.
fn is_index(key: &str) -> bool {
    key.ends_with("Index") && key != "LockIndex"
}

fn is_hash(key: &str) -> bool {
    matches!(key, "ContentHash" | "Hash")
}

/// The rows in an order that depends on nothing random.
fn sorted(rows: &[Json], scrub: &Scrub) -> Vec<Json> {
    let mut rows = rows.to_vec();
    rows.sort_by_cached_key(|row| padded(&scrub.text(&without_serial(row).compact()).0));
    rows
}

/// The text with its numbers at one width, so that 9 comes before 10 as text, too.
fn padded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[start..].bytes().take_while(u8::is_ascii_digit).count();
        let (before, number) = (&rest[..start], &rest[start..start + digits]);
        out.push_str(before);
        out.push_str(&format!("{number:0>20}"));
        rest = &rest[start + digits..];
    }
    out.push_str(rest);
    out
}

/// The row without its serial number, which is random where it is not counted.
fn without_serial(row: &Json) -> Json {
    match row {
        Json::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| name != "SerialNumber");
            Json::Object(kept.cloned().collect())
        }
        other => other.clone(),
    }
}

fn shown(value: &Json) -> String {
    value.compact()
}

fn list_shown(rows: &[Json]) -> String {
    format!("{} of [{}]", rows.len(), rows.iter().map(Json::compact).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&str, &str)], body: &str) -> Answer {
        let headers = headers.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        Answer { status: 200, headers, body: body.as_bytes().to_vec() }
    }

    #[track_caller]
    fn check(left: &str, right: &str, places: &[&str]) {
        let scrub = Scrub::default();
        let rules = Rules {
            ignored: vec!["/*/Free".into()],
            unordered: vec!["/Any".into()],
            ..Rules::default()
        };
        let found = compare(
            &answer(&[], left),
            &answer(&[], right),
            &rules,
            (&scrub, &scrub),
            &mut Relations::default(),
        );
        assert_eq!(found.iter().map(|d| d.at.as_str()).collect::<Vec<_>>(), places, "{found:?}");
    }

    #[test]
    fn bodies_differ_where_they_differ() {
        check(r#"{"a":1}"#, r#"{"a":1}"#, &[]);
        check(r#"{"a":1}"#, r#"{"a":2}"#, &["body/a"]);
        check(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, &["body order"]);
        check(r#"{"a":1}"#, r#"{}"#, &["body/a"]);
        check(r#"{"a":[1]}"#, r#"{"a":[1,2]}"#, &["body/a length"]);
        check(r#"{"a":"<"}"#, r#"{"a":"\u003c"}"#, &["body/a"]);
        check(r#"{"a":null}"#, r#"{"a":[]}"#, &["body/a"]);
        check("{\n    \"a\": 1\n}\n", r#"{"a":1}"#, &["form"]);
        check("plain", "plan", &["body"]);
        check("true", "true\n", &["form"]);
    }

    #[test]
    fn what_must_differ_is_related() {
        check(
            r#"[{"ModifyIndex":4},{"ModifyIndex":9}]"#,
            r#"[{"ModifyIndex":7},{"ModifyIndex":8}]"#,
            &[],
        );
        check(
            r#"[{"ModifyIndex":4},{"ModifyIndex":4}]"#,
            r#"[{"ModifyIndex":7},{"ModifyIndex":8}]"#,
            &["body/1/ModifyIndex"],
        );
        check(r#"{"ModifyIndex":0}"#, r#"{"ModifyIndex":7}"#, &["body/ModifyIndex"]);
        check(r#"{"x":{"Free":1}}"#, r#"{"x":{"Free":2}}"#, &[]);
        check(r#"{"x":{"Free":1}}"#, r#"{"x":{"Free":"2"}}"#, &["body/x/Free"]);
        check(r#"{"Any":[1,2]}"#, r#"{"Any":[2,1]}"#, &[]);
    }

    #[test]
    fn headers_differ_by_name_and_value() {
        let scrub = Scrub::default();
        let left = answer(&[("Content-Type", "a"), ("X-Consul-Index", "4"), ("Date", "x")], "");
        let right = answer(&[("content-type", "b"), ("X-Consul-Index", "9"), ("Vary", "x")], "");
        let found =
            compare(&left, &right, &Rules::default(), (&scrub, &scrub), &mut Relations::default());
        assert_eq!(
            found.iter().map(|d| d.at.as_str()).collect::<Vec<_>>(),
            ["header content-type", "header vary"]
        );
    }
}
