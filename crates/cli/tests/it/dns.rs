//! The same questions to the DNS of a real agent and of ours, asked by `dig` and `kdig`.
//!
//! Compared are the response code, the flags, EDNS, and each section as a set; the serial of the start of authority is
//! a clock. Where an answer holds a random choice of records, their numbers by type are compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::command::Cli;
use testkit::differential::{Wanted, is_substituted, subject, write_transcript};
use testkit::ports::free_port;
use testkit::process::{Agent, Spec, consul, peer};
use testkit::scrub::Scrub;
use testkit::wait;

/// Longest way from a registration to its answer.
const EFFECT_MAX: Duration = Duration::from_secs(10);
/// Instances of the wide service: more than any answer to an old client holds.
const WIDE: usize = 20;

const ADDRESS: &str = "the real one answers the question for an IPv6 address with the IPv4 one";
const CHAOS: &str = "the real one answers class CH with records of class IN";
const REVERSE: &str = "the real one fails where it has nobody to ask; we say that we do not know";
const DATACENTER: &str = "the later form of a datacenter's name is accepted";
const PROTOCOL: &str =
    "RFC 2782 names a protocol here, and UDP is one; the real one takes it for a tag";

/// A question as on the command line of `dig`: name, type, options.
struct Question {
    words: &'static str,
    /// Whether only the numbers of records by type are compared.
    random: bool,
    program: &'static str,
}

const fn q(words: &'static str) -> Question {
    Question { words, random: false, program: "dig" }
}

/// A question whose answer is a random choice of what there is.
const fn random(words: &'static str) -> Question {
    Question { words, random: true, program: "dig" }
}

const fn kdig(words: &'static str) -> Question {
    Question { words, random: false, program: "kdig" }
}

#[test]
fn names_of_every_form() {
    let questions = [
        // Nodes.
        q("node1.node.consul A"),
        q("node1.node.consul AAAA"),
        q("node1.node.consul ANY"),
        q("node1.node.consul TXT"),
        q("node1.node.consul SRV"),
        q("node1.node.consul MX"),
        q("node1.node.dc1.consul A"),
        q("node1.node.dc2.consul A"),
        q("NODE1.Node.CONSUL A"),
        q("none.node.consul A"),
        q("none.node.consul AAAA"),
        q("n1.node.consul A"),
        q("n1.node.consul TXT"),
        q("n1.node.consul ANY"),
        q("n2.node.consul A"),
        q("n2.node.consul AAAA"),
        q("n2.node.consul ANY"),
        q("dotted.name.node.consul A"),
        q("name.node.consul A"),
        q("n4.node.consul A"),
        // Services.
        q("web.service.consul A"),
        q("web.service.consul AAAA"),
        q("web.service.consul SRV"),
        q("web.service.consul ANY"),
        q("web.service.consul TXT"),
        q("web.service.consul MX"),
        q("web.service.consul SOA"),
        q("web.service.consul NS"),
        q("web.service.dc1.consul A"),
        q("web.service.dc2.consul A"),
        q("web.service.dc1.dc.consul A"),
        q("WEB.service.consul A"),
        q("web.service.consul. A +tcp"),
        q("web.service.consul SRV +tcp"),
        q("v1.web.service.consul A"),
        q("V1.web.service.consul A"),
        q("v2.web.service.consul SRV"),
        q("none.web.service.consul A"),
        q("a.b.web.service.consul A"),
        q("none.service.consul A"),
        q("none.service.consul SRV"),
        q("service.consul A"),
        q("consul.service.consul A"),
        q("consul.service.consul SRV"),
        q("plain.service.consul A"),
        q("plain.service.consul SRV"),
        q("six.service.consul A"),
        q("six.service.consul AAAA"),
        q("six.service.consul SRV"),
        q("weighted.service.consul SRV"),
        q("Upper.service.consul A"),
        q("under_score.service.consul A"),
        q("dotted.name.service.consul A"),
        // Healthy ones only.
        q("warning.service.consul A"),
        q("critical.service.consul A"),
        q("critical.service.consul SRV"),
        q("ill.service.consul A"),
        q("mixed.service.consul A"),
        q("mixed.service.consul SRV"),
        // RFC 2782.
        q("_web._tcp.service.consul SRV"),
        q("_web._tcp.service.consul A"),
        q("_web._v1.service.consul SRV"),
        q("_web._none.service.consul SRV"),
        q("_web._udp.service.consul SRV"),
        q("_none._tcp.service.consul SRV"),
        q("_web._tcp.service.dc1.consul SRV"),
        q("_web._tcp.node.consul SRV"),
        // Connect.
        q("web.connect.consul A"),
        q("web.connect.consul SRV"),
        q("native.connect.consul A"),
        q("plain.connect.consul A"),
        q("none.connect.consul A"),
        q("web-proxy.service.consul SRV"),
        q("web.ingress.consul A"),
        // Addresses in names.
        q("0a000001.addr.dc1.consul A"),
        q("0a000001.addr.consul A"),
        q("0a000001.addr.dc1.consul AAAA"),
        q("0a000001.addr.dc1.consul ANY"),
        q("0A000001.addr.dc1.consul A"),
        q("fd000000000000000000000000000002.addr.dc1.consul AAAA"),
        q("zz000001.addr.dc1.consul A"),
        q("0a0001.addr.dc1.consul A"),
        // The domain itself.
        q("consul SOA"),
        q("consul NS"),
        q("consul A"),
        q("consul ANY"),
        q("consul TXT"),
        q("nothing.consul A"),
        q("a.nothing.consul A"),
        q("node.consul A"),
        q("x.query.consul A"),
        q("query.consul A"),
        // Reverse.
        q("-x~127.0.0.1"),
        q("-x~10.0.0.1"),
        q("-x~10.1.1.1"),
        q("-x~fd00::2"),
        q("-x~192.0.2.99"),
        q("1.0.0.10.in-addr.arpa A"),
        q("1.0.10.in-addr.arpa PTR"),
        // Outside.
        q("www.example.com A"),
        q(". NS"),
        q("version.bind TXT CH"),
        q("web.service.consul A CH"),
        // Ways of asking.
        q("web.service.consul A +noedns"),
        q("web.service.consul A +norecurse"),
        q("web.service.consul A +bufsize=512"),
        q("web.service.consul A +bufsize=4096"),
        q("web.service.consul A +edns=1 +noednsnegotiation"),
        q("web.service.consul A +dnssec"),
        q("web.service.consul A +nocookie"),
        q("web.service.consul A +subnet=10.0.0.0/24"),
        q("web.service.consul A +cdflag +adflag"),
        q("web.service.consul A +opcode=NOTIFY"),
        q("web.service.consul A +opcode=UPDATE"),
        kdig("web.service.consul SRV"),
        kdig("web.service.consul A +tcp"),
        kdig("web.service.consul A +bufsize=1400"),
        kdig("consul SOA"),
        kdig("n1.node.consul TXT"),
        // Many.
        random("wide.service.consul A +noedns"),
        random("wide.service.consul A"),
        random("wide.service.consul A +bufsize=4096"),
        random("wide.service.consul SRV +noedns"),
        random("wide.service.consul SRV"),
        random("wide.service.consul SRV +bufsize=4096"),
        random("wide.service.consul SRV +bufsize=65535"),
        random("wide.service.consul ANY"),
        q("wide.service.consul A +tcp"),
        q("wide.service.consul SRV +tcp"),
        random("consul NS +bufsize=512"),
    ];
    const REFUSAL: &str = "a refusal to a client with EDNS carries it, too (RFC 6891)";
    const OPCODE: &str = "what is no query is not answered as one";
    let wanted = [
        Wanted { step: "0a000001.addr.dc1.consul AAAA", at: "*", reason: ADDRESS },
        Wanted { step: "version.bind TXT CH", at: "*", reason: CHAOS },
        Wanted { step: "web.service.consul A CH", at: "*", reason: CHAOS },
        Wanted { step: "-x~192.0.2.99", at: "*", reason: REVERSE },
        Wanted { step: "1.0.0.10.in-addr.arpa A", at: "*", reason: REVERSE },
        Wanted { step: "1.0.10.in-addr.arpa PTR", at: "*", reason: REVERSE },
        Wanted { step: "web.service.dc1.dc.consul A", at: "*", reason: DATACENTER },
        Wanted { step: "_web._udp.service.consul SRV", at: "*", reason: PROTOCOL },
        Wanted { step: "_web._tcp.node.consul SRV", at: "*", reason: "there is no such node" },
        Wanted { step: "0a0001.addr.dc1.consul A", at: "*", reason: "this is no address" },
        Wanted {
            step: "0A000001.addr.dc1.consul A",
            at: "*",
            reason: "the asker's case comes back",
        },
        Wanted { step: "www.example.com A", at: "*", reason: REFUSAL },
        Wanted { step: ". NS", at: "*", reason: REFUSAL },
        Wanted {
            step: "web.service.consul A +subnet=10.0.0.0/24",
            at: "*",
            reason: "no answer depends on the subnet, so it is not echoed",
        },
        Wanted {
            step: "web.service.consul A +cdflag +adflag",
            at: "*",
            reason: "nothing is validated here",
        },
        Wanted { step: "web.service.consul A +opcode=NOTIFY", at: "*", reason: OPCODE },
        Wanted { step: "web.service.consul A +opcode=UPDATE", at: "*", reason: OPCODE },
    ];
    check("dns_forms", json!({}), &questions, &wanted);
}

#[test]
fn times_to_live_and_limits() {
    let settings = json!({
        "dns_config": {
            "node_ttl": "30s",
            "service_ttl": { "*": "5s", "we*": "10s", "web": "15s" },
            "only_passing": true,
            "enable_truncate": true,
            "udp_answer_limit": 2,
            "disable_compression": true,
            "enable_additional_node_meta_txt": false,
            "soa": { "refresh": 60, "retry": 30, "expire": 600, "min_ttl": 7 },
        },
        "alt_domain": "alt.example.",
    });
    let questions = [
        q("node1.node.consul A"),
        q("node1.node.consul TXT"),
        q("n1.node.consul ANY"),
        q("web.service.consul A"),
        q("web.service.consul SRV"),
        q("weighted.service.consul SRV"),
        q("plain.service.consul A"),
        q("warning.service.consul A"),
        q("mixed.service.consul A"),
        q("web.connect.consul SRV"),
        q("none.service.consul A"),
        q("plain.service.consul AAAA"),
        q("consul SOA"),
        q("consul NS"),
        q("-x~10.0.0.1"),
        q("-x~10.1.1.1"),
        q("0a000001.addr.dc1.consul A"),
        q("web.service.alt.example A"),
        q("web.service.alt.example SRV"),
        q("node1.node.dc1.alt.example A"),
        q("alt.example SOA"),
        q("alt.example NS"),
        q("none.service.alt.example A"),
        random("wide.service.consul A +noedns +ignore"),
        random("wide.service.consul A +ignore"),
        random("wide.service.consul A +bufsize=4096 +ignore"),
        random("wide.service.consul SRV +noedns +ignore"),
        random("wide.service.consul SRV +ignore"),
        q("wide.service.consul A +tcp"),
    ];
    const ALT: &str = "an answer stays in the domain that was asked, as in later versions";
    let wanted = [
        Wanted { step: "web.service.alt.example SRV", at: "*", reason: ALT },
        Wanted { step: "alt.example SOA", at: "*", reason: ALT },
        Wanted { step: "alt.example NS", at: "*", reason: ALT },
        Wanted { step: "none.service.alt.example A", at: "*", reason: ALT },
        Wanted {
            step: "wide.service.consul SRV +ignore",
            at: "*",
            reason: "ours counts the bytes as they are sent, so more records fit",
        },
    ];
    check("dns_times", settings, &questions, &wanted);
}

#[test]
fn a_domain_of_ones_own_and_a_limit_of_addresses() {
    let settings = json!({
        "domain": "mesh.example.",
        "dns_config": { "a_record_limit": 4 },
    });
    let questions = [
        q("node1.node.mesh.example A"),
        q("web.service.mesh.example SRV"),
        q("mesh.example SOA"),
        q("mesh.example NS"),
        q("-x~127.0.0.1"),
        q("node1.node.consul A"),
        random("wide.service.mesh.example A"),
        random("wide.service.mesh.example A +tcp"),
        random("wide.service.mesh.example SRV +bufsize=4096"),
        random("wide.service.mesh.example SRV +tcp"),
    ];
    let wanted = [Wanted {
        step: "node1.node.consul A",
        at: "*",
        reason: "a refusal to a client with EDNS carries it, too (RFC 6891)",
    }];
    check("dns_domain", settings, &questions, &wanted);
}

#[test]
fn what_is_outside_is_asked_of_the_recursors() {
    let recursor = Recursor::start();
    // The first one never answers: nobody listens there.
    let dead = format!("127.0.0.1:{}", free_port());
    let settings = json!({
        "recursors": [dead, format!("127.0.0.1:{}", recursor.port)],
        "dns_config": { "recursor_timeout": "500ms" },
    });
    let questions = [
        q("known.example A"),
        q("known.example A +tcp"),
        q("known.example A +noedns"),
        q("known.example A +norecurse"),
        q("known.example A +dnssec"),
        q("known.example TXT"),
        q("unknown.example A"),
        q("refused.example A"),
        q("large.example TXT +noedns +ignore"),
        q("large.example TXT +bufsize=4096"),
        q("large.example TXT +tcp"),
        q("Known.Example A"),
        q("-x~192.0.2.53"),
        q("-x~10.0.0.1"),
        q("node1.node.consul A"),
        q("none.node.consul A"),
        q("web.service.consul A"),
        q("consul SOA"),
        q("named.node.consul A"),
        q("named.node.consul ANY"),
        q("named.node.consul CNAME"),
        q("named.service.consul A"),
        q("named.service.consul SRV"),
    ];
    let wanted = [
        Wanted {
            step: "refused.example A",
            at: "*",
            reason: "what the recursor answered is passed on",
        },
        Wanted {
            step: "named.service.consul SRV",
            at: "*",
            reason: "a target outside is looked up by who wants it",
        },
    ];
    check("dns_recursors", settings, &questions, &wanted);
}

/// Asks both agents everything, and fails with all differences.
fn check(noun: &str, settings: Value, questions: &[Question], wanted: &[Wanted]) {
    let spec = |program: &Path| Spec::new(program).config(settings.clone()).start();
    let ours = subject(env!("CARGO_BIN_EXE_lictor"));
    let agents = thread::scope(|scope| {
        let real = scope.spawn(|| spec(&consul()));
        let ours = spec(&ours);
        [real.join().expect("the real agent starts"), ours]
    });
    let domain = settings["domain"].as_str().unwrap_or("consul.");
    for agent in &agents {
        register(agent);
        wait::until("the last registration is answered", EFFECT_MAX, || {
            let words = format!("last.service.{domain} A");
            let program = "dig";
            let question = Question { words: words.leak(), random: false, program };
            let heard = ask(agent, &question);
            heard.get("answer").is_some_and(|text| text.contains("10.9.9.9")).then_some(())
        });
    }
    let wanted = if is_substituted() { &[] } else { wanted };
    let mut occurred = vec![false; wanted.len()];
    let (mut report, mut transcript) = (String::new(), String::new());
    let mut failed = 0;
    for question in questions {
        let (real, ours) = (ask(&agents[0], question), ask(&agents[1], question));
        let _ = writeln!(transcript, "=== {} {}", question.program, question.words);
        for (part, text) in &real {
            let _ = writeln!(transcript, "{part}: {}", text.replace('\n', "\n    "));
        }
        let parts = real.keys().chain(ours.keys());
        let mut parts: Vec<&String> =
            parts.filter(|part| real.get(*part) != ours.get(*part)).collect();
        parts.sort();
        parts.dedup();
        if parts.is_empty() {
            continue;
        }
        if let Some(n) = wanted.iter().position(|row| row.step == question.words) {
            occurred[n] = true;
            continue;
        }
        failed += 1;
        let _ = writeln!(report, "{} {}", question.program, question.words);
        for part in parts {
            let side =
                |heard: &Heard| heard.get(part).cloned().unwrap_or_default().replace('\n', "; ");
            let _ = writeln!(report, "  {part}: {} | {}", side(&real), side(&ours));
        }
    }
    write_transcript(noun, &transcript);
    for (row, occurred) in wanted.iter().zip(occurred) {
        if !occurred {
            failed += 1;
            let _ = writeln!(report, "{}: wanted to differ ({}), does not", row.step, row.reason);
        }
    }
    let count = questions.len();
    assert!(failed == 0, "{failed} of {count} questions differ (real | ours)\n{report}");
}

/// An answer by parts: status, flags, edns, and the sections.
type Heard = BTreeMap<String, String>;

fn ask(agent: &Agent, question: &Question) -> Heard {
    let port = agent.ports.dns.to_string();
    let mut args = vec!["@127.0.0.1", "-p", &port];
    args.extend(question.words.split([' ', '~']));
    // One try within the time that a recursor's silence may take.
    args.extend(match question.program {
        "kdig" => ["+timeout=5", "+retry=0"],
        _ => ["+time=5", "+tries=1"],
    });
    let output = Cli::new(peer(question.program)).run(&args);
    parts(&output.stdout, question.random, &Scrub::of(agent))
}

/// Reads what `dig` or `kdig` prints.
fn parts(text: &str, random: bool, scrub: &Scrub) -> Heard {
    let mut heard = Heard::new();
    let mut section = String::new();
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix(";;") {
            let comment = comment.trim();
            if let Some(name) = comment.strip_suffix("SECTION:") {
                section = name.trim().to_lowercase();
            } else if comment.starts_with("->>HEADER<<-") {
                // dig says `opcode: QUERY, status: NOERROR, id: 1`, kdig puts semicolons.
                let words = comment.split([',', ';']).map(str::trim);
                for word in words.filter(|word| word.starts_with("status:")) {
                    heard.insert("status".into(), word.to_owned());
                }
            } else if let Some(rest) = comment.to_lowercase().strip_prefix("flags:") {
                let flags = rest.split(';').next().unwrap_or_default().trim().to_owned();
                heard.insert("flags".into(), flags);
            } else if comment.contains("communications error") || comment.contains("no servers") {
                heard.insert(
                    "transport".into(),
                    comment.split('#').next().unwrap_or_default().into(),
                );
            } else if comment.contains("Truncated") {
                heard.insert("retried".into(), "over TCP".into());
            }
            continue;
        }
        if let Some(edns) = line.strip_prefix("; EDNS:") {
            heard.insert("edns".into(), edns.trim().to_owned());
            continue;
        }
        if let Some(option) = line.strip_prefix("; CLIENT-SUBNET:") {
            heard.insert("subnet".into(), option.trim().to_owned());
            continue;
        }
        let record = line.trim_start_matches(';').split_whitespace().collect::<Vec<_>>();
        if record.len() >= 3 && !section.is_empty() && !section.starts_with("opt") {
            sections.entry(section.clone()).or_default().push(normal(&record, scrub));
        }
    }
    for (name, mut records) in sections {
        // Types stand fourth in a record.
        if random && name != "question" {
            let kind = |record: &String| record.split(' ').nth(3).unwrap_or_default().to_owned();
            records = records.iter().map(kind).collect();
        }
        records.sort();
        heard.insert(name, records.join("\n"));
    }
    heard
}

/// A record without its clock and with the agent's ports named.
fn normal(record: &[&str], scrub: &Scrub) -> String {
    let mut record: Vec<String> = record.iter().map(|word| (*word).to_owned()).collect();
    if record.get(3).is_some_and(|kind| kind == "SOA") && record.len() > 6 {
        record[6] = "<serial>".into();
    }
    scrub.text(&record.join(" ")).0
}

/// Fills the catalog of an agent with what the questions ask for.
fn register(agent: &Agent) {
    let node = |name: &str, address: &str| json!({ "Node": name, "Address": address });
    let with = |mut row: Value, key: &str, value: Value| {
        row[key] = value;
        row
    };
    let service = |node: &str, address: &str, service: Value| json!({ "Node": node, "Address": address, "SkipNodeUpdate": true, "Service": service });
    let check = |node: &str, id: &str, service: &str, status: &str| json!({ "CheckID": id, "Name": id, "Node": node, "ServiceID": service, "Status": status });
    let mut rows = vec![
        with(
            node("n1", "10.0.0.1"),
            "NodeMeta",
            json!({ "role": "front", "rfc1035-00": "bare text" }),
        ),
        node("n2", "fd00::2"),
        node("n3", "10.0.0.3"),
        node("dotted.name", "10.0.0.4"),
        node("named", "known.example"),
        with(node("n4", "10.0.0.5"), "Check", check("n4", "ping", "", "critical")),
        service(
            "n1",
            "10.0.0.1",
            json!({ "ID": "web-1", "Service": "web", "Port": 80, "Tags": ["v1", "a.b"], "Address": "10.1.1.1" }),
        ),
        service(
            "n2",
            "fd00::2",
            json!({ "ID": "web-2", "Service": "web", "Port": 81, "Tags": ["v2"] }),
        ),
        service(
            "n3",
            "10.0.0.3",
            json!({ "ID": "web-3", "Service": "web", "Port": 82, "Tags": ["V1"] }),
        ),
        service("n1", "10.0.0.1", json!({ "ID": "plain", "Service": "plain", "Port": 90 })),
        service(
            "n2",
            "fd00::2",
            json!({ "ID": "six", "Service": "six", "Port": 91, "Address": "fd00::66" }),
        ),
        service(
            "n1",
            "10.0.0.1",
            json!({ "ID": "weighted", "Service": "weighted", "Port": 92, "Weights": { "Passing": 10, "Warning": 3 } }),
        ),
        service(
            "n3",
            "10.0.0.3",
            json!({ "ID": "weighted", "Service": "weighted", "Port": 93, "Weights": { "Passing": 20, "Warning": 4 } }),
        ),
        json!({ "Node": "n3", "Check": check("n3", "weighted", "weighted", "warning"), "SkipNodeUpdate": true }),
        service("n1", "10.0.0.1", json!({ "ID": "Upper", "Service": "Upper", "Port": 94 })),
        service("n1", "10.0.0.1", json!({ "ID": "under", "Service": "under_score", "Port": 95 })),
        service("n1", "10.0.0.1", json!({ "ID": "dotted", "Service": "dotted.name", "Port": 96 })),
        service("n1", "10.0.0.1", json!({ "ID": "warning", "Service": "warning", "Port": 97 })),
        json!({ "Node": "n1", "Check": check("n1", "warning", "warning", "warning"), "SkipNodeUpdate": true }),
        service("n1", "10.0.0.1", json!({ "ID": "critical", "Service": "critical", "Port": 98 })),
        json!({ "Node": "n1", "Check": check("n1", "critical", "critical", "critical"), "SkipNodeUpdate": true }),
        service("n4", "10.0.0.5", json!({ "ID": "ill", "Service": "ill", "Port": 99 })),
        service("n4", "10.0.0.5", json!({ "ID": "mixed", "Service": "mixed", "Port": 99 })),
        service("n1", "10.0.0.1", json!({ "ID": "mixed", "Service": "mixed", "Port": 100 })),
        service("n3", "10.0.0.3", json!({ "ID": "mixed", "Service": "mixed", "Port": 101 })),
        json!({ "Node": "n3", "Check": check("n3", "mixed", "mixed", "warning"), "SkipNodeUpdate": true }),
        service(
            "n1",
            "10.0.0.1",
            json!({
                "ID": "web-proxy", "Service": "web-proxy", "Kind": "connect-proxy", "Port": 21000,
                "Proxy": { "DestinationServiceName": "web", "DestinationServiceID": "web-1" },
            }),
        ),
        service(
            "n1",
            "10.0.0.1",
            json!({ "ID": "native", "Service": "native", "Port": 102, "Connect": { "Native": true } }),
        ),
        service(
            "named",
            "known.example",
            json!({ "ID": "named", "Service": "named", "Port": 103 }),
        ),
    ];
    for n in 0..WIDE {
        let name = format!("wide-{n}");
        let address = format!("10.2.0.{n}");
        rows.push(node(&name, &address));
        rows.push(service(
            &name,
            &address,
            json!({ "ID": "wide", "Service": "wide", "Port": 1000 + n }),
        ));
    }
    rows.push(service(
        "n1",
        "10.0.0.1",
        json!({ "ID": "last", "Service": "last", "Address": "10.9.9.9" }),
    ));
    for row in rows {
        let answer = agent.http().put("/v1/catalog/register", row.to_string());
        let answer = answer.expect("the agent answers");
        assert_eq!(answer.status, 200, "{row} is not registered: {answer}");
    }
}

/// A name server for names outside, over UDP and TCP; goes on until the tests end, as nothing but the process holds its
/// threads.
struct Recursor {
    port: u16,
}

/// Response codes of RFC 1035.
const NAME_ERROR: u8 = 3;
const REFUSED: u8 = 5;
/// Texts of this length in the large answer, and how many: together more than 512 bytes and less than 4096.
const LARGE: (usize, usize) = (200, 8);
/// Bytes of a UDP answer to a client that names no size (RFC 1035).
const UDP_BYTES_MAX: usize = 512;

impl Recursor {
    fn start() -> Recursor {
        let port = free_port();
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("the port was free");
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port was free");
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                if let Some(answer) = Recursor::answer(&buffer[..length], true) {
                    // A client that is gone needs no answer.
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                thread::spawn(move || -> Option<()> {
                    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
                    let mut length = [0; 2];
                    stream.read_exact(&mut length).ok()?;
                    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut question).ok()?;
                    let answer = Recursor::answer(&question, false)?;
                    stream.write_all(&(answer.len() as u16).to_be_bytes()).ok()?;
                    stream.write_all(&answer).ok()
                });
            }
        });
        Recursor { port }
    }

    /// Answers `known.example` and `large.example`, refuses `refused.example`, and knows nothing else.
    fn answer(message: &[u8], is_udp: bool) -> Option<Vec<u8>> {
        let (header, rest) = message.split_at_checked(12)?;
        let name_end = rest.iter().position(|byte| *byte == 0)? + 1;
        let question = rest.get(..name_end + 4)?;
        let name = String::from_utf8_lossy(&question[1..name_end - 1]).to_lowercase();
        let kind = u16::from_be_bytes([question[name_end], question[name_end + 1]]);
        let record = |kind: u16, data: &[u8]| {
            // The name as a pointer to the question, class IN, a minute to live.
            let mut record = vec![0xc0, 12];
            record.extend(kind.to_be_bytes());
            record.extend([0, 1, 0, 0, 0, 60]);
            record.extend((data.len() as u16).to_be_bytes());
            record.extend(data);
            record
        };
        let text = [&[LARGE.0 as u8][..], &[b'x'; LARGE.0]].concat();
        let (code, mut records) = match (name.as_str(), kind) {
            ("known\x07example", 1) => (0, vec![record(1, &[192, 0, 2, 53])]),
            ("known\x07example", _) => (0, Vec::new()),
            ("large\x07example", 16) => (0, vec![record(16, &text); LARGE.1]),
            ("refused\x07example", _) => (REFUSED, Vec::new()),
            _ => (NAME_ERROR, Vec::new()),
        };
        let has_edns = header[10..12] != [0, 0];
        let bytes: usize = records.iter().map(Vec::len).sum();
        let is_cut = is_udp && !has_edns && bytes > UDP_BYTES_MAX;
        if is_cut {
            records.clear();
        }
        let mut answer = header[..2].to_vec();
        // A response to a standard query, recursion desired as asked and available.
        answer.extend([0x80 | (header[2] & 1) | (u8::from(is_cut) << 1), 0x80 | code]);
        answer.extend([0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
        answer.extend(question);
        answer.extend(records.concat());
        Some(answer)
    }
}
