//! Answers to questions against a small fake catalog, read back by an independent reader.

use std::collections::BTreeMap;

use hickory_proto::op::Message;
use hickory_proto::serialize::binary::BinDecodable;
use model::ca::{CaConfiguration, IssuedCert};
use model::catalog::NodeServices;
use model::check::{CheckStatus, HealthCheck};
use model::command::{Command, Outcome};
use model::error::Error;
use model::health::CheckServiceNode;
use model::query::{QueryMeta, Token};
use model::service::{NodeService, Weights};
use model::session::Session;
use rpc::{Answer, Pending, Status};

use super::*;

/// A catalog of fixed rows.
struct Fake(Vec<CheckServiceNode>);

impl Cluster for Fake {
    fn query(&self, query: Query, options: QueryOptions) -> Pending<'_, Answer> {
        let answer = self.query_now(&query, &options);
        Box::pin(async move { answer.unwrap() })
    }

    fn query_now(&self, query: &Query, _: &QueryOptions) -> Option<Result<Answer, Error>> {
        let reply = match query {
            Query::Health { name, tags, mesh, .. } => Reply::Health(
                self.0
                    .iter()
                    .filter(|row| match mesh {
                        true => row.service.mesh_name() == Some(name.as_str()),
                        false => row.service.name == *name,
                    })
                    .filter(|row| tags.iter().all(|tag| row.service.tags.contains(tag)))
                    .cloned()
                    .collect(),
            ),
            Query::NodeServices { node } => {
                Reply::NodeServices(self.0.iter().find(|row| row.node.name == *node).map(|row| {
                    NodeServices { node: Some(row.node.clone()), services: BTreeMap::new() }
                }))
            }
            Query::Nodes { .. } => {
                Reply::Nodes(self.0.iter().map(|row| row.node.clone()).collect())
            }
            Query::Services { .. } => Reply::Services(
                self.0.iter().map(|row| (row.service.name.clone(), Vec::new())).collect(),
            ),
            _ => return Some(Err(Error::invalid("not asked by DNS"))),
        };
        Some(Ok(Answer { meta: QueryMeta::default(), body: Body::new(reply) }))
    }

    fn command(&self, _: Command, _: Token) -> Pending<'_, Outcome> {
        unreachable!("DNS changes nothing")
    }
    fn renew_session(&self, _: String, _: Token) -> Pending<'_, Option<Arc<Session>>> {
        unreachable!("DNS changes nothing")
    }
    fn sign_leaf(&self, _: String, _: Token) -> Pending<'_, IssuedCert> {
        unreachable!("DNS signs nothing")
    }
    fn configure_ca(&self, _: CaConfiguration, _: Token) -> Pending<'_, ()> {
        unreachable!("DNS changes nothing")
    }
    fn status(&self) -> Status {
        Status::default()
    }
}

fn row(node: &str, address: &str, service: NodeService, status: CheckStatus) -> CheckServiceNode {
    CheckServiceNode {
        node: Arc::new(Node {
            name: node.to_owned(),
            address: address.to_owned(),
            meta: Some(BTreeMap::from([("k".to_owned(), "v".to_owned())])),
            ..Node::default()
        }),
        service: Arc::new(service),
        checks: vec![Arc::new(HealthCheck { status, ..HealthCheck::default() })],
    }
}

fn service(name: &str, port: u16) -> NodeService {
    NodeService { id: name.to_owned(), name: name.to_owned(), port, ..NodeService::default() }
}

fn catalog() -> Vec<CheckServiceNode> {
    let own_address = NodeService { address: "10.1.0.3".to_owned(), ..service("web", 81) };
    let tagged = NodeService {
        tags: vec!["v1".to_owned()],
        weights: Weights { passing: 5, warning: 2 },
        ..service("db", 5432)
    };
    let mut proxy = service("web-sidecar-proxy", 21000);
    proxy.kind = model::service::ServiceKind::ConnectProxy;
    proxy.proxy.destination_service_name = "web".to_owned();
    vec![
        row("n1", "10.0.0.1", service("web", 80), CheckStatus::Passing),
        row("n2", "10.0.0.2", own_address, CheckStatus::Passing),
        row("n3", "10.0.0.3", service("web", 80), CheckStatus::Critical),
        row("n1", "10.0.0.1", tagged, CheckStatus::Warning),
        row("n6", "fd00::6", service("six", 6), CheckStatus::Passing),
        row("ext", "www.example.com", service("ext", 443), CheckStatus::Passing),
        row("n1", "10.0.0.1", proxy, CheckStatus::Passing),
        row("n1", "10.0.0.1", service("consul", 8300), CheckStatus::Passing),
        row("n3", "10.0.0.3", service("down", 1), CheckStatus::Critical),
    ]
}

fn packet(name: &str, qtype: u16, edns: Option<u16>) -> Vec<u8> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    packet.extend(message::labels(name).unwrap());
    packet.push(0);
    packet.extend(qtype.to_be_bytes());
    packet.extend([0, 1]);
    if let Some(bytes) = edns {
        packet.extend([0, 0, 41]);
        packet.extend(bytes.to_be_bytes());
        packet.extend([0; 6]);
    }
    packet
}

fn responder(rows: Vec<CheckServiceNode>, settings: Settings) -> Responder {
    Responder::new(Arc::new(Fake(rows)), Arc::new(ArcSwap::from_pointee(settings)))
}

/// Code and sorted records of each section, the SOA's serial left out.
fn shown(out: &[u8]) -> String {
    let message = Message::from_bytes(out).unwrap();
    let mut text = message.metadata.response_code.to_string();
    for (title, records) in
        [("an", &message.answers), ("au", &message.authorities), ("ad", &message.additionals)]
    {
        let mut lines: Vec<String> = records
            .iter()
            .map(|record| {
                let record = record.to_string();
                match record.split_once(" IN SOA ") {
                    Some((owner, _)) => format!("{owner} IN SOA"),
                    None => record,
                }
            })
            .collect();
        lines.sort();
        for line in lines {
            text.push_str(&format!("\n{title} {line}"));
        }
    }
    text
}

#[test]
fn answers_of_every_form() {
    let mut responder = responder(catalog(), Settings::default());
    let mut check = |name: &str, qtype: u16, want: &[&str]| {
        let mut out = Vec::new();
        for round in ["first", "prepared"] {
            let verdict = responder.respond(
                &packet(name, qtype, None),
                Transport::Udp,
                &Supplied::default(),
                &mut out,
            );
            assert_eq!(verdict, Verdict::Ready, "{name}");
            assert_eq!(shown(&out), want.join("\n"), "{name} {round}");
        }
    };
    let soa = "au consul. 0 IN SOA";
    check(
        "web.service.consul",
        TYPE_A,
        &[
            "No Error",
            "an web.service.consul. 0 IN A 10.0.0.1",
            "an web.service.consul. 0 IN A 10.1.0.3",
        ],
    );
    check(
        "Web.Service.DC1.Consul",
        TYPE_SRV,
        &[
            "No Error",
            "an Web.Service.DC1.Consul. 0 IN SRV 1 1 80 n1.node.dc1.Consul.",
            "an Web.Service.DC1.Consul. 0 IN SRV 1 1 81 0a010003.addr.dc1.Consul.",
            "ad 0a010003.addr.dc1.Consul. 0 IN A 10.1.0.3",
            "ad n1.node.dc1.Consul. 0 IN A 10.0.0.1",
            "ad n1.node.dc1.Consul. 0 IN TXT k=v",
            "ad n2.node.dc1.Consul. 0 IN TXT k=v",
        ],
    );
    check(
        "v1.db.service.consul",
        TYPE_SRV,
        &[
            "No Error",
            "an v1.db.service.consul. 0 IN SRV 1 2 5432 n1.node.dc1.consul.",
            "ad n1.node.dc1.consul. 0 IN A 10.0.0.1",
            "ad n1.node.dc1.consul. 0 IN TXT k=v",
        ],
    );
    check("web.service.consul", TYPE_AAAA, &["No Error", soa]);
    check(
        "six.service.consul",
        TYPE_AAAA,
        &["No Error", "an six.service.consul. 0 IN AAAA fd00::6"],
    );
    check("down.service.consul", TYPE_A, &["Non-Existent Domain", soa]);
    check("nope.service.consul", TYPE_A, &["Non-Existent Domain", soa]);
    check("v2.db.service.consul", TYPE_A, &["Non-Existent Domain", soa]);
    check("web.connect.consul", TYPE_A, &["No Error", "an web.connect.consul. 0 IN A 10.0.0.1"]);
    check(
        "ext.service.consul",
        TYPE_A,
        &["No Error", "an ext.service.consul. 0 IN CNAME www.example.com."],
    );
    check(
        "n1.node.consul",
        TYPE_A,
        &["No Error", "an n1.node.consul. 0 IN A 10.0.0.1", "ad n1.node.consul. 0 IN TXT k=v"],
    );
    check("n1.node.consul", TYPE_TXT, &["No Error", "an n1.node.consul. 0 IN TXT k=v"]);
    check("n9.node.consul", TYPE_A, &["Non-Existent Domain", soa]);
    check(
        "0a000001.addr.dc1.consul",
        TYPE_A,
        &["No Error", "an 0a000001.addr.dc1.consul. 0 IN A 10.0.0.1"],
    );
    check("0a000001.addr.dc1.consul", TYPE_AAAA, &["No Error", soa]);
    check(
        "1.0.0.10.in-addr.arpa",
        TYPE_PTR,
        &["No Error", "an 1.0.0.10.in-addr.arpa. 0 IN PTR n1.node.dc1.consul."],
    );
    check(
        "3.0.1.10.in-addr.arpa",
        TYPE_PTR,
        &["No Error", "an 3.0.1.10.in-addr.arpa. 0 IN PTR web.service.dc1.consul."],
    );
    check(
        "consul",
        TYPE_NS,
        &[
            "No Error",
            "an consul. 0 IN NS n1.node.dc1.consul.",
            "ad n1.node.dc1.consul. 0 IN A 10.0.0.1",
        ],
    );
    check("www.example.com", TYPE_A, &["Query Refused"]);
}

#[test]
fn wide_services_are_cut_to_what_fits() {
    let rows: Vec<_> = (0..1000u32)
        .map(|nth| {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + nth).to_string();
            row(&format!("n{nth}"), &address, service("wide", 80), CheckStatus::Passing)
        })
        .collect();
    let settings = Settings { enable_truncate: true, ..Settings::default() };
    let mut responder = responder(rows, settings);
    let mut check = |qtype, transport, edns, at_least: usize, bytes_max: usize| {
        let mut out = Vec::new();
        let packet = packet("wide.service.consul", qtype, edns);
        responder.respond(&packet, transport, &Supplied::default(), &mut out);
        let message = Message::from_bytes(&out).unwrap();
        let distinct: BTreeMap<String, ()> =
            message.answers.iter().map(|record| (record.to_string(), ())).collect();
        assert_eq!(distinct.len(), message.answers.len(), "no record twice");
        assert!(distinct.len() >= at_least, "{} records", distinct.len());
        assert!(out.len() <= bytes_max, "{} bytes", out.len());
        assert_eq!(message.metadata.truncation, distinct.len() < 1000);
    };
    check(TYPE_A, Transport::Udp, None, 3, 512);
    check(TYPE_SRV, Transport::Udp, None, 3, 512);
    check(TYPE_A, Transport::Udp, Some(1232), 70, 1232);
    check(TYPE_SRV, Transport::Udp, Some(1232), 20, 1232);
    check(TYPE_A, Transport::Udp, Some(65535), 250, 4096);
    check(TYPE_A, Transport::Tcp, None, 1000, 65535);
    check(TYPE_SRV, Transport::Tcp, None, 1000, 65535);
}

#[test]
fn every_instance_gets_its_turn() {
    let rows: Vec<_> = (0..100u32)
        .map(|nth| {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + nth).to_string();
            row(&format!("n{nth}"), &address, service("wide", 80), CheckStatus::Passing)
        })
        .collect();
    let mut responder = responder(rows, Settings::default());
    let mut seen = BTreeMap::new();
    let mut out = Vec::new();
    for _ in 0..2000 {
        let packet = packet("wide.service.consul", TYPE_A, None);
        responder.respond(&packet, Transport::Udp, &Supplied::default(), &mut out);
        for record in &Message::from_bytes(&out).unwrap().answers {
            *seen.entry(record.to_string()).or_insert(0) += 1;
        }
    }
    // 6,000 draws over 100 instances: that one of them is missing has a chance below 1e-25.
    assert_eq!(seen.len(), 100);
}

#[test]
fn settings_take_effect_at_once() {
    let settings = Arc::new(ArcSwap::from_pointee(Settings::default()));
    let mut responder = Responder::new(Arc::new(Fake(catalog())), settings.clone());
    let mut out = Vec::new();
    let mut ask = |responder: &mut Responder| {
        let packet = packet("db.service.consul", TYPE_A, None);
        responder.respond(&packet, Transport::Udp, &Supplied::default(), &mut out);
        shown(&out)
    };
    assert!(ask(&mut responder).contains("0 IN A 10.0.0.1"));
    settings.store(Arc::new(Settings {
        service_ttl: crate::ServiceTtl::new([("db".to_owned(), 9)]),
        ..Settings::default()
    }));
    assert!(ask(&mut responder).contains("9 IN A 10.0.0.1"));
    settings.store(Arc::new(Settings { only_passing: true, ..Settings::default() }));
    assert!(ask(&mut responder).contains("Non-Existent Domain"));
}

proptest::proptest! {
    #[test]
    fn no_packet_panics(packet in proptest::collection::vec(0u8.., 0..300)) {
        let mut out = Vec::new();
        let mut responder = responder(catalog(), Settings::default());
        responder.respond(&packet, Transport::Udp, &Supplied::default(), &mut out);
    }
}
