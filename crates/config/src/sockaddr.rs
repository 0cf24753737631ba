//! Address templates such as `{{ GetPrivateIP }}` or `{{ GetAllInterfaces | include "name" "eth0" |
//! attr "address" }}`.
//!
//! The pipelines of go-sockaddr are understood; `range`, `with` and other words of Go's template
//! language are not, and are refused by name. What a machine's interfaces are is an argument.
//!
//! Source: the answers of a running Consul 1.8.7, and RFC 6890 for which addresses are private.

mod special;

use std::cmp::Ordering;
use std::net::IpAddr;

use regex::RegexBuilder;

use crate::settings::network::Cidr;
use special::{is_forwardable, is_of_rfc};

/// One address of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub address: IpAddr,
    /// Bits of the address that name its network.
    pub bits: u8,
    pub is_up: bool,
    /// Whether packets to no nearer network leave through it.
    pub is_default: bool,
}

/// Texts longer than this are no addresses.
const TEMPLATE_BYTES_MAX: usize = 4096;
/// Largest compiled form of a name pattern.
const REGEX_BYTES_MAX: usize = 1 << 16;

/// Replaces every `{{ … }}` in `text`. `interfaces` is asked only if there is one.
///
/// Errors: which word is not understood.
pub fn expand(
    text: &str,
    interfaces: impl FnOnce() -> Result<Vec<Interface>, String>,
) -> Result<String, String> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    if text.len() > TEMPLATE_BYTES_MAX {
        return Err(format!("the template is longer than {TEMPLATE_BYTES_MAX} bytes"));
    }
    let interfaces = interfaces()?;
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((pipeline, following)) = after.split_once("}}") else {
            return Err(format!("the template {text:?} is not closed by }}}}"));
        };
        out.push_str(before);
        let evaluated = evaluate(pipeline, &interfaces);
        out.push_str(&evaluated.map_err(|reason| format!("in the template {text:?}: {reason}"))?);
        rest = following;
    }
    out.push_str(rest);
    Ok(out)
}

/// What flows through a pipeline.
enum Flow {
    Interfaces(Vec<Interface>),
    Text(String),
}

fn evaluate(pipeline: &str, interfaces: &[Interface]) -> Result<String, String> {
    let pipeline = pipeline.trim_start_matches('-').trim_end_matches('-');
    let mut flow = None;
    for words in commands(pipeline)? {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        flow = Some(match flow {
            None => source(&words, interfaces)?,
            Some(Flow::Interfaces(list)) => step(&words, list)?,
            Some(Flow::Text(_)) => {
                return Err(format!("nothing can follow a text, found {}", words.join(" ")));
            }
        });
    }
    match flow {
        Some(Flow::Text(text)) => Ok(text),
        Some(Flow::Interfaces(_)) => {
            Err("it gives interfaces; end it with | attr \"address\"".to_owned())
        }
        None => Err("it is empty".to_owned()),
    }
}

/// The words between the `|` signs; quoted ones may contain anything.
fn commands(pipeline: &str) -> Result<Vec<Vec<String>>, String> {
    let mut commands = vec![Vec::new()];
    let mut chars = pipeline.chars().peekable();
    while let Some(c) = chars.next() {
        let word = match c {
            ' ' | '\t' | '\n' => continue,
            '|' => {
                commands.push(Vec::new());
                continue;
            }
            '"' | '`' => {
                let mut word = String::new();
                loop {
                    match chars.next() {
                        Some(end) if end == c => break,
                        Some('\\') if c == '"' => word.extend(chars.next()),
                        Some(inner) => word.push(inner),
                        None => return Err("a text is not closed".to_owned()),
                    }
                }
                word
            }
            c => {
                let mut word = String::from(c);
                while let Some(next) = chars.next_if(|c| !matches!(c, ' ' | '\t' | '\n' | '|')) {
                    word.push(next);
                }
                word
            }
        };
        if let Some(command) = commands.last_mut() {
            command.push(word);
        }
    }
    if commands.iter().any(Vec::is_empty) {
        Err("a command is missing".to_owned())
    } else {
        Ok(commands)
    }
}

fn source(words: &[&str], all: &[Interface]) -> Result<Flow, String> {
    let default = || all.iter().filter(|i| i.is_default).cloned().collect::<Vec<_>>();
    let reachable = |list: Vec<Interface>, private: bool| {
        let mut list: Vec<_> = list
            .into_iter()
            .filter(|i| i.is_up && is_forwardable(i.address) && is_private(i.address) == private)
            .collect();
        list.sort_by(|a, b| b.is_default.cmp(&a.is_default).then(by_type(a, b)));
        list
    };
    let first =
        |list: Vec<Interface>| list.first().map(|i| i.address.to_string()).unwrap_or_default();
    Ok(match words {
        ["GetAllInterfaces"] => Flow::Interfaces(all.to_vec()),
        ["GetDefaultInterfaces"] => Flow::Interfaces(default()),
        ["GetPrivateInterfaces"] => Flow::Interfaces(reachable(all.to_vec(), true)),
        ["GetPublicInterfaces"] => Flow::Interfaces(reachable(all.to_vec(), false)),
        ["GetPrivateIP"] => Flow::Text(first(reachable(default(), true))),
        ["GetPublicIP"] => Flow::Text(first(reachable(default(), false))),
        ["GetPrivateIPs"] => Flow::Text(join(&reachable(all.to_vec(), true), "address", " ")?),
        ["GetPublicIPs"] => Flow::Text(join(&reachable(all.to_vec(), false), "address", " ")?),
        ["GetInterfaceIP", pattern] => {
            let mut named = select("name", pattern, all)?;
            named.retain(|i| is_forwardable(i.address));
            named.sort_by(by_type);
            Flow::Text(first(named))
        }
        ["GetInterfaceIPs", pattern] => {
            Flow::Text(join(&select("name", pattern, all)?, "address", " ")?)
        }
        [word, ..] => {
            return Err(format!(
                "{word} is not available here; the Get... functions of go-sockaddr are"
            ));
        }
        [] => return Err("it is empty".to_owned()),
    })
}

fn step(words: &[&str], mut list: Vec<Interface>) -> Result<Flow, String> {
    Ok(match words {
        ["include", what, wanted] => Flow::Interfaces(select(what, wanted, &list)?),
        ["exclude", what, wanted] => {
            let out = select(what, wanted, &list)?;
            list.retain(|interface| !out.contains(interface));
            Flow::Interfaces(list)
        }
        ["sort", keys] => {
            // The last key first: each sort keeps the order of equals.
            for key in keys.split(',').rev() {
                sort(&mut list, key.trim())?;
            }
            Flow::Interfaces(list)
        }
        ["unique", what] => {
            let mut seen = Vec::new();
            let mut unique = Vec::new();
            for interface in list {
                let value = attribute(&interface, what)?;
                if !seen.contains(&value) {
                    seen.push(value);
                    unique.push(interface);
                }
            }
            Flow::Interfaces(unique)
        }
        ["limit", count] => {
            let count: usize =
                count.parse().map_err(|_| format!("limit needs a number, found {count}"))?;
            list.truncate(count);
            Flow::Interfaces(list)
        }
        ["offset", count] => {
            let count: i64 =
                count.parse().map_err(|_| format!("offset needs a number, found {count}"))?;
            // From the end if negative.
            let skipped = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            let skipped = if count < 0 { list.len().saturating_sub(skipped) } else { skipped };
            Flow::Interfaces(list.into_iter().skip(skipped).collect())
        }
        ["attr", what] => Flow::Text(
            list.first()
                .map(|interface| attribute(interface, what))
                .transpose()?
                .unwrap_or_default(),
        ),
        ["join", what, separator] => Flow::Text(join(&list, what, separator)?),
        [word, ..] => {
            return Err(format!(
                "{word} is not available here; include, exclude, sort, unique, limit, offset, attr and join are"
            ));
        }
        [] => return Err("a command is missing".to_owned()),
    })
}

/// The interfaces for which `what` is one of the values `wanted`, which are separated by `|`.
fn select(what: &str, wanted: &str, list: &[Interface]) -> Result<Vec<Interface>, String> {
    let keep =
        |test: &dyn Fn(&Interface) -> bool| list.iter().filter(|i| test(i)).cloned().collect();
    match what.to_ascii_lowercase().as_str() {
        "name" | "address" => {
            let pattern = RegexBuilder::new(wanted).size_limit(REGEX_BYTES_MAX).build();
            let pattern = pattern.map_err(|_| format!("{wanted:?} is no regular expression"))?;
            if what.eq_ignore_ascii_case("name") {
                return Ok(keep(&|i| pattern.is_match(&i.name)));
            }
            Ok(keep(&|i| pattern.is_match(&i.address.to_string())))
        }
        "network" => {
            let mut found = Vec::new();
            for network in wanted.split('|') {
                let network: Cidr = network.parse()?;
                found.extend(list.iter().filter(|i| network.contains(i.address)).cloned());
            }
            Ok(found)
        }
        "type" => match wanted.to_ascii_lowercase().as_str() {
            "ip" => Ok(list.to_vec()),
            "ipv4" => Ok(keep(&|i| i.address.is_ipv4())),
            "ipv6" => Ok(keep(&|i| i.address.is_ipv6())),
            other => Err(format!("{other:?} is no type of address; IP, IPv4 and IPv6 are")),
        },
        "size" => {
            let bits: u8 = wanted
                .trim_start_matches('/')
                .parse()
                .map_err(|_| format!("{wanted:?} is no prefix length"))?;
            Ok(keep(&|i| i.bits == bits))
        }
        "rfc" => {
            let mut found = Vec::new();
            for interface in list {
                if is_of_rfc(interface.address, wanted)? {
                    found.push(interface.clone());
                }
            }
            Ok(found)
        }
        "flag" | "flags" => {
            let mut tests: Vec<fn(&Interface) -> bool> = Vec::new();
            for flag in wanted.split('|') {
                tests.push(match flag.to_ascii_lowercase().as_str() {
                    "up" => |i| i.is_up,
                    "loopback" => |i| i.address.is_loopback(),
                    "forwardable" => |i| is_forwardable(i.address),
                    other => {
                        return Err(format!(
                            "{other:?} is no flag known here; up, loopback and forwardable are"
                        ));
                    }
                });
            }
            Ok(keep(&|i| tests.iter().any(|test| test(i))))
        }
        other => Err(format!(
            "{other:?} cannot be selected by; name, address, network, type, size, rfc and flags can"
        )),
    }
}

fn sort(list: &mut [Interface], key: &str) -> Result<(), String> {
    let (descending, name) = match key.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, key.trim_start_matches('+')),
    };
    let order: fn(&Interface, &Interface) -> Ordering = match name.to_ascii_lowercase().as_str() {
        "address" => |a, b| a.address.cmp(&b.address),
        "default" => |a, b| b.is_default.cmp(&a.is_default),
        "name" => |a, b| a.name.cmp(&b.name),
        "private" => |a, b| is_private(b.address).cmp(&is_private(a.address)),
        // Prefix lengths compare only within a family.
        "size" => |a, b| {
            if a.address.is_ipv4() == b.address.is_ipv4() {
                a.bits.cmp(&b.bits)
            } else {
                Ordering::Equal
            }
        },
        "type" => by_type,
        other => {
            return Err(format!(
                "{other:?} cannot be sorted by; address, default, name, private, size and type can"
            ));
        }
    };
    list.sort_by(|a, b| if descending { order(b, a) } else { order(a, b) });
    Ok(())
}

fn by_type(a: &Interface, b: &Interface) -> Ordering {
    a.address.is_ipv6().cmp(&b.address.is_ipv6())
}

fn join(list: &[Interface], what: &str, separator: &str) -> Result<String, String> {
    let values: Result<Vec<String>, String> =
        list.iter().map(|interface| attribute(interface, what)).collect();
    Ok(values?.join(separator))
}

fn attribute(interface: &Interface, what: &str) -> Result<String, String> {
    match what.to_ascii_lowercase().as_str() {
        "address" => Ok(interface.address.to_string()),
        "name" => Ok(interface.name.clone()),
        "size" => Ok(interface.bits.to_string()),
        "type" => Ok(if interface.address.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned()),
        "network" => Ok(format!("{}/{}", interface.address, interface.bits)),
        other => Err(format!(
            "unsupported attribute name {other:?}; address, name, network, size and type are known"
        )),
    }
}

/// Whether an address is set aside from the public ones.
pub(crate) fn is_private(address: IpAddr) -> bool {
    is_of_rfc(address, "6890").unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<Interface> {
        let interface = |name: &str, address: &str, bits, is_default| Interface {
            name: name.to_owned(),
            address: address.parse().unwrap(),
            bits,
            is_up: true,
            is_default,
        };
        vec![
            interface("lo", "127.0.0.1", 8, false),
            interface("lo", "::1", 128, false),
            interface("eth0", "192.0.2.2", 24, true),
            interface("eth0", "fd00::2", 64, true),
            interface("eth0", "fe80::fc:ff:fe00:1", 64, true),
        ]
    }

    fn check(text: &str, expected: &str) {
        let answer = expand(text, || Ok(machine())).unwrap_or_else(|reason| reason);
        assert_eq!(answer, expected, "{text}");
    }

    /// Addresses are what a Consul 1.8.7 gave on a machine with these interfaces.
    #[test]
    fn pipelines() {
        check("127.0.0.1", "127.0.0.1");
        check("{{ GetPrivateIP }}", "fd00::2");
        check("127.0.0.1 {{GetPrivateIPs}}", "127.0.0.1 fd00::2");
        check("{{ GetPublicIP }}", "");
        check("{{ GetInterfaceIP \"eth0\" }}", "fd00::2");
        check("{{ GetInterfaceIP \"nope\" }}", "");
        check("{{ GetInterfaceIPs \"e.*\" }}", "192.0.2.2 fd00::2 fe80::fc:ff:fe00:1");
        check("{{ GetAllInterfaces | attr \"address\" }}", "127.0.0.1");
        check(
            "{{ GetAllInterfaces | include \"type\" \"IPv4\" | join \"address\" \" \" }}",
            "127.0.0.1 192.0.2.2",
        );
        check(
            "{{ GetAllInterfaces|include \"name\" \"eth0\"|include \"type\" \"ipv4\"|attr \"address\" }}",
            "192.0.2.2",
        );
        check(
            "{{ GetAllInterfaces | include \"network\" \"192.0.2.0/24\" | attr \"address\" }}",
            "192.0.2.2",
        );
        for (steps, expected) in [
            ("include \"network\" \"192.0.2.0/24|127.0.0.0/8\"", "192.0.2.2 127.0.0.1"),
            ("include \"flags\" \"loopback\"", "127.0.0.1 ::1"),
            (
                "exclude \"name\" \"lo\" | include \"flags\" \"forwardable|up\"",
                "192.0.2.2 fd00::2 fe80::fc:ff:fe00:1",
            ),
            ("include \"flags\" \"forwardable\"", "fd00::2"),
            ("exclude \"rfc\" \"6890\"", ""),
            ("include \"rfc\" \"1918\"", ""),
            ("include \"rfc\" \"4193\"", "fd00::2"),
            ("include \"size\" \"24\"", "192.0.2.2"),
            ("include \"address\" \"^192\"", "192.0.2.2"),
            ("unique \"name\"", "127.0.0.1 192.0.2.2"),
            ("offset 1", "::1 192.0.2.2 fd00::2 fe80::fc:ff:fe00:1"),
            ("offset -1", "fe80::fc:ff:fe00:1"),
            ("limit 2", "127.0.0.1 ::1"),
            ("sort \"type\"", "127.0.0.1 192.0.2.2 ::1 fd00::2 fe80::fc:ff:fe00:1"),
            ("sort \"-type\"", "::1 fd00::2 fe80::fc:ff:fe00:1 127.0.0.1 192.0.2.2"),
            ("sort \"default,type,size\"", "192.0.2.2 fd00::2 fe80::fc:ff:fe00:1 127.0.0.1 ::1"),
        ] {
            check(
                &format!("{{{{ GetAllInterfaces | {steps} | join \"address\" \" \" }}}}"),
                expected,
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        check(
            "{{ bogus }}",
            "in the template \"{{ bogus }}\": bogus is not available here; the Get... functions of go-sockaddr are",
        );
        check("{{ GetPrivateIP", "the template \"{{ GetPrivateIP\" is not closed by }}");
        check(
            "{{ GetAllInterfaces }}",
            "in the template \"{{ GetAllInterfaces }}\": it gives interfaces; end it with | attr \"address\"",
        );
        check(
            "{{GetAllInterfaces|attr \"x\"}}",
            "in the template \"{{GetAllInterfaces|attr \\\"x\\\"}}\": unsupported attribute name \"x\"; address, name, \
             network, size and type are known",
        );
    }

    proptest::proptest! {
        #[test]
        fn any_template_is_answered(words in proptest::collection::vec(proptest::sample::select(vec![
            "{{", "}}", "GetAllInterfaces", "GetPrivateIP", "|", "include", "sort", "\"", "name", "rfc", "-", "1", " ", "é",
        ]), 0..24)) {
            let _ = expand(&words.concat(), || Ok(machine()));
        }
    }
}
