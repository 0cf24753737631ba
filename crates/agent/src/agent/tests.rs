//! The agent as a whole over a fake cluster.

use std::path::Path;
use std::time::Duration;

use model::catalog::RegisterRequest;
use model::check::{CheckStatus, HealthCheck};
use model::command::Command;
use model::config_entry::{ConfigEntry, ServiceDefaults};
use model::definition::{CheckDefinition, ConnectDefinition, ServiceDefinition};
use model::duration::GoDuration;
use model::error::Error as ClusterError;
use model::service::{ConnectProxyConfig, NodeService, ServiceKind};

use super::*;
use crate::local::Source;
use crate::testing::FakeCluster;

const NODE: &str = "node1";

struct Running {
    agent: Arc<Agent>,
    cluster: Arc<FakeCluster>,
    alone: Arc<crate::Alone>,
    life: Life,
}

impl Running {
    async fn start(settings: AgentSettings, cluster: &Arc<FakeCluster>) -> Self {
        let life = Life { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let as_cluster: Arc<dyn Cluster> = Arc::clone(cluster) as _;
        let alone = crate::Alone::new(&settings);
        let pool = Arc::clone(&alone);
        let agent = Agent::start(settings, as_cluster, pool, life.clone()).await.unwrap();
        Self { agent, cluster: Arc::clone(cluster), alone, life }
    }

    async fn plain() -> Self {
        Self::start(AgentSettings::default(), &FakeCluster::new()).await
    }

    async fn register(&self, definition: ServiceDefinition) {
        let token = Token::default();
        self.agent.register_service(definition, Source::Api, token, false).await.unwrap();
    }

    /// Ends all tasks; hangs if one does not.
    async fn stop(self) {
        self.life.stop.cancel();
        self.life.tasks.close();
        self.life.tasks.wait().await;
    }
}

fn service(name: &str, port: u16) -> ServiceDefinition {
    ServiceDefinition { name: name.into(), port, ..ServiceDefinition::default() }
}

fn with_ttl(mut definition: ServiceDefinition) -> ServiceDefinition {
    let ttl = GoDuration::from_secs(10);
    definition.checks = vec![CheckDefinition { ttl, ..CheckDefinition::default() }];
    definition
}

fn with_sidecar(mut definition: ServiceDefinition) -> ServiceDefinition {
    definition.connect = Some(ConnectDefinition {
        native: false,
        sidecar_service: Some(Box::new(ServiceDefinition::default())),
    });
    definition
}

fn in_dir(dir: &Path) -> AgentSettings {
    AgentSettings { data_dir: Some(dir.to_owned()), ..AgentSettings::default() }
}

#[tokio::test(start_paused = true)]
async fn a_service_reaches_the_catalog_with_checks_and_sidecar_and_leaves_it() {
    let running = Running::plain().await;
    let Running { agent, cluster, .. } = &running;
    running.register(with_sidecar(with_ttl(service("web", 80)))).await;
    cluster.until(|cluster| cluster.service(NODE, "web-sidecar-proxy").is_some()).await;
    let proxy = cluster.service(NODE, "web-sidecar-proxy").unwrap();
    assert_eq!(proxy.proxy.destination_service_name, "web");
    assert_eq!(cluster.node(NODE).unwrap().id, agent.settings().node.id);
    let status = |cluster: &FakeCluster, id: &str| Some(cluster.check(NODE, id)?.status);
    assert_eq!(status(cluster, "service:web"), Some(CheckStatus::Critical));

    agent.update_ttl_check("service:web", CheckStatus::Passing, "fine").await.unwrap();
    cluster.until(|it| status(it, "service:web") == Some(CheckStatus::Passing)).await;
    let alias = "service:web-sidecar-proxy:2";
    cluster.until(|it| status(it, alias) == Some(CheckStatus::Passing)).await;

    agent.deregister_service("web").await.unwrap();
    cluster.until(|it| it.service(NODE, "web").is_none()).await;
    cluster.until(|it| it.service(NODE, "web-sidecar-proxy").is_none()).await;
    assert!(agent.checks("").unwrap().is_empty());
    assert!(agent.update_ttl_check("service:web", CheckStatus::Passing, "").await.is_err());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_time_to_live_that_runs_out_turns_critical_once_and_keeps_the_last_word() {
    let running = Running::plain().await;
    let Running { agent, cluster, .. } = &running;
    running.register(with_ttl(service("web", 80))).await;
    agent.update_ttl_check("service:web", CheckStatus::Passing, "fine").await.unwrap();
    cluster
        .until(|it| it.check(NODE, "service:web").is_some_and(|c| c.status == CheckStatus::Passing))
        .await;
    cluster
        .until(|it| {
            it.check(NODE, "service:web").is_some_and(|c| c.status == CheckStatus::Critical)
        })
        .await;
    let check = cluster.check(NODE, "service:web").unwrap();
    assert_eq!(check.output, "TTL expired (last output before timeout follows): fine");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let shown = agent.checks("").unwrap();
    assert_eq!(shown["service:web"].output, check.output);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_catalog_is_brought_in_line_again_and_again() {
    let running = Running::plain().await;
    let Running { cluster, .. } = &running;
    running.register(service("web", 80)).await;
    cluster.until(|it| it.service(NODE, "web").is_some()).await;

    // Somebody edits, adds and the servers' own stays.
    let foreign = |id: &str, port| RegisterRequest {
        node: NODE.into(),
        service: Some(NodeService {
            id: id.into(),
            name: id.into(),
            port,
            ..NodeService::default()
        }),
        check: Some(HealthCheck {
            node: NODE.into(),
            check_id: format!("check-{id}"),
            service_id: id.into(),
            ..HealthCheck::default()
        }),
        skip_node_update: true,
        ..RegisterRequest::default()
    };
    cluster.register(foreign("web", 81));
    cluster.register(foreign("stray", 1));
    cluster.register(foreign("consul", 8300));
    cluster.until(|it| it.service(NODE, "web").is_some_and(|row| row.port == 80)).await;
    cluster.until(|it| it.service(NODE, "stray").is_none()).await;
    cluster.until(|it| it.check(NODE, "check-web").is_none()).await;
    assert!(cluster.service(NODE, "consul").is_some());
    running.stop().await;
}

/// Two agents with one name: the catalog is not to lose what the first has in it.
#[tokio::test(start_paused = true)]
async fn what_a_namesake_has_registered_stays() {
    let cluster = FakeCluster::new();
    cluster.register(RegisterRequest {
        node: NODE.into(),
        id: "11111111-1111-1111-1111-111111111111".into(),
        address: "10.0.0.1".into(),
        service: Some(NodeService {
            id: "web".into(),
            name: "web".into(),
            ..NodeService::default()
        }),
        ..RegisterRequest::default()
    });
    let mut settings = AgentSettings::default();
    settings.node.id = "22222222-2222-2222-2222-222222222222".into();
    let running = Running::start(settings, &cluster).await;
    running.register(service("own", 80)).await;
    // Three comparisons, each of which offers what is registered here.
    let offers = |cluster: &FakeCluster| {
        let of_own = |(command, _): &&(Command, Token)| {
            matches!(command, Command::Register(request)
                if request.service.as_ref().is_some_and(|service| service.id == "own"))
        };
        cluster.commands().iter().filter(of_own).count()
    };
    cluster.until(|cluster| offers(cluster) >= 3).await;
    assert!(cluster.service(NODE, "web").is_some());
    assert!(cluster.service(NODE, "own").is_none());
    assert_eq!(cluster.node(NODE).unwrap().address, "10.0.0.1");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_while_there_is_no_leader() {
    let cluster = FakeCluster::new();
    cluster.fail_with(Some(ClusterError::no_leader()));
    let running = Running::start(AgentSettings::default(), &cluster).await;
    running.register(service("web", 80)).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(cluster.service(NODE, "web").is_none());
    cluster.fail_with(None);
    cluster.until(|it| it.service(NODE, "web").is_some()).await;
    running.stop().await;
}

/// The servers would take a node in once more that they have just let go.
#[tokio::test(start_paused = true)]
async fn an_agent_that_leaves_says_no_more() {
    let running = Running::plain().await;
    running.register(service("web", 80)).await;
    running.cluster.until(|it| it.service(NODE, "web").is_some()).await;
    running.agent.leave();
    let registrations = || {
        let commands = running.cluster.commands();
        commands.iter().filter(|(command, _)| matches!(command, Command::Register(_))).count()
    };
    let before = registrations();
    running.register(service("late", 80)).await;
    // Long enough for many comparisons.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(registrations(), before);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_agent_sends_nothing() {
    let running = Running::plain().await;
    running.register(with_ttl(service("web", 80))).await;
    let cluster = &running.cluster;
    cluster.until(|it| it.check(NODE, "service:web").is_some()).await;
    // The check expires, and its output follows within one and a half update intervals.
    tokio::time::sleep(Duration::from_secs(600)).await;
    let sent = cluster.commands().len();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(cluster.commands().len(), sent);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_registration_is_sent_with_its_own_token() {
    let settings = AgentSettings { user_token: Token("user".into()), ..AgentSettings::default() };
    let running = Running::start(settings, &FakeCluster::new()).await;
    running.register(service("plain", 80)).await;
    running.register(ServiceDefinition { token: Token("own".into()), ..service("web", 80) }).await;
    running.cluster.until(|it| it.service(NODE, "web").is_some()).await;
    let tokens: Vec<_> = running
        .cluster
        .commands()
        .into_iter()
        .filter_map(|(command, token)| match command {
            Command::Register(request) => Some((request.service?.id, token.0.to_string())),
            _ => None,
        })
        .collect();
    assert!(tokens.contains(&("plain".into(), "user".into())), "{tokens:?}");
    assert!(tokens.contains(&("web".into(), "own".into())), "{tokens:?}");
    running.stop().await;
}

#[tokio::test]
async fn registrations_outlive_a_restart_and_files_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = FakeCluster::new();
    let settings =
        AgentSettings { service_definitions: vec![service("from-file", 1)], ..in_dir(dir.path()) };
    let running = Running::start(settings, &cluster).await;
    let secret = ServiceDefinition { token: Token("secret".into()), ..service("web", 80) };
    running.register(with_sidecar(with_ttl(secret))).await;
    let agent = &running.agent;
    agent.update_ttl_check("service:web", CheckStatus::Warning, "slow").await.unwrap();
    agent.node_maintenance(true, "why", Token::default()).await.unwrap();
    let before = agent.services("ID != \"from-file\"").unwrap();
    running.stop().await;

    let running = Running::start(in_dir(dir.path()), &cluster).await;
    let agent = &running.agent;
    assert_eq!(agent.services("").unwrap(), before);
    let checks = agent.checks("").unwrap();
    assert_eq!(
        (checks["service:web"].status, checks["service:web"].output.as_str()),
        ("warning", "slow")
    );
    assert_eq!(checks["_node_maintenance"].notes, "why");
    assert!(checks.contains_key("service:web-sidecar-proxy:1"));
    {
        let state = agent.local().read();
        assert_eq!(state.services["web"].token, Token("secret".into()));
        assert!(state.services["web-sidecar-proxy"].is_sidecar);
    }
    // The catalog loses what the file no longer defines.
    cluster.until(|it| it.service(NODE, "from-file").is_none()).await;

    agent.update_ttl_check("service:web", CheckStatus::Passing, "").await.unwrap();
    agent.deregister_service("web").await.unwrap();
    running.stop().await;
    let running = Running::start(in_dir(dir.path()), &cluster).await;
    assert!(running.agent.services("").unwrap().is_empty());
    assert_eq!(running.agent.checks("").unwrap().len(), 1, "maintenance");
    running.stop().await;
}

#[tokio::test]
async fn a_restart_flips_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = FakeCluster::new();
    let running = Running::start(in_dir(dir.path()), &cluster).await;
    let mut definition = with_sidecar(service("web", 80));
    // Runs once an hour, so that after the restart nothing is known for long.
    definition.checks = vec![CheckDefinition {
        tcp: "127.0.0.1:1".into(),
        status: "passing".into(),
        interval: GoDuration::from_secs(3600),
        ..CheckDefinition::default()
    }];
    running.register(definition).await;
    let status = |it: &FakeCluster, id: &str| Some(it.check(NODE, id)?.status);
    let alias = "service:web-sidecar-proxy:2";
    cluster.until(|it| status(it, alias) == Some(CheckStatus::Passing)).await;
    running.stop().await;

    // The catalog has the last word on what the file calls critical.
    let kept = dir.path().join("checks");
    for entry in std::fs::read_dir(&kept).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let text = text.replace("\"Status\":\"passing\"", "\"Status\":\"\"");
            std::fs::write(entry.path(), text.replace("\"\",\"Notes", "\"critical\",\"Notes"))
                .unwrap();
        }
    }
    let before = cluster.commands().len();
    let running = Running::start(in_dir(dir.path()), &cluster).await;
    running.register(service("marker", 1)).await;
    cluster.until(|it| it.service(NODE, "marker").is_some()).await;
    for (command, _) in cluster.commands().into_iter().skip(before) {
        let Command::Register(request) = command else { panic!("{command:?}") };
        let checks = request.check.into_iter().chain(request.checks);
        let critical: Vec<_> = checks
            .filter(|check| check.status == CheckStatus::Critical && check.kind != "tcp")
            .collect();
        assert!(critical.is_empty(), "{critical:?}");
    }
    assert_eq!(status(&cluster, "service:web"), Some(CheckStatus::Passing));
    assert_eq!(status(&cluster, alias), Some(CheckStatus::Passing));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_removes_what_files_no_longer_define() {
    let from_files = |names: &[&str]| AgentSettings {
        service_definitions: names.iter().map(|name| with_sidecar(service(name, 80))).collect(),
        check_definitions: names
            .iter()
            .map(|name| CheckDefinition {
                name: format!("check-{name}"),
                ttl: GoDuration::from_secs(10),
                ..CheckDefinition::default()
            })
            .collect(),
        ..AgentSettings::default()
    };
    let running = Running::start(from_files(&["a", "b"]), &FakeCluster::new()).await;
    let agent = &running.agent;
    running.register(service("api", 1)).await;
    agent.update_ttl_check("check-b", CheckStatus::Passing, "kept").await.unwrap();
    agent.reload(from_files(&["b", "c"])).await.unwrap();
    let services: Vec<_> = agent.services("").unwrap().into_keys().collect();
    assert_eq!(services, ["api", "b", "b-sidecar-proxy", "c", "c-sidecar-proxy"]);
    let checks = agent.checks("").unwrap();
    assert!(!checks.contains_key("check-a") && checks.contains_key("check-c"));
    assert_eq!(checks["check-b"].output, "kept");

    let bad = AgentSettings {
        service_definitions: vec![ServiceDefinition::default()],
        ..AgentSettings::default()
    };
    assert_eq!(agent.reload(bad).await.unwrap_err().to_string(), "Missing service name");
    assert_eq!(agent.services("").unwrap().len(), 5, "a bad reload changes nothing");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_service_ends_with_its_change() {
    let running = Running::plain().await;
    let agent = Arc::clone(&running.agent);
    running.register(service("web", 80)).await;
    let first = agent.service("web").unwrap();
    let minute = Duration::from_secs(60);
    let at_once = agent.wait_service("web", "other", minute).await.unwrap();
    assert_eq!(at_once.content_hash, first.content_hash);

    let waiting = {
        let (agent, hash) = (Arc::clone(&agent), first.content_hash.clone());
        tokio::spawn(async move { agent.wait_service("web", &hash, minute).await })
    };
    running.register(service("other", 80)).await;
    running.register(service("web", 81)).await;
    let changed = waiting.await.unwrap().unwrap();
    assert_eq!(changed.port, 81);
    assert_ne!(changed.content_hash, first.content_hash);

    let same = agent.wait_service("web", &changed.content_hash, minute).await.unwrap();
    assert_eq!(same, changed);

    let waiting = {
        let (agent, hash) = (Arc::clone(&agent), changed.content_hash);
        tokio::spawn(async move { agent.wait_service("web", &hash, minute).await })
    };
    tokio::task::yield_now().await;
    agent.deregister_service("web").await.unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "unknown service ID: web");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_critical_too_long_is_removed() {
    let running = Running::plain().await;
    let mut definition = with_ttl(service("web", 80));
    definition.checks[0].deregister_critical_service_after = GoDuration::from_secs(90);
    running.register(with_sidecar(definition)).await;
    running.register(with_ttl(service("stays", 80))).await;
    running.cluster.until(|it| it.service(NODE, "web").is_some()).await;
    running.cluster.until(|it| it.service(NODE, "web").is_none()).await;
    let left: Vec<_> = running.agent.services("").unwrap().into_keys().collect();
    assert_eq!(left, ["stays"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn replacing_checks_removes_those_not_named() {
    let running = Running::plain().await;
    let named = |names: &[&str]| ServiceDefinition {
        checks: names
            .iter()
            .map(|name| CheckDefinition {
                id: (*name).into(),
                ttl: GoDuration::from_secs(10),
                ..CheckDefinition::default()
            })
            .collect(),
        ..service("web", 80)
    };
    let ids = || running.agent.checks("").unwrap().into_keys().collect::<Vec<_>>();
    running.register(named(&["a", "b"])).await;
    running.register(named(&["b", "c"])).await;
    assert_eq!(ids(), ["a", "b", "c"]);
    let token = Token::default();
    running.agent.register_service(named(&["c"]), Source::Api, token, true).await.unwrap();
    assert_eq!(ids(), ["c"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn refusals_have_consuls_words() {
    let running = Running::plain().await;
    let agent = &running.agent;
    let token = Token::default;
    let service_error = async |definition: ServiceDefinition| {
        let result = agent.register_service(definition, Source::Api, token(), false).await;
        result.unwrap_err().to_string()
    };
    assert_eq!(service_error(ServiceDefinition::default()).await, "Missing service name");
    let any = ServiceDefinition { address: "0.0.0.0".into(), ..service("web", 80) };
    assert_eq!(service_error(any).await, "Invalid service address");
    let mut script = with_ttl(service("web", 80));
    script.checks[0] = CheckDefinition {
        script_args: vec!["true".into()],
        interval: GoDuration::from_secs(1),
        ..CheckDefinition::default()
    };
    let want = "Scripts are disabled on this agent from remote calls; to enable, configure \
                'enable_script_checks' to true";
    assert_eq!(service_error(script).await, want);
    assert!(agent.services("").unwrap().is_empty(), "nothing half registered");

    let check_error = async |definition: CheckDefinition| {
        agent.register_check(definition, Source::Api, token()).await.unwrap_err().to_string()
    };
    let named = || CheckDefinition { name: "c".into(), ..CheckDefinition::default() };
    let ttl = GoDuration::from_secs(1);
    assert_eq!(check_error(CheckDefinition::default()).await, "Missing check name");
    let bad = CheckDefinition { status: "zzz".into(), ttl, ..named() };
    assert_eq!(check_error(bad).await, "Bad check status");
    assert_eq!(check_error(named()).await, "Invalid check: TTL must be > 0 for TTL checks");
    let orphan = CheckDefinition { service_id: "nope".into(), ttl, ..named() };
    assert_eq!(check_error(orphan).await, "ServiceID \"nope\" does not exist");

    let error = agent.update_ttl_check("c", CheckStatus::Passing, "").await.unwrap_err();
    assert_eq!(error.to_string(), "CheckID \"c\" does not have associated TTL");
    let error = agent.service_maintenance("nope", true, "", token()).await.unwrap_err();
    assert_eq!(error.to_string(), "No service registered with ID \"nope\"");
    assert_eq!(agent.deregister_service("").await.unwrap_err().to_string(), "ServiceID missing");
    assert_eq!(agent.deregister_check("").await.unwrap_err().to_string(), "CheckID missing");
    agent.deregister_service("nope").await.unwrap();
    agent.deregister_check("nope").await.unwrap();
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn maintenance_shows_in_health() {
    let running = Running::plain().await;
    let agent = &running.agent;
    running.register(service("web", 80)).await;
    let status = || agent.health_by_id("web").unwrap().aggregated_status.as_str();
    assert_eq!(status(), "passing");
    let token = Token::default;
    agent.service_maintenance("web", true, "first", token()).await.unwrap();
    agent.service_maintenance("web", true, "second", token()).await.unwrap();
    assert_eq!(status(), "maintenance");
    assert_eq!(agent.checks("").unwrap()["_service_maintenance:web"].notes, "first");
    agent.service_maintenance("web", false, "", token()).await.unwrap();
    assert_eq!(status(), "passing");
    agent.node_maintenance(true, "", token()).await.unwrap();
    let (worst, rows) = agent.health_by_name("web");
    assert_eq!((worst.http_status(), rows.len()), (503, 1));
    assert!(agent.health_by_name("nope").1.is_empty());
    assert!(agent.health_by_id("nope").is_none());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn defaults_of_the_cluster_reach_proxies() {
    let cluster = FakeCluster::new();
    let settings = AgentSettings { central_service_config: true, ..AgentSettings::default() };
    let running = Running::start(settings, &cluster).await;
    let proxy = ServiceDefinition {
        kind: ServiceKind::ConnectProxy,
        proxy: Some(ConnectProxyConfig {
            destination_service_name: "web".into(),
            destination_service_id: "web".into(),
            ..ConnectProxyConfig::default()
        }),
        ..service("web-proxy", 80)
    };
    running.register(proxy).await;
    cluster.until(|it| it.service(NODE, "web-proxy").is_some()).await;
    let hash = running.agent.service("web-proxy").unwrap().content_hash;
    cluster.set_entries(vec![ConfigEntry::ServiceDefaults(ServiceDefaults {
        name: "web".into(),
        protocol: "http".into(),
        ..ServiceDefaults::default()
    })]);
    let merged =
        running.agent.wait_service("web-proxy", &hash, Duration::from_secs(60)).await.unwrap();
    assert_eq!(merged.proxy.unwrap().config["protocol"], "http");
    cluster
        .until(|it| it.service(NODE, "web-proxy").is_some_and(|row| !row.proxy.config.is_empty()))
        .await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn filters_select_rows() {
    let running = Running::plain().await;
    let agent = &running.agent;
    running.register(with_sidecar(service("web", 80))).await;
    let ids = |filter: &str| agent.services(filter).unwrap().into_keys().collect::<Vec<_>>();
    assert_eq!(ids("Port == 80"), ["web"]);
    assert_eq!(ids("Kind == \"connect-proxy\""), ["web-sidecar-proxy"]);
    assert_eq!(ids("Proxy.DestinationServiceName == web"), ["web-sidecar-proxy"]);
    assert_eq!(ids("Weights.Passing == 1").len(), 2);
    let error = agent.checks("Foo==1").unwrap_err();
    assert!(matches!(error, Error::Refused(_)));
    assert_eq!(error.to_string(), "Selector \"Foo\" is not valid");
    running.stop().await;
}

#[tokio::test]
async fn says_what_it_is() {
    let running = Running::plain().await;
    let shown = serde_json::to_value(running.agent.self_info()).unwrap();
    assert_eq!(shown["Config"]["Version"], "1.8.7");
    assert_eq!(shown["Config"]["Product"], "lictor");
    assert_eq!(shown["Member"]["Tags"]["role"], "consul");
    assert_eq!(shown["Coord"]["Adjustment"], 0.0);
    assert_eq!(shown["Stats"]["agent"]["services"], "0");
    assert_eq!(running.agent.members(false, "").unwrap()[0].port, 8301);
    assert_eq!(running.agent.members(true, "").unwrap()[0].name, "node1.dc1");
    running.stop().await;
}

#[tokio::test]
async fn events_reach_those_they_are_meant_for() {
    use model::event::UserEvent;
    use rpc::Pools as _;

    let running = Running::plain().await;
    let mut web = service("web", 80);
    web.tags = vec!["blue".into(), "v1".into()];
    running.register(web).await;
    let mut events = running.agent.events();
    let fire = |name: &str, node: &str, service: &str, tag: &str| {
        running.alone.fire_event(UserEvent {
            name: name.into(),
            node_filter: node.into(),
            service_filter: service.into(),
            tag_filter: tag.into(),
            ..UserEvent::default()
        })
    };
    for (name, node, service, tag) in [
        ("for all", "", "", ""),
        ("another node", "^other$", "", ""),
        ("another service", "", "^db$", ""),
        ("another tag", "", "web", "^green$"),
        ("a filter nobody can read", "(", "", ""),
        ("for web", "node", "^we", "^bl"),
    ] {
        fire(name, node, service, tag).await.unwrap();
    }
    let seen = events.wait_for(|events| events.len() == 2).await.unwrap().clone();
    let names: Vec<_> = seen.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["for all", "for web"]);
    // Nothing is taken twice.
    fire("last", "", "", "").await.unwrap();
    let seen = events.wait_for(|events| events.len() > 2).await.unwrap().clone();
    assert_eq!((seen.len(), seen[2].name.as_str()), (3, "last"));
    drop(seen);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_coordinate_is_told_once() {
    let running = Running::plain().await;
    let told = |cluster: &FakeCluster| {
        let commands = cluster.commands();
        commands.iter().filter(|(command, _)| matches!(command, Command::Coordinates(_))).count()
    };
    running.cluster.until(|cluster| told(cluster) == 1).await;
    let queries = running.cluster.queries();
    // Looked at again and again, and known by then.
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(running.cluster.queries() > queries + 3);
    assert_eq!(told(&running.cluster), 1);
    running.stop().await;
}
