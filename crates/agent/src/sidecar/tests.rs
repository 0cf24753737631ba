//! What a sidecar gets from its parent, and which port.

use std::sync::Arc;

use model::definition::ConnectDefinition;

use super::*;

fn parent(sidecar: ServiceDefinition) -> ServiceDefinition {
    ServiceDefinition {
        name: "web".into(),
        id: "web1".into(),
        port: 8080,
        tags: vec!["t".into()],
        meta: Some([("m".to_owned(), "1".to_owned())].into()),
        connect: Some(ConnectDefinition {
            native: false,
            sidecar_service: Some(Box::new(sidecar)),
        }),
        ..ServiceDefinition::default()
    }
}

fn with_port(state: &mut LocalState, id: &str, port: u16) {
    let service = Arc::new(NodeService { id: id.into(), port, ..NodeService::default() });
    state.put_service(Arc::clone(&service), service, Token::default(), Source::Api, false);
}

fn plan_in(state: &LocalState, definition: &ServiceDefinition) -> Result<Sidecar, Error> {
    let settings = AgentSettings::default();
    plan(definition, state, &settings, Source::Api)
        .map(|sidecar| sidecar.expect("the definition has one"))
}

#[test]
fn everything_follows_from_the_parent() {
    let sidecar = plan_in(&LocalState::default(), &parent(ServiceDefinition::default())).unwrap();
    let service = &sidecar.service;
    assert_eq!(service.kind, ServiceKind::ConnectProxy);
    assert_eq!(
        (service.id.as_str(), service.name.as_str()),
        ("web1-sidecar-proxy", "web-sidecar-proxy")
    );
    assert_eq!((service.port, service.address.as_str()), (21000, ""));
    assert_eq!(service.tags, ["t"]);
    assert_eq!(service.meta.as_ref().unwrap()["m"], "1");
    let proxy = &service.proxy;
    assert_eq!(proxy.destination_service_name, "web");
    assert_eq!(proxy.destination_service_id, "web1");
    assert_eq!(
        (proxy.local_service_address.as_str(), proxy.local_service_port),
        ("127.0.0.1", 8080)
    );

    let shown: Vec<_> = sidecar
        .checks
        .iter()
        .map(|planned| (planned.check.check_id.as_str(), planned.check.name.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("service:web1-sidecar-proxy:1", "Connect Sidecar Listening"),
            ("service:web1-sidecar-proxy:2", "Connect Sidecar Aliasing web1"),
        ]
    );
    let alias = definition::Work::Alias { node: String::new(), service: "web1".into() };
    assert_eq!(sidecar.checks[1].work, alias);
}

#[test]
fn what_it_says_itself_stays() {
    let own = ServiceDefinition {
        name: "own".into(),
        port: 9999,
        tags: vec!["z".into()],
        address: "1.2.3.4".into(),
        checks: vec![CheckDefinition {
            ttl: GoDuration::from_secs(10),
            ..CheckDefinition::default()
        }],
        ..ServiceDefinition::default()
    };
    let sidecar = plan_in(&LocalState::default(), &parent(own)).unwrap();
    assert_eq!(sidecar.service.id, "web1-sidecar-proxy");
    assert_eq!((sidecar.service.name.as_str(), sidecar.service.port), ("own", 9999));
    assert_eq!(sidecar.service.tags, ["z"]);
    assert!(sidecar.service.tagged_addresses.contains_key("lan_ipv4"));
    assert_eq!(sidecar.checks.len(), 1);
    assert_eq!(sidecar.checks[0].check.check_id, "service:web1-sidecar-proxy");
}

#[test]
fn ports_are_given_out_once() {
    let mut state = LocalState::default();
    let range = 21000..=21002;
    let check = |state: &LocalState, id: &str, want: Option<u16>| {
        assert_eq!(free_port(id, state, &range).ok(), want, "{id}");
    };
    check(&state, "a", Some(21000));
    with_port(&mut state, "x", 21000);
    check(&state, "a", Some(21001));
    // A registration again keeps its port.
    check(&state, "x", Some(21000));
    with_port(&mut state, "y", 21002);
    check(&state, "a", Some(21001));
    with_port(&mut state, "z", 21001);
    check(&state, "a", None);
    check(&state, "z", Some(21001));
    // A port of its own outside the range is not kept for the range.
    with_port(&mut state, "o", 9999);
    check(&state, "o", None);
}

#[test]
fn without_ports_the_error_says_why() {
    let check = |range: RangeInclusive<u16>, want: &str| {
        let error = free_port("a", &LocalState::default(), &range).unwrap_err().to_string();
        assert!(error.ends_with(want), "{error}");
    };
    check(0..=0, "auto-assignment disabled in config");
    #[allow(clippy::reversed_empty_ranges)]
    check(21001..=21000, "auto-assignment disabled in config");
    let mut state = LocalState::default();
    with_port(&mut state, "x", 21000);
    let error = free_port("a", &state, &(21000..=21000)).unwrap_err().to_string();
    assert!(error.ends_with("none left in the configured range [21000, 21000]"), "{error}");
}
