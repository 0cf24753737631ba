//! What filters answer, as a table. All but the last row were taken from a running Consul 1.8.7.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

struct Upstream {
    name: String,
}

struct Proxy {
    upstreams: Vec<Upstream>,
}

struct Address {
    port: u16,
}

struct Instance {
    node: String,
    meta: BTreeMap<String, String>,
    port: u16,
    native: bool,
    tags: Vec<String>,
    proxy: Option<Proxy>,
    addresses: BTreeMap<String, Address>,
}

record!(Upstream { "Name" => name });
record!(Proxy { "Upstreams" => upstreams });
record!(Address { "Port" => port });
record!(Instance {
    "Node" => node,
    "Meta" => meta,
    "Port" => port,
    "Native" => native,
    "Tags" => tags,
    "Proxy" => proxy,
    "Addresses" => addresses,
});

fn instance() -> Instance {
    Instance {
        node: "n1".into(),
        meta: BTreeMap::from([("rack".into(), "r1".into())]),
        port: 80,
        native: false,
        tags: vec!["a".into(), "b".into()],
        proxy: Some(Proxy { upstreams: vec![] }),
        addresses: BTreeMap::new(),
    }
}

/// "yes" or "no" for an accepted filter, its error otherwise; lines of an error are joined by "; ".
fn check(text: &str, expected: &str) {
    let answer = match Filter::<Instance>::new(text) {
        Ok(filter) if filter.matches(&instance()) => "yes".to_owned(),
        Ok(_) => "no".to_owned(),
        Err(error) => error.to_string().replace('\n', "; "),
    };
    assert_eq!(answer, expected, "filter: {text}");
}

#[test]
fn answers_as_consul_does() {
    check("Node == n1", "yes");
    check("Node==n1", "yes");
    check(r#"Node == "n1""#, "yes");
    check("Node == `n1`", "yes");
    check("node == n1", r#"Selector "node" is not valid"#);
    check("Foo == n1", r#"Selector "Foo" is not valid"#);
    check(
        "Node",
        r#"1:5 (4): no match found, expected: "!=", ".", "==", "[", [ \t\r\n] or [a-zA-Z0-9_]"#,
    );
    check(
        "Node ==",
        r#"1:8 (7): no match found, expected: "-", "0", "\"", "`", [ \t\r\n], [1-9] or [a-zA-Z]"#,
    );
    check(
        " ",
        r#"1:2 (1): no match found, expected: "(", "-", "0", "\"", "`", "not", [ \t\r\n], [1-9] or [a-zA-Z]"#,
    );
    check(
        "(",
        r#"1:2 (1): no match found, expected: "(", "-", "0", "\"", "`", "not", [ \t\r\n], [1-9] or [a-zA-Z]"#,
    );
    check("Node == n1 and", r#"1:15 (14): no match found, expected: [ \t\r\n]"#);
    check("Node == n1 or Node == n2", "yes");
    check("(Node == n1)", "yes");
    check("((Node == n1))", "yes");
    check("(Node == n1) and (Node != n2)", "yes");
    check("not Node == n1", "no");
    check("not (Node == n1)", "no");
    check("not not Node == n1", "yes");
    check(
        "Node = n1",
        r#"1:6 (5): no match found, expected: "!=", "==", "contains", "in", "is", "matches", "not" or [ \t\r\n]"#,
    );
    check("Node is empty", r#"Invalid match operator "Is Empty" for selector "Node""#);
    check("Node is not empty", r#"Invalid match operator "Is Not Empty" for selector "Node""#);
    check("Meta is empty", "no");
    check("Meta is not empty", "yes");
    check("Meta.rack == r1", "yes");
    check(r#"Meta["rack"] == r1"#, "yes");
    check(r#"Meta[ "rack" ] == r1"#, "yes");
    check("Meta[`rack`] == r1", "yes");
    check(r#"Meta["ra\u0063k"] == r1"#, "yes");
    check("Meta.nope == r1", "no");
    check("Meta.nope != r1", "yes");
    check("not Meta.nope == r1", "yes");
    check("Meta.nope is empty", r#"Invalid match operator "Is Empty" for selector "Meta.nope""#);
    check("Meta.nope matches a", "yes");
    check("Meta.nope not matches a", "yes");
    check("Meta.nope contains a", "no");
    check("Meta.nope not contains a", "yes");
    check(r#""" in Meta.nope"#, "no");
    check(r#"Meta.nope == """#, "no");
    check("rack in Meta", "yes");
    check("Meta contains rack", "yes");
    check("Meta not contains rack", "no");
    check("rack not in Meta", "no");
    check("Node contains n", "yes");
    check("1 in Node", "yes");
    check("Node matches `^n[0-9]$`", "yes");
    check("Node not matches n", "no");
    check("Meta == x", r#"Invalid match operator "Equal" for selector "Meta""#);
    check("Node.x == 1", r#"Selector "Node.x" is not valid"#);
    check("Meta.rack.x == 1", r#"Selector "Meta.rack.x" is not valid"#);
    check("Meta == 127.0.0.1", r#"1:14 (13): rule "number": Invalid number literal"#);
    check("Node == -1", "no");
    check("Node == 1.5", "no");
    check("Node == 0.5", "no");
    check("Node == -0", "no");
    check("Node == 01", r#"1:10 (9): rule "number": Invalid number literal"#);
    check("Node == 1.", r#"1:10 (9): rule "number": Invalid number literal"#);
    check("Node == 1a", r#"1:10 (9): rule "number": Invalid number literal"#);
    check("Node == 1.2.3", r#"1:12 (11): rule "number": Invalid number literal"#);
    check("Node == 1.2)", r#"1:12 (11): no match found, expected: [ \t\r\n], [0-9] or EOF"#);
    check("Node == 1)", r#"1:10 (9): no match found, expected: ".", [ \t\r\n], [0-9] or EOF"#);
    check("Node == -", r#"1:10 (9): no match found, expected: "0" or [1-9]"#);
    check(r#"Node == "a"#, r#"1:11 (10): rule "string": Unterminated string literal"#);
    check("Node == `a", r#"1:11 (10): rule "string": Unterminated string literal"#);
    check(r#"Node == "\q""#, r#"1:9 (8): rule "string": invalid syntax"#);
    check(
        "Node == n1)",
        r#"1:11 (10): no match found, expected: ".", "[", [ \t\r\n], [a-zA-Z0-9_] or EOF"#,
    );
    check(
        "Node == n-1",
        r#"1:10 (9): no match found, expected: ".", "[", [ \t\r\n], [a-zA-Z0-9_] or EOF"#,
    );
    check("(Node == n1", r#"1:12 (11): rule "grouping": Unmatched parentheses"#);
    check("( Node == n1 ", r#"1:14 (13): rule "grouping": Unmatched parentheses"#);
    check("(((Node == n1))", r#"1:16 (15): rule "grouping": Unmatched parentheses"#);
    check("((a == 1) (", r#"1:11 (10): rule "grouping": Unmatched parentheses"#);
    check(
        "(((((",
        r#"1:6 (5): no match found, expected: "(", "-", "0", "\"", "`", "not", [ \t\r\n], [1-9] or [a-zA-Z]"#,
    );
    check(
        r#"(Node == "\q" and Meta[1] == x"#,
        r#"1:10 (9): rule "string": invalid syntax; 1:24 (23): rule "index": Invalid index; 1:15 (14): rule "grouping": Unmatched parentheses"#,
    );
    check(r#"Meta["rack""#, r#"1:12 (11): rule "index": Unclosed index expression"#);
    check(
        r#"Meta["rack"#,
        r#"1:11 (10): rule "string": Unterminated string literal; 1:6 (5): rule "index": Invalid index"#,
    );
    check("Meta[rack] == 1", r#"1:6 (5): rule "index": Invalid index"#);
    check("Meta[  ", r#"1:8 (7): rule "index": Invalid index"#);
    check(
        r#"Meta["ra\"ck"] == r1"#,
        r#"1:6 (5): rule "string": invalid syntax; 1:11 (10): rule "index": Unclosed index expression"#,
    );
    check("Meta. rack == r1", "1:6 (5): no match found, expected: [a-zA-Z]");
    check(
        "Meta .rack == r1",
        r#"1:6 (5): no match found, expected: "!=", "==", "contains", "in", "is", "matches", "not" or [ \t\r\n]"#,
    );
    check(
        r#"["x"] == 1"#,
        r#"1:1 (0): no match found, expected: "(", "-", "0", "\"", "`", "not", [ \t\r\n], [1-9] or [a-zA-Z]"#,
    );
    check(
        "Node == n1 AND Node == n2",
        r#"1:12 (11): no match found, expected: "and", "or", [ \t\r\n] or EOF"#,
    );
    check(
        "not(Node == n1)",
        r#"1:4 (3): no match found, expected: "!=", ".", "==", "[", [ \t\r\n] or [a-zA-Z0-9_]"#,
    );
    check("Node == n1 or(Node == n2)", r#"1:14 (13): no match found, expected: [ \t\r\n]"#);
    check("(Node == n1)or Node == n2", r#"1:13 (12): no match found, expected: [ \t\r\n] or EOF"#);
    check(
        "(Node == n1) x",
        r#"1:14 (13): no match found, expected: "and", "or", [ \t\r\n] or EOF"#,
    );
    check("Node isempty", r#"1:8 (7): no match found, expected: [ \t\r\n]"#);
    check("n in", r#"1:5 (4): no match found, expected: [ \t\r\n]"#);
    check("n in ", r#"1:6 (5): rule "match": Invalid selector"#);
    check("n in 1", r#"1:6 (5): rule "match": Invalid selector"#);
    check("n not in Node.", "1:15 (14): no match found, expected: [a-zA-Z]");
    check(
        "Node == n1 or not",
        r#"1:18 (17): no match found, expected: "!=", ".", "==", "[", [ \t\r\n] or [a-zA-Z0-9_]"#,
    );
    check("or == 1", r#"Selector "or" is not valid"#);
    check("Node == and and Node == or", "no");
    check("in in Node", "no");
    check(
        "é == 1",
        r#"1:1 (0): no match found, expected: "(", "-", "0", "\"", "`", "not", [ \t\r\n], [1-9] or [a-zA-Z]"#,
    );
    check(r#"Node == "é""#, "no");
    check(r#"Node == a["b"].c"#, "no");
    check("Node == n1 or Node == n1 and Node == n2", "yes");
    check(r#""""#, r#"1:3 (2): no match found, expected: [ \t\r\n]"#);
    check(r#""a" == 1"#, r#"1:5 (4): no match found, expected: "in", "not" or [ \t\r\n]"#);
    check("1", r#"1:2 (1): no match found, expected: ".", [ \t\r\n] or [0-9]"#);
    check("Foo == n1 and Node is empty", r#"Selector "Foo" is not valid"#);
    check(
        "Node is empty and Foo == n1",
        r#"Invalid match operator "Is Empty" for selector "Node""#,
    );
    check("Port == 80", "yes");
    check(r#"Port == "0x50""#, "yes");
    check(r#"Port == "0120""#, "yes");
    check(r#"Port == "8_0""#, "yes");
    check(
        "Port == abc",
        r#"Failed to coerce value "abc" for selector "Port": strconv.ParseInt: parsing "abc": invalid syntax"#,
    );
    check(
        r#"Port == " 80""#,
        r#"Failed to coerce value " 80" for selector "Port": strconv.ParseInt: parsing " 80": invalid syntax"#,
    );
    check(
        "Port == 99999999999999999999",
        r#"Failed to coerce value "99999999999999999999" for selector "Port": strconv.ParseInt: parsing "99999999999999999999": value out of range"#,
    );
    check(
        "Port == 80.5",
        r#"Failed to coerce value "80.5" for selector "Port": strconv.ParseInt: parsing "80.5": invalid syntax"#,
    );
    check(
        r#"Port == a["b"]"#,
        r#"Failed to coerce value "a.b" for selector "Port": strconv.ParseInt: parsing "a.b": invalid syntax"#,
    );
    check(
        r#"Port == "é\t\x01'\x7f""#,
        r#"Failed to coerce value "é\t\x01'\u007f" for selector "Port": strconv.ParseInt: parsing "é\t\x01'\u007f": invalid syntax"#,
    );
    check("80 in Port", r#"Invalid match operator "In" for selector "Port""#);
    check("Port matches 80", r#"Invalid match operator "Matches" for selector "Port""#);
    check("Native == false", "yes");
    check("Native == 0", "yes");
    check(r#"Native != "TRUE""#, "yes");
    check(
        "Native == nope",
        r#"Failed to coerce value "nope" for selector "Native": strconv.ParseBool: parsing "nope": invalid syntax"#,
    );
    check("Tags contains a", "yes");
    check("b in Tags", "yes");
    check("Tags not contains a", "no");
    check("Tags == a", r#"Invalid match operator "Equal" for selector "Tags""#);
    check("Tags is empty", "no");
    check("Tags.a == a", r#"Selector "Tags.a" is not valid"#);
    check("Tags.a.b.c == a", r#"Selector "Tags.a" is not valid"#);
    check("Tags matches a", r#"Invalid match operator "Matches" for selector "Tags""#);
    check("Proxy == a", r#"Invalid match operator "Equal" for selector "Proxy""#);
    check("Proxy is empty", r#"Invalid match operator "Is Empty" for selector "Proxy""#);
    check("Proxy.Upstreams is empty", "yes");
    check(r#"Proxy.Upstreams.Name == """#, "no");
    check("Proxy.Upstreams.Name != a", "no");
    check(
        "Proxy.Upstreams contains a",
        r#"Invalid match operator "In" for selector "Proxy.Upstreams""#,
    );
    check("Proxy.Config.foo == a", r#"Selector "Proxy.Config" is not valid"#);
    check("Addresses.lan.Port == 0", "no");
    check("Addresses.lan.Port != 1", "yes");
    check("Addresses.lan == 1", r#"Invalid match operator "Equal" for selector "Addresses.lan""#);
    check("Addresses contains lan", "no");
    check("Addresses is empty", "yes");
    check(
        r#"Node matches "[""#,
        r#"Failed to compile regular expression "[": error parsing regexp: unclosed character class: `[`"#,
    );
}

#[test]
fn positions_count_lines_and_characters() {
    let after_selector = r#""!=", "==", "contains", "in", "is", "matches", "not" or [ \t\r\n]"#;
    check("\tNode\n==\nn1", "yes");
    check("Node\n x", &format!("2:2 (6): no match found, expected: {after_selector}"));
    check("Node \n x", &format!("2:2 (7): no match found, expected: {after_selector}"));
    check(
        "Node ==\n\n  =",
        r#"3:3 (11): no match found, expected: "-", "0", "\"", "`", [ \t\r\n], [1-9] or [a-zA-Z]"#,
    );
    check("Port == \"a\n", r#"2:1 (11): rule "string": Unterminated string literal"#);
}

#[test]
fn any_element_of_a_list_of_records_will_do() {
    let mut instance = instance();
    instance.proxy = Some(Proxy {
        upstreams: vec![Upstream { name: "db".into() }, Upstream { name: "q".into() }],
    });
    for (text, expected) in [
        ("Proxy.Upstreams.Name == db", true),
        ("Proxy.Upstreams.Name != db", true),
        ("Proxy.Upstreams.Name == x", false),
        ("not Proxy.Upstreams.Name == db", false),
    ] {
        assert_eq!(Filter::<Instance>::new(text).unwrap().matches(&instance), expected, "{text}");
    }
    instance.proxy = None;
    assert!(Filter::<Instance>::new("Proxy.Upstreams is empty").unwrap().matches(&instance));
}

#[test]
fn bounds_length_and_depth() {
    let deep = |levels| format!("{}Node == n1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(Filter::<Instance>::new(&deep(crate::DEPTH_MAX - 1)).is_ok());
    assert_eq!(Expression::parse(&deep(2_000)), Err(ParseError::TooDeep));
    assert_eq!(Expression::parse(&"not ".repeat(2_000)), Err(ParseError::TooDeep));
    assert_eq!(
        Expression::parse(&" ".repeat(crate::EXPRESSION_BYTES_MAX + 1)),
        Err(ParseError::TooLong)
    );
    // Exponential without the memory of what stands where.
    assert!(Expression::parse(&"(".repeat(crate::DEPTH_MAX / 2)).is_err());
    let long = vec!["Node == n1"; 4_000].join(" or ");
    assert!(Filter::<Instance>::new(&long).unwrap().matches(&instance()));
}

fn expressions() -> impl Strategy<Value = Expression> {
    let selector = (r"[a-zA-Z][a-zA-Z0-9_]{0,6}", prop::collection::vec(any::<String>(), 0..3))
        .prop_map(|(first, rest)| {
            let mut parts = vec![first];
            parts.extend(rest);
            parts
        });
    let operator = prop::sample::select(vec![
        Operator::Equal,
        Operator::NotEqual,
        Operator::In,
        Operator::NotIn,
        Operator::IsEmpty,
        Operator::IsNotEmpty,
        Operator::Matches,
        Operator::NotMatches,
    ]);
    let leaf = (selector, operator, any::<String>()).prop_map(|(selector, operator, value)| {
        let has_value = !matches!(operator, Operator::IsEmpty | Operator::IsNotEmpty);
        Expression::Match(Match {
            selector,
            operator,
            value: if has_value { value } else { String::new() },
        })
    });
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::Or),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::And),
            inner.prop_map(|inner| Expression::Not(Box::new(inner))),
        ]
    })
}

proptest! {
    #[test]
    fn printed_expressions_parse_to_themselves(expression in expressions()) {
        prop_assert_eq!(Expression::parse(&expression.to_string()), Ok(expression));
    }

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        let _ = Filter::<Instance>::new(&text);
    }

    #[test]
    fn any_words_are_answered(words in prop::collection::vec(prop::sample::select(vec![
        "Node", "Meta", ".", "[", "]", "\"", "`", "(", ")", " ", "\n", "==", "!=", "in", "not", "is", "empty", "and", "or",
        "matches", "contains", "1", "-", "0x", "é", "\\", "Tags", "Port",
    ]), 0..40)) {
        if let Ok(filter) = Filter::<Instance>::new(&words.concat()) {
            filter.matches(&instance());
        }
    }
}
