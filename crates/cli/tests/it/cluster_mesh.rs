//! Services on four hosts, each with a proxy beside an agent, ours and real ones in every combination, over our servers.

use std::path::PathBuf;

use serde_json::json;
use testkit::background::Background;
use testkit::cluster::{Cluster, NodeSpec};
use testkit::process::consul;
use testkit::request::Client;
use testkit::toy::{Application, exchange, offer};
use testkit::wait;

use crate::cluster::steps::{PATIENCE, await_ready, await_voters, ours, put};

/// Where each proxy listens for others.
const PUBLIC: u16 = 21000;
/// Where a proxy's own application finds the others: counted up from here by their place.
const UPSTREAM: u16 = 9100;
const FIRST_CLIENT: usize = 3;

/// A service, its agent and its proxy, on one host.
struct Place {
    name: &'static str,
    has_our_agent: bool,
    has_our_proxy: bool,
}

const PLACES: [Place; 4] = [
    Place { name: "a", has_our_agent: true, has_our_proxy: true },
    Place { name: "b", has_our_agent: true, has_our_proxy: false },
    Place { name: "c", has_our_agent: false, has_our_proxy: true },
    Place { name: "d", has_our_agent: false, has_our_proxy: false },
];

fn program(is_ours: bool) -> PathBuf {
    if is_ours { ours().into() } else { consul() }
}

/// Everybody speaks to the next and to the one after.
fn edges() -> impl Iterator<Item = (usize, usize)> {
    (0..PLACES.len()).flat_map(|from| [1, 2].map(|step| (from, (from + step) % PLACES.len())))
}

fn upstream(to: usize) -> u16 {
    UPSTREAM + to as u16
}

/// The services in a cluster. Fields are dropped in their order: proxies before their agents.
struct Mesh {
    proxies: Vec<Background>,
    applications: Vec<Application>,
    cluster: Cluster,
}

impl Mesh {
    fn start() -> Mesh {
        let mut specs = vec![NodeSpec::server(ours(), 3); 3];
        specs.extend(PLACES.iter().map(|place| NodeSpec::client(program(place.has_our_agent))));
        let cluster = Cluster::start(specs);
        await_voters(&cluster, 0, 3);
        let mut mesh = Mesh { proxies: Vec::new(), applications: Vec::new(), cluster };
        for place in 0..PLACES.len() {
            mesh.settle(place);
        }
        mesh
    }

    fn settle(&mut self, place: usize) {
        let (host, Place { name, has_our_proxy, .. }) = (FIRST_CLIENT + place, &PLACES[place]);
        await_ready(&self.cluster, host);
        let application = self.cluster.network.on(host, Application::start);
        let upstreams: Vec<_> = edges()
            .filter(|(from, _)| *from == place)
            .map(|(_, to)| json!({ "DestinationName": PLACES[to].name, "LocalBindPort": upstream(to) }))
            .collect();
        let check =
            json!({ "Name": "listening", "TCP": format!("127.0.0.1:{PUBLIC}"), "Interval": "1s" });
        let sidecar =
            json!({ "Port": PUBLIC, "Checks": [check], "Proxy": { "Upstreams": upstreams } });
        let definition = json!({
            "Name": name, "Port": application.port, "Connect": { "SidecarService": sidecar },
        });
        let http = self.cluster.http(host);
        self.cluster.inside(|| put(http, "/v1/agent/service/register", &definition));
        let log = self.cluster.dir(host).join("proxy.log");
        let args = ["connect", "proxy", "-sidecar-for", name, "-log-level=debug"];
        let program = program(*has_our_proxy);
        let proxy = self.cluster.network.on(host, || Background::start(&program, &args, log));
        self.proxies.push(proxy);
        self.applications.push(application);
    }

    /// Whether a new connection carries bytes there and back.
    fn carries(&self, (from, to): (usize, usize)) -> bool {
        let word = b"are you there?";
        self.cluster.network.on(FIRST_CLIENT + from, || exchange(upstream(to), word).is_ok())
    }

    fn until_carried(&self, edge: (usize, usize), when: &str) {
        let what = format!("{} reaches {} {when}", PLACES[edge.0].name, PLACES[edge.1].name);
        if wait::poll(PATIENCE, || self.carries(edge).then_some(())).is_none() {
            panic!("waited in vain: {what}\n{}\n{}", self.log(edge.0), self.log(edge.1));
        }
    }

    /// Waits until a new connection ends without an answer, and sees that nothing arrives from then on.
    fn until_refused(&self, (from, to): (usize, usize), when: &str) {
        let refused = || {
            let offered = || offer(upstream(to), b"may not arrive");
            let back = self.cluster.network.on(FIRST_CLIENT + from, offered);
            back.is_ok_and(|bytes| bytes == 0).then_some(())
        };
        let what = format!("{} is refused by {} {when}", PLACES[from].name, PLACES[to].name);
        wait::until(&what, PATIENCE, refused);
        let before = self.applications[to].seen();
        assert!(refused().is_some(), "{what}");
        assert_eq!(self.applications[to].seen(), before, "{what}, but bytes arrive");
    }

    fn intend(&self, (from, to): (usize, usize), action: &str) {
        let (source, destination) = (PLACES[from].name, PLACES[to].name);
        let path =
            format!("/v1/connect/intentions/exact?source={source}&destination={destination}");
        let http = self.cluster.http(0);
        self.cluster.inside(|| put(http, &path, &json!({ "Action": action })));
    }

    fn log(&self, place: usize) -> String {
        let log = self.proxies[place].log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

#[test]
fn proxies_on_different_hosts() {
    let mut mesh = Mesh::start();
    for edge in edges() {
        mesh.until_carried(edge, "at first");
    }
    // Who speaks no TLS gets nothing and reaches nobody.
    for (number, (place, application)) in PLACES.iter().zip(&mesh.applications).enumerate() {
        let before = application.seen();
        let address = (mesh.cluster.network.address(FIRST_CLIENT + number), PUBLIC).into();
        let http = Client::new(address);
        assert!(mesh.cluster.inside(|| http.get("/")).is_err(), "{}", place.name);
        assert_eq!(application.seen(), before);
    }

    for edge in edges() {
        mesh.intend(edge, "deny");
        mesh.until_refused(edge, "by an intention");
    }
    let is_denied = |(from, to): (usize, usize)| to == (from + 1) % PLACES.len();
    for edge in edges().filter(|edge| !is_denied(*edge)) {
        mesh.intend(edge, "allow");
        mesh.until_carried(edge, "again");
    }

    for server in 0..FIRST_CLIENT {
        mesh.cluster.kill(server);
    }
    for edge in edges() {
        let (from, to) = (&PLACES[edge.0], &PLACES[edge.1]);
        // Real agents and proxies ask the servers.
        let is_ours = from.has_our_proxy && (to.has_our_agent || to.has_our_proxy);
        if !is_ours {
            continue;
        }
        match is_denied(edge) {
            true => mesh.until_refused(edge, "without servers"),
            false => {
                for _ in 0..5 {
                    assert!(
                        mesh.carries(edge),
                        "{} to {}\n{}",
                        from.name,
                        to.name,
                        mesh.log(edge.0)
                    );
                }
            }
        }
    }
    for server in 0..FIRST_CLIENT {
        mesh.cluster.launch(server);
    }
    for edge in edges() {
        match is_denied(edge) {
            true => mesh.until_refused(edge, "in the end"),
            false => mesh.until_carried(edge, "in the end"),
        }
    }
}
