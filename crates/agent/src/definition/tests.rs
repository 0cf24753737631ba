//! From definitions to what is registered and run.

use model::definition::ServiceDefinition;

use super::*;

fn service(address: &str) -> NodeService {
    let definition = ServiceDefinition {
        name: "web".into(),
        id: "web1".into(),
        address: address.into(),
        port: 80,
        tags: vec!["t".into()],
        ..ServiceDefinition::default()
    };
    definition.node_service()
}

fn ttl(id: &str) -> CheckDefinition {
    CheckDefinition { id: id.into(), ttl: GoDuration::from_secs(10), ..CheckDefinition::default() }
}

#[test]
fn ids_and_names_of_a_services_checks() {
    let check = |written: &[&str], ids: &[&str]| {
        let definitions: Vec<_> = written.iter().map(|id| ttl(id)).collect();
        let settings = CheckSettings::default();
        let planned = plan_checks(&definitions, &service(""), &settings, Source::Api).unwrap();
        let got: Vec<_> = planned.iter().map(|planned| planned.check.check_id.as_str()).collect();
        assert_eq!(got, ids);
        for planned in &planned {
            assert_eq!(planned.check.name, "Service 'web' check");
            assert_eq!(planned.check.service_id, "web1");
            assert_eq!(planned.check.service_tags, ["t"]);
            assert_eq!(planned.check.kind, "ttl");
        }
    };
    check(&[""], &["service:web1"]);
    check(&["own"], &["own"]);
    check(&["", ""], &["service:web1:1", "service:web1:2"]);
    check(&["own", ""], &["own", "service:web1:2"]);
}

#[test]
fn addresses_are_tagged_by_family() {
    let check = |address: &str, want: &[&str]| {
        let mut service = service(address);
        complete(&mut service);
        let names: Vec<_> = service.tagged_addresses.keys().map(String::as_str).collect();
        assert_eq!(names, want, "{address}");
    };
    check("", &[]);
    check("10.0.0.1", &["lan_ipv4", "wan_ipv4"]);
    check("2001:db8::1", &["lan_ipv6", "wan_ipv6"]);
    check("web.example", &[]);
}

#[test]
fn what_a_check_does() {
    let check = |definition: CheckDefinition, interval: u64, timeout: u64| {
        let settings = CheckSettings {
            scripts_from_api: true,
            scripts_from_files: true,
            ..CheckSettings::default()
        };
        let planned =
            plan_check(&definition, "c".into(), "c".into(), &settings, Source::Api).unwrap();
        let Work::Probe { interval: got, timeout: limit, .. } = planned.work else {
            panic!("no probe: {:?}", planned.work);
        };
        assert_eq!((got.as_secs(), limit.as_secs()), (interval, timeout), "{definition:?}");
    };
    let http = |seconds| CheckDefinition {
        http: "http://x".into(),
        interval: GoDuration::from_secs(seconds),
        ..CheckDefinition::default()
    };
    check(http(5), 5, 5);
    check(http(60), 60, 10);
    check(CheckDefinition { timeout: GoDuration::from_secs(20), ..http(60) }, 60, 20);
    check(CheckDefinition { interval: GoDuration::from_millis(1), ..http(1) }, 1, 1);
    let script = CheckDefinition { script_args: vec!["x".into()], http: String::new(), ..http(60) };
    check(script, 60, 30);
}

#[test]
fn scripts_need_permission() {
    let script = CheckDefinition {
        script_args: vec!["true".into()],
        interval: GoDuration::from_secs(1),
        ..CheckDefinition::default()
    };
    let check = |from_files, from_api, source, allowed: bool| {
        let settings = CheckSettings {
            scripts_from_files: from_files,
            scripts_from_api: from_api,
            ..CheckSettings::default()
        };
        let planned = plan_check(&script, "c".into(), "c".into(), &settings, source);
        assert_eq!(planned.is_ok(), allowed, "{from_files} {from_api} {source:?}");
    };
    check(false, false, Source::Api, false);
    check(true, false, Source::Api, false);
    check(true, false, Source::File, true);
    check(true, true, Source::Api, true);
}

#[test]
fn limits_of_a_check() {
    let plan = |definition: CheckDefinition| {
        let settings = CheckSettings::default();
        plan_check(&definition, "c".into(), "c".into(), &settings, Source::Api).unwrap()
    };
    let after = |seconds| CheckDefinition {
        deregister_critical_service_after: GoDuration::from_secs(seconds),
        ..ttl("")
    };
    assert_eq!(plan(ttl("")).reap_after, None);
    assert_eq!(plan(after(1)).reap_after, Some(Duration::from_secs(60)));
    assert_eq!(plan(after(90)).reap_after, Some(Duration::from_secs(90)));
    let output = |bytes| CheckDefinition { output_max_size: bytes, ..ttl("") };
    assert_eq!(plan(output(0)).output_bytes_max, 4096);
    assert_eq!(plan(output(10)).output_bytes_max, 10);
    assert_eq!(plan(output(100_000)).output_bytes_max, 4096);
}
