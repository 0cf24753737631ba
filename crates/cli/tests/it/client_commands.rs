//! The client commands, one list of lines a command: the real ones against our agent, ours against a real agent, each
//! held against the real ones on a real agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::command::{Cli, Running};
use testkit::differential::{Wanted, is_substituted, subject};
use testkit::process::{Agent, Spec, consul};
use testkit::wait;

use crate::command_script::{Line, Side, line, run};

/// Longest way from a change to a watcher's handler.
const EFFECT_MAX: Duration = Duration::from_secs(20);

/// Each list runs twice: once with the agent under test, once with the command line under test.
macro_rules! both {
    ($($name:ident: $list:expr, $files:expr, $wanted_agent:expr, $wanted_cli:expr;)*) => {
        mod real_cli {
            $(#[test] fn $name() {
                super::against_our_agent($files, &$list, $wanted_agent);
            })*
        }
        mod our_cli {
            $(#[test] fn $name() {
                super::against_real_agent($files, &$list, $wanted_cli);
            })*
        }
    };
}

both! {
    kv: super::kv(), super::KV_FILES, &[], super::KV_WANTED;
    catalog: super::catalog(), super::SERVICE_FILES, &[], &[];
    services: super::services(), super::SERVICE_FILES, &[], &[];
    intention: super::intention(), super::INTENTION_FILES, &[], &[];
    connect_ca: super::connect_ca(), super::CA_FILES, &[], &[];
    config: super::config(), super::ENTRY_FILES, &[], &[];
    lock: super::lock(), &[], &[], &[];
    watch: super::watch(), &[], &[], super::WATCH_WANTED;
    maint: super::maint(), &[], &[], &[];
    agent: super::agent(), super::AGENT_FILES, super::AGENT_WANTED, &[];
    pool: super::pool(), &[], super::POOL_WANTED, &[];
    event: super::event(), &[], &[], &[];
    coordinate: super::coordinate(), &[], &[], &[];
    keyring: super::keyring(), &[], &[], &[];
    operator: super::operator(), &[], &[], &[];
    leave: super::leave(), &[], &[], &[];
    snapshot: super::snapshot(), super::SNAPSHOT_FILES, &[], super::SNAPSHOT_WANTED;
}

const fn wanted(step: &'static str, at: &'static str, reason: &'static str) -> Wanted {
    Wanted { step, at, reason }
}

const BASE64: &str =
    "ours stores nothing when the value is not base64, and says so by its exit code";
const KV_WANTED: &[Wanted] = &[
    wanted("kv put -base64 app/base64 ***", "code", BASE64),
    wanted("kv get app/base64", "stdout", BASE64),
    wanted("kv get -recurse app", "stdout", BASE64),
    wanted("kv get -recurse -detailed app/", "stdout", BASE64),
    wanted("kv get -recurse -base64 app/", "stdout", BASE64),
    wanted("kv get -recurse", "stdout", BASE64),
    wanted("kv export app/", "stdout", BASE64),
    wanted(
        "kv put -cas -modify-index=0 app/fresh x",
        "code",
        "index 0 means that the key must not exist, as in the API",
    ),
];

const ORDER: &str =
    "ours shows the keys of an object in their order, not in that of the real one's structs";
const WATCH_WANTED: &[Wanted] = &[
    wanted("watch -type=key -key=app/name", "stdout", ORDER),
    wanted("watch -type=keyprefix -prefix=app/", "stdout", ORDER),
    wanted("watch -type=nodes", "stdout", ORDER),
    wanted("watch -type=service -service=web", "stdout", ORDER),
    wanted("watch -type=service -service=web -tag=v1", "stdout", ORDER),
    wanted("watch -type=service -service=consul -passingonly=true", "stdout", ORDER),
    wanted("watch -type=checks", "stdout", ORDER),
    wanted("watch -type=checks -state=passing", "stdout", ORDER),
];

const AGENT_WANTED: &[Wanted] = &[
    wanted("info", "stdout", "ours says what product it is"),
    wanted("members -detailed", "stdout", "a tag tells our servers from others"),
];

fn ours() -> PathBuf {
    subject(env!("CARGO_BIN_EXE_lictor"))
}

fn against_our_agent(files: &[(&str, &str)], lines: &[Line], wanted: &[Wanted]) {
    pair(files, lines, wanted, &consul(), &ours());
}

fn against_real_agent(files: &[(&str, &str)], lines: &[Line], wanted: &[Wanted]) {
    pair(files, lines, wanted, &ours(), &consul());
}

fn pair(files: &[(&str, &str)], lines: &[Line], wanted: &[Wanted], cli: &Path, agent: &Path) {
    let [left, right] = start(&consul(), agent);
    let real = consul();
    let sides = [Side { program: &real, agent: &left }, Side { program: cli, agent: &right }];
    // The real programs as their own peers have nothing to differ in.
    let wanted = if is_substituted() { &[] } else { wanted };
    run(sides, files, lines, wanted);
}

fn start(left: &Path, right: &Path) -> [Agent; 2] {
    let (left, right) = (Spec::new(left), Spec::new(right));
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| left.start());
        let right = right.start();
        [starting.join().expect("the real agent starts"), right]
    })
}

const KV_FILES: &[(&str, &str)] = &[
    ("value.txt", "from a file\nwith lines\n"),
    (
        "import.json",
        r#"[{"key":"imported/a","flags":7,"value":"YQ=="},{"key":"imported/b","flags":0,"value":""}]"#,
    ),
    ("bad.json", r#"[{"key""#),
];

const SNAPSHOT_FILES: &[(&str, &str)] = &[("garbage.snap", "no snapshot at all, certainly")];
const SNAPSHOT_WANTED: &[Wanted] = &[wanted(
    "snapshot inspect backup.snap",
    "stdout",
    "ours lists the records as well, as later versions do",
)];

fn snapshot() -> Vec<Line> {
    vec![
        line("kv put kept x"),
        // Which index it has is chance.
        line("snapshot save backup.snap").names_only(),
        line("snapshot inspect backup.snap").names_only(),
        line("kv put later x"),
        line("snapshot restore backup.snap"),
        line("kv get -keys"),
        line("snapshot save -stale backup.snap").names_only(),
        line("snapshot save"),
        line("snapshot save a b"),
        line("snapshot save none/backup.snap").code_only(),
        line("snapshot restore"),
        line("snapshot restore a b"),
        line("snapshot restore none.snap"),
        line("snapshot restore garbage.snap"),
        line("snapshot inspect"),
        line("snapshot inspect a b"),
        line("snapshot inspect none.snap"),
        line("snapshot inspect garbage.snap"),
        line("snapshot"),
        line("snapshot bogus"),
        line("kv get -keys"),
    ]
}

fn kv() -> Vec<Line> {
    vec![
        line("kv put app/name lictor"),
        line("kv get app/name"),
        line("kv get -detailed app/name").capture("index", "ModifyIndex"),
        line("kv get -base64 app/name"),
        line("kv get -detailed -base64 app/name"),
        line("kv put -flags=42 app/flags value"),
        line("kv get -detailed app/flags"),
        line("kv put app/empty"),
        line("kv get app/empty"),
        line("kv get -detailed app/empty"),
        line("kv put app/file @value.txt"),
        line("kv get app/file"),
        line("kv put app/none @none.txt"),
        line("kv put app/stdin -").stdin("from standard input"),
        line("kv get app/stdin"),
        line("kv put -base64 app/base64 aGVsbG8="),
        line("kv put -base64 app/base64 ***"),
        line("kv get app/base64"),
        line("kv put /leading/slash x"),
        line("kv get leading/slash"),
        line("kv put uml/ü wörld"),
        line("kv get uml/ü"),
        line("kv put sp/a~b c~d"),
        line("kv get sp/a~b"),
        line("kv get none"),
        line("kv get"),
        line("kv get -recurse app"),
        line("kv get -recurse none"),
        line("kv get -recurse -detailed app/"),
        line("kv get -recurse -base64 app/"),
        line("kv get -keys app/"),
        line("kv get -keys -separator= app"),
        line("kv get -keys"),
        line("kv get -recurse"),
        line("kv put -cas -modify-index={index} app/name second"),
        line("kv put -cas -modify-index={index} app/name third"),
        line("kv put -cas app/name third"),
        line("kv put -cas -modify-index=0 app/fresh x"),
        line("kv put -acquire app/lock x"),
        line("kv put -release app/lock x"),
        line("kv put -acquire -session=6f1c5ad0-7c1e-4c3c-9c55-0d4f1e6a9b12 app/lock x"),
        line("kv put"),
        line("kv put a b c").code_only(),
        line("kv put -nothing a b").code_only(),
        line("kv get a b").code_only(),
        line("kv export app/"),
        line("kv export none"),
        line("kv import @import.json"),
        line("kv import -").stdin(r#"[{"key":"imported/c","flags":1,"value":"Yw=="}]"#),
        line("kv import @bad.json"),
        line("kv import"),
        line("kv get -recurse -detailed imported"),
        line("kv delete app/name"),
        line("kv delete app/name"),
        line("kv delete -cas -modify-index=1 app/flags"),
        line("kv delete -cas app/flags"),
        line("kv delete -recurse app"),
        line("kv delete -recurse -cas app"),
        line("kv delete -recurse"),
        line("kv delete"),
        line("kv get -recurse app"),
        line("kv get -datacenter=dc9 x"),
        line("kv get -stale x"),
        line("kv get -http-addr=127.0.0.1:1 x"),
        line("kv nothing").code_only(),
        line("kv").code_only(),
    ]
}

const SERVICE_FILES: &[(&str, &str)] = &[
    (
        "web.hcl",
        r#"service {
  name = "web"
  tags = ["v1", "public"]
  port = 8080
  meta { team = "green" }
  check { name = "alive" ttl = "1h" status = "passing" }
  connect { sidecar_service {} }
}"#,
    ),
    (
        "two.json",
        r#"{"services":[{"name":"a","port":1},{"id":"a2","name":"a","port":2,"tags":["x"]}]}"#,
    ),
    ("bad.hcl", "service { name = 5 nothing = true }"),
    ("empty.json", "{}"),
    ("broken.json", "{"),
];

fn services() -> Vec<Line> {
    vec![
        line("services register web.hcl"),
        line("services register two.json"),
        line("services register bad.hcl"),
        line("services register empty.json"),
        line("services register broken.json").code_only(),
        line("services register none.json"),
        line("services register"),
        line("services register -name=cache -port=11211 -tag=a -tag=b -meta=k=v -address=10.0.0.9"),
        line("services register -name=tagged -tagged-address=lan=10.0.0.1:80"),
        line("services register -name=tagged -tagged-address=nothing"),
        line("services register -name=cache web.hcl"),
        line("services register -name=kinded -kind=ingress-gateway -port=1"),
        line("services register -id=only").code_only(),
        line("catalog services -tags"),
        line("services deregister -id=cache"),
        line("services deregister -id=none"),
        line("services deregister two.json"),
        line("services deregister -id=x web.hcl"),
        line("services deregister web.hcl"),
        line("services deregister"),
        line("catalog services"),
        line("services").code_only(),
    ]
}

fn catalog() -> Vec<Line> {
    vec![
        line("services register web.hcl"),
        line("services register two.json"),
        line("catalog datacenters"),
        line("catalog nodes"),
        line("catalog nodes -detailed"),
        line("catalog nodes -service=web"),
        line("catalog nodes -service=none"),
        line("catalog nodes -node-meta=consul-network-segment="),
        line("catalog nodes -node-meta=x=y"),
        line("catalog nodes -near=_agent"),
        line("catalog nodes -filter=Node==node1"),
        line("catalog nodes -filter=Bad"),
        line("catalog services"),
        line("catalog services -tags"),
        line("catalog services -node=node1"),
        line("catalog services -node=node1 -tags"),
        line("catalog services -node=none"),
        line("catalog services -node-meta=x=y"),
        line("catalog services extra").code_only(),
        line("catalog nothing").code_only(),
        line("catalog").code_only(),
    ]
}

const INTENTION_FILES: &[(&str, &str)] = &[
    (
        "one.json",
        r#"{"SourceName":"file","DestinationName":"db","Action":"allow","Description":"from a file"}"#,
    ),
    ("bad.json", r#"{"SourceName":"#),
];

fn intention() -> Vec<Line> {
    vec![
        line("intention create web db"),
        line("intention create web db"),
        line("intention create -deny web db"),
        line("intention create -replace -deny web db"),
        line("intention create -allow -deny web db"),
        line("intention create -meta=team=green -deny * db"),
        line("intention create -meta=nothing a b"),
        line("intention create * *"),
        line("intention create -deny web~x db"),
        line("intention create -file one.json"),
        line("intention create -file bad.json"),
        line("intention create -file none.json"),
        line("intention create"),
        line("intention create one"),
        line("intention create a/b/c d"),
        line("intention create we* db"),
        line("intention check web db"),
        line("intention check api db"),
        line("intention check other thing"),
        line("intention check web"),
        line("intention match db"),
        line("intention match -destination db"),
        line("intention match -source web"),
        line("intention match -source -destination web"),
        line("intention match none"),
        line("intention match"),
        line("intention get web db").capture("id", "ID:"),
        line("intention get {id}"),
        line("intention get * db"),
        line("intention get none db"),
        // Not asked: an id nobody has. The real command breaks down over it.
        line("intention get"),
        line("intention delete * *"),
        line("intention delete * *"),
        line("intention delete {id}"),
        line("intention delete {id}"),
        line("intention delete"),
        line("intention match db"),
        line("intention nothing").code_only(),
    ]
}

const CA_FILES: &[(&str, &str)] = &[
    (
        "ca.json",
        r#"{"Provider":"consul","Config":{"LeafCertTTL":"48h","IntermediateCertTTL":"8760h"}}"#,
    ),
    ("unknown.json", r#"{"Provider":"nothing"}"#),
    ("bad.json", "{"),
];

fn connect_ca() -> Vec<Line> {
    vec![
        line("connect ca get-config"),
        line("connect ca set-config -config-file=ca.json"),
        line("connect ca get-config"),
        line("connect ca set-config -config-file=unknown.json"),
        line("connect ca set-config -config-file=bad.json"),
        line("connect ca set-config -config-file=none.json"),
        line("connect ca set-config"),
        line("connect ca get-config"),
        line("connect ca nothing").code_only(),
        line("connect nothing").code_only(),
    ]
}

const ENTRY_FILES: &[(&str, &str)] = &[
    ("web.hcl", "Kind = \"service-defaults\"\nName = \"web\"\nProtocol = \"http\"\n"),
    (
        "global.json",
        r#"{"kind":"proxy-defaults","name":"global","config":{"handshake_timeout_ms":5000}}"#,
    ),
    ("unknown.hcl", "Kind = \"nothing\"\nName = \"x\"\n"),
    ("extra.hcl", "Kind = \"service-defaults\"\nName = \"x\"\nNothing = 1\n"),
    ("bad.hcl", "Kind = "),
];

fn config() -> Vec<Line> {
    vec![
        line("config write web.hcl"),
        line("config write global.json"),
        line("config write unknown.hcl"),
        line("config write extra.hcl"),
        line("config write bad.hcl"),
        line("config write none.hcl"),
        line("config write -").stdin("Kind = \"service-defaults\"\nName = \"stdin\"\n"),
        line("config write"),
        line("config write web.hcl global.json"),
        line("config read -kind service-defaults -name web").capture("index", "ModifyIndex\":"),
        line("config read -kind proxy-defaults -name global"),
        line("config read -kind service-defaults -name none"),
        line("config read -kind nothing -name none"),
        line("config read -kind service-defaults"),
        line("config read -name web"),
        line("config write -cas -modify-index={index} web.hcl"),
        line("config write -cas -modify-index={index} web.hcl"),
        line("config write -cas web.hcl"),
        line("config list -kind service-defaults"),
        line("config list -kind proxy-defaults"),
        line("config list -kind nothing"),
        line("config list"),
        line("config delete -kind service-defaults -name stdin"),
        line("config delete -kind service-defaults -name none"),
        line("config delete -kind nothing -name none"),
        line("config delete -kind service-defaults"),
        line("config list -kind service-defaults"),
        line("config nothing").code_only(),
    ]
}

fn lock() -> Vec<Line> {
    vec![
        line("lock app/leader echo held"),
        line("lock -shell=false app/leader echo held"),
        line("lock -verbose app/leader true"),
        line("lock -name=mine app/leader true"),
        line("lock app/leader false").output_only(),
        line("lock -child-exit-code app/leader false").output_only(),
        line("lock -child-exit-code app/leader true"),
        line("lock -n=2 app/seats echo seated"),
        line("lock -n=0 app/seats echo seated"),
        line("lock -pass-stdin app/leader cat").stdin("passed on"),
        line("lock -timeout=1s app/leader echo in~time"),
        line("lock -timeout=-1s app/leader echo never"),
        line("lock -monitor-retry=-1 app/leader echo never"),
        line("lock -shell=false app/leader").code_only(),
        line("lock app/leader"),
        line("lock"),
        line("kv get -keys app/"),
    ]
}

fn watch() -> Vec<Line> {
    vec![
        line("kv put app/name lictor"),
        line("kv put app/other thing"),
        line("services register -name=web -port=80 -tag=v1"),
        line("watch -type=key -key=app/name"),
        line("watch -type=key -key=none"),
        line("watch -type=keyprefix -prefix=app/"),
        line("watch -type=keyprefix -prefix=none/"),
        line("watch -type=services"),
        line("watch -type=nodes"),
        line("watch -type=service -service=web"),
        line("watch -type=service -service=web -tag=v1"),
        line("watch -type=service -service=web -tag=none"),
        line("watch -type=service -service=consul -passingonly=true"),
        line("watch -type=checks"),
        line("watch -type=checks -state=passing"),
        line("watch -type=checks -service=web"),
        line("watch -type=checks -service=web -state=passing"),
        line("watch -type=nothing"),
        line("watch -type=key"),
        line("watch -type=service"),
        line("watch"),
        line("watch -type=service -service=web -passingonly=perhaps"),
    ]
}

fn maint() -> Vec<Line> {
    vec![
        line("services register -name=web -port=80"),
        line("maint"),
        line("maint -enable -reason=upgrade"),
        line("maint"),
        line("maint -enable -service=web -reason=one~service"),
        line("maint").unordered(),
        line("maint -disable"),
        line("maint -enable -service=none"),
        line("maint -enable -disable"),
        line("maint -service=web"),
        line("maint -reason=x"),
        line("maint -disable -service=web"),
        line("maint"),
        line("maint -enable"),
        line("maint"),
        line("maint -disable"),
        line("maint -disable"),
        line("maint nothing").code_only(),
    ]
}

const AGENT_FILES: &[(&str, &str)] = &[
    ("good.hcl", "data_dir = \"data\"\nserver = true\nbootstrap = true\n"),
    ("good.json", r#"{"data_dir":"data","service":{"name":"x","port":1}}"#),
    ("unknown.hcl", "data_dir = \"data\"\nnothing = true\n"),
    ("type.json", r#"{"data_dir":"data","server":"perhaps"}"#),
    ("duration.json", r#"{"data_dir":"data","dns_config":{"node_ttl":"x"}}"#),
    ("broken.json", "{"),
    ("no_dir.json", r#"{"server":true}"#),
];

fn agent() -> Vec<Line> {
    vec![
        line("members"),
        line("members -detailed"),
        line("members -wan"),
        line("members -status=alive"),
        line("members -status=left"),
        line("members -status=("),
        line("members -segment=x"),
        line("info").names_only(),
        line("reload"),
        line("validate good.hcl"),
        line("validate good.json").code_only(),
        line("validate good.hcl good.json").code_only(),
        line("validate -quiet good.hcl"),
        line("validate unknown.hcl").code_only(),
        line("validate type.json").code_only(),
        line("validate duration.json").code_only(),
        line("validate broken.json").code_only(),
        line("validate no_dir.json").code_only(),
        line("validate none.json").code_only(),
        line("validate").code_only(),
        line("members -http-addr=127.0.0.1:1"),
        line("members -nothing").code_only(),
        line("version extra").code_only(),
        line("nothing").code_only(),
        line("").code_only(),
        line("--help").code_only(),
        line("--version").code_only(),
        line("version").code_only(),
        line("kv --help").code_only(),
        line("kv put --help").code_only(),
        line("agent --help").code_only(),
        line("connect proxy --help").code_only(),
    ]
}

const NO_POOL: &str = "why nobody was reached, in other words";
const POOL_WANTED: &[Wanted] = &[
    wanted("join 127.0.0.1:1", "stderr", NO_POOL),
    wanted("join 127.0.0.1:1 127.0.0.1:2", "stderr", NO_POOL),
    wanted("join -wan 127.0.0.1:1", "stderr", NO_POOL),
];

fn pool() -> Vec<Line> {
    vec![
        line("join"),
        line("join 127.0.0.1:1"),
        line("join 127.0.0.1:1 127.0.0.1:2"),
        line("join -wan 127.0.0.1:1"),
        line("force-leave"),
        line("force-leave a b"),
        line("force-leave none"),
        line("force-leave -prune none"),
        line("force-leave node1"),
        line("join -http-addr=127.0.0.1:1 127.0.0.1:1"),
    ]
}

fn event() -> Vec<Line> {
    vec![
        line("watch -type=event"),
        line("event"),
        line("event -name=e a b"),
        line("event -name=e -tag=x"),
        line("event -name=e -node=("),
        line("event -name=deploy payload"),
        line("event -name=other -node=^node"),
        line("event -name=elsewhere -node=^other"),
        line("event -name=nobody -service=none -tag=x hello"),
        line("watch -type=event -name=none"),
        line("event -name=e -http-addr=127.0.0.1:1"),
    ]
}

fn coordinate() -> Vec<Line> {
    vec![
        line("rtt"),
        line("rtt a b c"),
        line("rtt none"),
        line("rtt -wan node1"),
        line("rtt -wan node1.dc1"),
        line("rtt -wan node1.dc1 node1.dc1"),
        line("rtt -wan node1.dc1 none.dc1"),
        line("rtt -wan node1.dc2"),
    ]
}

fn keyring() -> Vec<Line> {
    vec![
        line("keygen").code_only(),
        line("keygen x").code_only(),
        line("keyring"),
        line("keyring -list"),
        line("keyring -list-primary"),
        line("keyring -list -local-only"),
        line("keyring -list -relay-factor=2"),
        line("keyring -list -relay-factor=9"),
        line("keyring -list -relay-factor=x").output_only(),
        line("keyring -list -install=x"),
        line("keyring -install=x"),
        line("keyring -install=x -local-only"),
        line("keyring -use=x"),
        line("keyring -remove=x"),
        line("keyring -remove=pUqJrVyVRj5jsiYEkM/tFQ=="),
    ]
}

fn operator() -> Vec<Line> {
    vec![
        line("operator"),
        line("operator nothing").code_only(),
        line("operator raft"),
        line("operator raft list-peers"),
        line("operator raft list-peers -stale"),
        line("operator raft list-peers x"),
        line("operator raft remove-peer"),
        line("operator raft remove-peer -id=x -address=y"),
        line("operator raft remove-peer -id=x"),
        line("operator raft remove-peer -address=192.0.2.1:1"),
        line("operator autopilot"),
        line("operator autopilot get-config"),
        line("operator autopilot set-config"),
        line("operator autopilot set-config -min-quorum=3 -cleanup-dead-servers=false"),
        line("operator autopilot get-config"),
        line(
            "operator autopilot set-config -max-trailing-logs=5 -last-contact-threshold=1s -server-stabilization-time=2m -redundancy-zone-tag=z -disable-upgrade-migration -upgrade-version-tag=v",
        ),
        line("operator autopilot get-config x"),
        line("operator autopilot set-config -max-trailing-logs=-1").output_only(),
        line("operator autopilot set-config -last-contact-threshold=x").output_only(),
        line("operator autopilot set-config -cleanup-dead-servers=perhaps").output_only(),
        line("operator autopilot get-config -datacenter=dc9"),
    ]
}

fn leave() -> Vec<Line> {
    vec![line("leave extra").code_only(), line("leave"), line("members").code_only()]
}

/// The program and the agent of every pair that goes on beside others.
fn pairs() -> [(PathBuf, PathBuf); 2] {
    [(consul(), ours()), (ours(), consul())]
}

fn cli(program: &Path, agent: &Agent) -> Cli {
    Cli::new(program).env("CONSUL_HTTP_ADDR", agent.address(agent.ports.http))
}

#[test]
fn a_watch_runs_its_handler_at_every_change() {
    for (program, agent) in pairs() {
        let agent = Spec::new(agent).start();
        let seen = agent.dir().join("seen");
        let handler = format!("cat >> {}", seen.display());
        agent.http().put("/v1/kv/watched", "first").expect("the agent answers");
        let _watch = cli(&program, &agent).start(&["watch", "-type=key", "-key=watched", &handler]);
        // Values show as base64.
        for (value, shown) in [("first", "Zmlyc3Q="), ("second", "c2Vjb25k")] {
            agent.http().put("/v1/kv/watched", value).expect("the agent answers");
            wait::until(
                &format!("the handler of {} sees {value}", program.display()),
                EFFECT_MAX,
                || fs::read_to_string(&seen).ok()?.contains(shown).then_some(()),
            );
        }
    }
}

/// A handler gets each event once, however many came before it.
#[test]
fn a_watch_hands_over_each_event_once() {
    for (program, agent) in pairs() {
        let agent = Spec::new(agent).start();
        let seen = agent.dir().join("seen");
        let handler = format!("cat >> {}", seen.display());
        let fire = |payload: &str| {
            agent.http().put("/v1/event/fire/deploy", payload).expect("the agent answers");
        };
        let sees = |shown: &str| {
            wait::until(
                &format!("the handler of {} sees {shown}", program.display()),
                EFFECT_MAX,
                || fs::read_to_string(&seen).ok().filter(|text| text.contains(shown)),
            )
        };
        fire("one");
        let watch = ["watch", "-type=event", "-name=deploy", &handler];
        let _watch = cli(&program, &agent).start(&watch);
        // Values show as base64.
        sees("b25l");
        fire("two");
        let text = sees("dHdv");
        assert_eq!(text.matches("b25l").count(), 1, "{}: {text}", program.display());
    }
}

#[test]
fn a_lock_is_held_by_one_and_passed_on() {
    for (program, agent) in pairs() {
        let agent = Spec::new(agent).start();
        let cli = cli(&program, &agent);
        let (held, go) = (agent.dir().join("held"), agent.dir().join("go"));
        // The child holds the lock until a file appears.
        let hold = format!(
            "echo one >> {}; while [ ! -e {} ]; do sleep 0.05; done",
            held.display(),
            go.display()
        );
        let mut holder = cli.start(&["lock", "app/leader", &hold]);
        wait::until("the first holder runs its child", EFFECT_MAX, || held.exists().then_some(()));

        let late = cli.run(&["lock", "-timeout=1s", "app/leader", "echo late"]);
        assert_eq!(late.code, Some(1), "{late:?}");
        assert!(!late.stdout.contains("late"), "a second one held the lock: {late:?}");

        let next = format!("echo two >> {}", held.display());
        let mut waiter = cli.start(&["lock", "app/leader", &next]);
        // The waiter has taken its place once its session stands beside the holder's.
        wait::until("the waiter queues", EFFECT_MAX, || {
            let sessions = agent.http().get("/v1/session/list").ok()?.json();
            (sessions.as_array()?.len() == 2).then_some(())
        });
        assert_eq!(fs::read_to_string(&held).expect("the first holder wrote"), "one\n");
        fs::write(&go, "").expect("a temporary folder is writable");
        for running in [&mut holder, &mut waiter] {
            let code = ended(running);
            assert_eq!(code, Some(0), "lock of {} ends well", program.display());
        }
        assert_eq!(fs::read_to_string(&held).expect("both wrote"), "one\ntwo\n");
        let left = agent.http().get("/v1/kv/app/leader?keys").expect("the agent answers");
        assert_eq!(left.status, 404, "the lock's key is removed: {left}");
    }
}

#[test]
fn a_lost_lock_ends_the_child() {
    for (program, agent) in pairs() {
        let agent = Spec::new(agent).start();
        let held = agent.dir().join("held");
        let child = format!(
            "trap 'echo ended >> {0}; exit 0' TERM; echo begun >> {0}; while true; do sleep 0.05; done",
            held.display()
        );
        let mut holder = cli(&program, &agent).start(&["lock", "app/leader", &child]);
        wait::until("the child runs", EFFECT_MAX, || held.exists().then_some(()));
        let sessions = agent.http().get("/v1/session/list").expect("the agent answers").json();
        let id = sessions[0]["ID"].as_str().expect("a session has an id").to_owned();
        agent.http().put(&format!("/v1/session/destroy/{id}"), "").expect("the agent answers");
        assert_eq!(ended(&mut holder), Some(0), "lock of {}", program.display());
        let text = fs::read_to_string(&held).expect("the child wrote");
        assert!(text.contains("ended"), "the child was not asked to end: {text}");
    }
}

#[test]
fn a_monitor_shows_log_lines_as_they_come() {
    if is_substituted() {
        // The real command asks for a compressed answer, which the real agent breaks off at its first line.
        return;
    }
    for (program, agent) in pairs() {
        let agent = Spec::new(agent).start();
        let shown = agent.dir().join("monitor.log");
        let address = format!("-http-addr={}", agent.address(agent.ports.http));
        let args = ["monitor", &address, "-log-level=debug"];
        let monitor = testkit::background::Background::start(&program, &args, &shown);
        wait::until(&format!("{} shows a line", program.display()), EFFECT_MAX, || {
            // Requests are logged at level debug.
            agent.http().get("/v1/agent/members").ok()?;
            monitor.log().contains("[DEBUG]").then_some(())
        });
    }
}

fn ended(running: &mut Running) -> Option<i32> {
    wait::until("a command ends", EFFECT_MAX, || {
        running.child.try_wait().expect("a child can be waited for")
    })
    .code()
}
