//! Odd files as a table. Whether a file is accepted was taken from `consul validate` 1.8.7, but for
//! the rows that say otherwise.

use proptest::prelude::*;

use super::*;

/// The tree as JSON, or the error.
fn check(text: &str, expected: &str) {
    let answer = match parse(text.as_bytes()) {
        Ok(node) => node.to_json().to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(answer, expected, "{text}");
}

#[test]
fn attributes_and_blocks() {
    check("", "{}");
    check("ports { http = 8500 dns = -1 }", r#"{"ports":{"dns":-1,"http":8500}}"#);
    check("ports = { http = 8500, dns = -1, }", r#"{"ports":{"dns":-1,"http":8500}}"#);
    check("ports\n{ http \n =\n 1 }", r#"{"ports":{"http":1}}"#);
    check(r#"node_name = "a" server = false"#, r#"{"node_name":"a","server":false}"#);
    check(r#"node_name = "a", server = false"#, r#"{"node_name":"a","server":false}"#);
    check(r#"node_meta { "my-key" = "v" }"#, r#"{"node_meta":{"my-key":"v"}}"#);
    check(r#""node_name" = "a""#, r#"{"node_name":"a"}"#);
    check(r#"node_meta.a = "c""#, r#"{"node_meta.a":"c"}"#);
    check(r#"é = "x""#, r#"{"é":"x"}"#);
    check(r#"{ "node_name": "a" }"#, r#"{"node_name":"a"}"#);
    check("\u{feff}a = 1\r\nb = 2\r\n", r#"{"a":1,"b":2}"#);
}

#[test]
fn what_is_written_more_than_once() {
    check("a = 1 a = 2", r#"{"a":2}"#);
    check("a = [1] a = [2]", r#"{"a":[1,2]}"#);
    check("a { b = 1 } a { b = 2 }", r#"{"a":[{"b":1},{"b":2}]}"#);
    check("a { b = 1 } a { b = 2 } a { b = 3 }", r#"{"a":[{"b":1},{"b":2},{"b":3}]}"#);
    check("a { b = 1 } a = 2", r#"{"a":2}"#);
    check("a = 1 A = 2", r#"{"A":2,"a":1}"#);
}

#[test]
fn labels_nest() {
    check(r#"service "web" { port = 80 }"#, r#"{"service":{"web":{"port":80}}}"#);
    check("a b \"c\" { d = 1 }", r#"{"a":{"b":{"c":{"d":1}}}}"#);
    check(r#"key "a" {} key "b" {}"#, r#"{"key":[{"a":{}},{"b":{}}]}"#);
    check(
        r#"a "b" = 1"#,
        r#"line 1, column 1: a "b" has a label and must open a block, not be assigned"#,
    );
}

#[test]
fn numbers() {
    check("a = 0x2134", r#"{"a":8500}"#);
    check("a = 020464", r#"{"a":8500}"#);
    check("a = -1.5e3", r#"{"a":-1500.0}"#);
    check("a = 1e3", r#"{"a":1000.0}"#);
    check("a = 08", "line 1, column 5: 08 is no number, or out of range");
    check("a = 0xZZ", "line 1, column 5: 0x is no number, or out of range");
    check("a = - 5", "line 1, column 5: - is no number, or out of range");
    check("a = +5", "line 1, column 5: unexpected character '+'");
    check(
        "a = 99999999999999999999",
        "line 1, column 5: 99999999999999999999 is no number, or out of range",
    );
    check("a = 1_000", "line 1, column 10: expected = or { after _000, found the end");
}

#[test]
fn texts() {
    check(r#"a = "a${b}c""#, r#"{"a":"a${b}c"}"#);
    check(r#"a = "a${ "q" }c""#, r#"{"a":"a${ \"q\" }c"}"#);
    check(r#"a = "}${a{b}c}%{d}""#, r#"{"a":"}${a{b}c}%{d}"}"#);
    check(r#"a = "\u00e9\x41\101\"\n""#, r#"{"a":"éAA\"\n"}"#);
    check(r#"a = "\q""#, r"line 1, column 6: unknown escape in the text; write \\ for a backslash");
    check("a = \"b\nc\"", "line 1, column 5: the text is not closed by a double quote");
    check("a = \"b", "line 1, column 5: the text is not closed by a double quote");
    check(r#"a = "${b""#, "line 1, column 5: the text is not closed by a double quote");
    check("a = 'b'", "line 1, column 5: unexpected character '\\''");
}

#[test]
fn heredocs() {
    check("a = <<E\nhello\n  you\nE\nb = 1", r#"{"a":"hello\n  you\n","b":1}"#);
    check("a = <<-E\n   hello\n     you\n   E\n", r#"{"a":"hello\n  you\n"}"#);
    check("a = <<-E\n hello\n   E\n", r#"{"a":" hello\n"}"#);
    check("a = <<E\nE\n", r#"{"a":""}"#);
    check("a = <<E\nb", "line 1, column 5: the heredoc is not closed by a line E");
    check(
        "a = <<E b\nE\n",
        "line 1, column 5: a heredoc opens with << and a word at the end of the line",
    );
    // Consul wants a newline after the closing mark.
    check("a = <<E\nb\nE", r#"{"a":"b\n"}"#);
}

#[test]
fn comments() {
    check("# a\n// b\n/* c\nd */ a = 1 # e", r#"{"a":1}"#);
    check("a = [ 1, # b\n /* c */\n 2 ]", r#"{"a":[1,2]}"#);
    check("/* a", "line 1, column 1: the comment is not closed by */");
}

#[test]
fn lists() {
    check(r#"a = ["b", "c",]"#, r#"{"a":["b","c"]}"#);
    check("a = [,]", r#"{"a":[]}"#);
    check("a = [1,,2]", r#"{"a":[1,2]}"#);
    check("a = [[1], { b = 1 }, { c = 2 }]", r#"{"a":[[1],{"b":1},{"c":2}]}"#);
    check("a = [1 2]", "line 1, column 8: expected a comma or ] in the list a, found 2");
    check("a = [1", "line 1, column 7: expected a comma or ] in the list a, found the end");
}

#[test]
fn what_is_refused() {
    check("a = b", "line 1, column 5: b is no value for a; text needs double quotes");
    check("a = TRUE", "line 1, column 5: TRUE is no value for a; text needs double quotes");
    check("= 5", "line 1, column 1: expected a key, found =");
    check("a \"b\"", "line 1, column 6: expected = or { after b, found the end");
    check("a = \"b\" \"c\"", "line 1, column 12: expected = or { after c, found the end");
    check("a: 1", "line 1, column 2: unexpected character ':'");
    check("a = \"b\";", "line 1, column 8: unexpected character ';'");
    check(
        "{ a = 1 }",
        "line 1, column 3: invalid character 'a' looking for beginning of object key string",
    );
    check(
        "a { b = 1",
        "line 1, column 10: expected } to close the block opened above, found the end",
    );
    check("a { b = 1 } }", "line 1, column 13: expected a key, found }");
    // Nothing at all to Consul, which forgets the key.
    check("a =", "line 1, column 4: expected a value for a, found the end");
    check(&"a {".repeat(100), "line 1, column 195: nested deeper than 64 levels");
    check(&format!("a = {}", "[".repeat(100)), "line 1, column 69: nested deeper than 64 levels");
    check(&"a ".repeat(100), "line 1, column 131: nested deeper than 64 levels");
}

proptest! {
    #[test]
    fn any_input_is_answered(input in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse(&input);
    }

    #[test]
    fn any_tokens_are_answered(words in prop::collection::vec(prop::sample::select(vec![
        "a", "\"b\"", "=", "{", "}", "[", "]", ",", "\n", " ", "1", "-", "0x", ".", "true", "<<E", "<<-E", "\nE\n", "${", "\"",
        "#", "/*", "*/", "//", "\\", "é",
    ]), 0..48)) {
        let _ = parse(words.concat().as_bytes());
    }
}
