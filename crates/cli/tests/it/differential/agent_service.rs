//! `/v1/agent/service*`: registration with every field in both spellings, sidecars, local health, maintenance.

use std::time::Duration;

use testkit::differential::{Step, collect, delete, get, post, put, step};

use super::row;

fn register(body: &str) -> Step {
    put("/v1/agent/service/register", body).name(&format!("register {body}"))
}

#[test]
fn fields() {
    let mut steps: Vec<Step> = Vec::new();
    for (id, body) in [
        (
            "full",
            r#"{"ID":"full","Name":"web","Tags":["b","a"],"Port":8080,"Address":"10.0.0.1","Meta":{"k":"v","a":"b"},"EnableTagOverride":true,"Weights":{"Passing":10,"Warning":2},
            "TaggedAddresses":{"lan":{"Address":"10.0.0.1","Port":8080},"wan":{"Address":"192.0.2.1","Port":80}},
            "Check":{"TTL":"30s","Status":"passing","Notes":"n","Name":"alive","CheckID":"own-id"}}"#,
        ),
        (
            "snake",
            r#"{"id":"snake","name":"web","tags":["a"],"port":8081,"address":"10.0.0.2","meta":{"k":"v"},"enable_tag_override":true,"weights":{"passing":3,"warning":1},
            "tagged_addresses":{"lan":{"address":"10.0.0.2","port":8081}},"checks":[{"ttl":"30s","status":"warning"},{"checkid":"second","name":"s","ttl":"1m","notes":"n"}]}"#,
        ),
        ("minimal", r#"{"Name":"minimal"}"#),
        ("numbers", r#"{"Name":"numbers","Port":"8080"}"#),
        ("negative", r#"{"Name":"negative","Port":-1}"#),
        ("toolarge", r#"{"Name":"toolarge","Port":65536}"#),
        ("tagged", r#"{"Name":"tagged","Tags":null,"Meta":null}"#),
        ("emptytags", r#"{"Name":"emptytags","Tags":[],"Meta":{}}"#),
        ("anyaddress", r#"{"Name":"anyaddress","Address":"0.0.0.0"}"#),
        ("anyaddress6", r#"{"Name":"anyaddress6","Address":"::"}"#),
        ("hostname", r#"{"Name":"hostname","Address":"host.example"}"#),
        ("reserved", r#"{"Name":"reserved","Meta":{"consul-x":"y"}}"#),
        ("badmeta", r#"{"Name":"badmeta","Meta":{"sp ace":"y"}}"#),
        ("badweights", r#"{"Name":"badweights","Weights":{"Passing":-1,"Warning":0}}"#),
        ("zeroweights", r#"{"Name":"zeroweights","Weights":{"Passing":0,"Warning":0}}"#),
        ("halfweights", r#"{"Name":"halfweights","Weights":{"Passing":5}}"#),
        ("bigweights", r#"{"Name":"bigweights","Weights":{"Passing":65536,"Warning":1}}"#),
        (
            "badtagged",
            r#"{"Name":"badtagged","TaggedAddresses":{"lan":{"Address":"0.0.0.0","Port":1}}}"#,
        ),
        (
            "tagport",
            r#"{"Name":"tagport","TaggedAddresses":{"lan":{"Address":"10.0.0.1","Port":70000}}}"#,
        ),
        ("dns_name", r#"{"Name":"dns_name"}"#),
        ("sp ace", r#"{"Name":"sp ace"}"#),
        ("slash", r#"{"ID":"slash","Name":"a/b"}"#),
        ("dots", r#"{"Name":"dots.in.name","ID":"dots"}"#),
        ("", r#"{"ID":"noname"}"#),
        ("", r#"{}"#),
        ("", r#"{"Name":""}"#),
        ("", r#"{"Name":5}"#),
        ("five", r#"{"Name":"five","ID":5}"#),
        ("", r#"[]"#),
        ("", r#"null"#),
        ("", r#""#),
        ("", r#"{"Name":"#),
        ("", r#"not json"#),
        ("unknown", r#"{"Name":"unknown","Unknown":1}"#),
        ("namespaced", r#"{"Name":"namespaced","Namespace":"default"}"#),
        ("team", r#"{"Name":"team","Namespace":"team"}"#),
        ("token", r#"{"Name":"token","Token":"secret"}"#),
        ("kind", r#"{"Name":"kind","Kind":"nothing"}"#),
        ("native", r#"{"Name":"native","Port":1,"Connect":{"Native":true}}"#),
        ("snakenative", r#"{"name":"snakenative","port":1,"connect":{"native":true}}"#),
        ("consul", r#"{"Name":"consul"}"#),
        ("single", r#"{"Name":"single","Check":{"TTL":"x"}}"#),
        ("nothing", r#"{"Name":"nothing","Check":{}}"#),
        ("noint", r#"{"Name":"noint","Check":{"HTTP":"http://127.0.0.1:1/"}}"#),
        (
            "both",
            r#"{"Name":"both","Check":{"TTL":"10s","HTTP":"http://127.0.0.1:1/","Interval":"10s"}}"#,
        ),
        ("badstatus", r#"{"Name":"badstatus","Check":{"TTL":"10s","Status":"nothing"}}"#),
        ("script", r#"{"Name":"script","Check":{"Args":["true"],"Interval":"10s"}}"#),
        ("alias", r#"{"Name":"alias","Check":{"AliasService":"full"}}"#),
        ("emptychecks", r#"{"Name":"emptychecks","Checks":[]}"#),
        ("nullchecks", r#"{"Name":"nullchecks","Checks":null,"Check":null}"#),
        ("checkid", r#"{"Name":"checkid","Check":{"ID":"a","CheckID":"b","TTL":"10s"}}"#),
        (
            "checkid2",
            r#"{"Name":"checkid2","Check":{"check_id":"c","ttl":"10s","deregister_critical_service_after":"90m","success_before_passing":2}}"#,
        ),
        ("gateway", r#"{"Name":"gateway","Kind":"mesh-gateway","Port":1}"#),
        (
            "gatewayproxy",
            r#"{"Name":"gatewayproxy","Kind":"mesh-gateway","Port":1,"Proxy":{"DestinationServiceName":"web"}}"#,
        ),
    ] {
        steps.push(register(body));
        if !id.is_empty() {
            steps.push(
                get(format!("/v1/agent/service/{}", id.replace(' ', "%20")))
                    .name(&format!("service after {body}")),
            );
        }
    }
    for taken in ["negative", "toolarge", "tagport", "kind", "checkid", "checkid2"] {
        // One of the two took them.
        steps.push(put(format!("/v1/agent/service/deregister/{taken}"), ""));
    }
    steps.extend([
        get("/v1/agent/services"),
        get("/v1/agent/services?pretty"),
        get("/v1/agent/checks"),
        get("/v1/agent/services?filter=Service+==+web"),
        get("/v1/agent/services?filter=Port+==+8080"),
        get("/v1/agent/services?filter=Meta.k+==+v+and+a+in+Tags"),
        get("/v1/agent/services?filter=Bad+==+1"),
        get("/v1/agent/services?filter=("),
        get("/v1/agent/checks?filter=ServiceName+==+web"),
        get("/v1/agent/checks?filter=Status+==+passing"),
        get("/v1/agent/checks?filter=Bad+==+1"),
        get("/v1/catalog/node-services/node1")
            .until("gateway")
            .name("node services in the catalog")
            .ignore("/Services/*/CreateIndex")
            .ignore("/Services/*/ModifyIndex"),
        get("/v1/catalog/service/web")
            .until("node1")
            .ignore("/*/CreateIndex")
            .ignore("/*/ModifyIndex"),
        get("/v1/agent/service/full").header("Accept", "text/plain"),
        get("/v1/agent/service/none"),
        get("/v1/agent/service/"),
        get("/v1/agent/service/full?pretty"),
        get("/v1/agent/service/full?ns=default"),
        put("/v1/agent/service/deregister/full", ""),
        put("/v1/agent/service/deregister/full", ""),
        put("/v1/agent/service/deregister/none", ""),
        put("/v1/agent/service/deregister/", ""),
        put("/v1/agent/service/deregister/sp%20ace", ""),
        put("/v1/agent/service/deregister/consul", ""),
        get("/v1/agent/services?filter=Service+==+web").name("services after deregistration"),
        post("/v1/agent/service/register", r#"{"Name":"x"}"#),
        get("/v1/agent/service/register"),
        delete("/v1/agent/service/deregister/minimal"),
        get("/v1/agent/service/deregister/minimal"),
        put("/v1/agent/service/minimal", ""),
        step("OPTIONS", "/v1/agent/service/register", ""),
        put("/v1/agent/services", ""),
    ]);
    let mut wanted = super::whole(
        &[
            r#"register {"Name":"negative","Port":-1}"#,
            r#"service after {"Name":"negative","Port":-1}"#,
            r#"register {"Name":"toolarge","Port":65536}"#,
            r#"service after {"Name":"toolarge","Port":65536}"#,
            r#"register {"Name":"tagport","TaggedAddresses":{"lan":{"Address":"10.0.0.1","Port":70000}}}"#,
            r#"service after {"Name":"tagport","TaggedAddresses":{"lan":{"Address":"10.0.0.1","Port":70000}}}"#,
            r#"register {"Name":"kind","Kind":"nothing"}"#,
            r#"service after {"Name":"kind","Kind":"nothing"}"#,
        ],
        "what is no port and no kind is refused",
    );
    wanted.extend(super::whole(
        &[
            r#"register {"Name":"checkid","Check":{"ID":"a","CheckID":"b","TTL":"10s"}}"#,
            r#"service after {"Name":"checkid","Check":{"ID":"a","CheckID":"b","TTL":"10s"}}"#,
            r#"register {"Name":"checkid2","Check":{"check_id":"c","ttl":"10s","deregister_critical_service_after":"90m","success_before_passing":2}}"#,
            r#"service after {"Name":"checkid2","Check":{"check_id":"c","ttl":"10s","deregister_critical_service_after":"90m","success_before_passing":2}}"#,
        ],
        "every spelling that files and later versions know is taken",
    ));
    wanted.push(row("register []", "body", "Go's own dump of a type"));
    super::run("agent_service_fields", steps, &wanted);
}

#[test]
fn sidecars() {
    // First while all is in order: the real agent takes services that its catalog then refuses, and one of those keeps
    // others from being synchronised.
    let mut steps: Vec<Step> = vec![
        register(r#"{"Name":"web","Port":8080,"Connect":{"SidecarService":{}}}"#).name("a sidecar"),
        get("/v1/catalog/connect/web")
            .until("web-sidecar-proxy")
            .name("a sidecar in the catalog")
            .ignore_header("X-Consul-Index"),
        register(r#"{"Name":"web","Port":8081,"Connect":{"SidecarService":{}}}"#)
            .name("a sidecar whose parent moves"),
        get("/v1/catalog/connect/web")
            .until("8081")
            .name("a moved sidecar in the catalog")
            .ignore_header("X-Consul-Index"),
        get("/v1/health/connect/web?passing")
            .name("its checks, not looked at yet")
            .ignore_header("X-Consul-Index"),
        put("/v1/agent/service/deregister/web", ""),
        get("/v1/catalog/connect/web")
            .until_not("web-sidecar-proxy")
            .name("no sidecar in the catalog")
            .ignore_header("X-Consul-Index"),
    ];
    for (id, body) in [
        (
            "web",
            r#"{"Name":"web","Port":8080,"Tags":["t"],"Meta":{"m":"1"},"Connect":{"SidecarService":{}}}"#,
        ),
        (
            "db",
            r#"{"name":"db","port":5432,"connect":{"sidecar_service":{"port":20001,"proxy":{"upstreams":[{"destination_name":"web","local_bind_port":9191,"datacenter":"dc1","destination_type":"service","local_bind_address":"127.0.0.2","config":{"connect_timeout_ms":5000,"camelCase":1},"mesh_gateway":{"mode":"local"}}],"config":{"local_connect_timeout_ms":2000,"bind_address":"127.0.0.1"},"local_service_address":"127.0.0.3","local_service_port":99}}}}"#,
        ),
        (
            "db2",
            r#"{"name":"db2","port":5432,"connect":{"sidecar_service":{"port":20002,"proxy":{"upstreams":[{"destination_name":"web","local_bind_port":9191,"datacenter":"dc1","destination_type":"service","local_bind_address":"127.0.0.2","config":{"connect_timeout_ms":5000,"camelCase":1}}],"config":{"local_connect_timeout_ms":2000,"bind_address":"127.0.0.1"},"local_service_address":"127.0.0.3","local_service_port":99}}}}"#,
        ),
        (
            "api",
            r#"{"Name":"api","ID":"api","Port":1,"Connect":{"SidecarService":{"Name":"own-name","Tags":["own"],"Meta":{"own":"1"},"Address":"10.9.9.9","Check":{"TTL":"30s"},"Proxy":{"Config":{"a":1},"Expose":{"Checks":true,"Paths":[{"ListenerPort":21500,"Path":"/x","LocalPathPort":1,"Protocol":"http"}]},"MeshGateway":{"Mode":"remote"}}}}}"#,
        ),
        (
            "nested",
            r#"{"Name":"nested","Connect":{"SidecarService":{"Connect":{"SidecarService":{}}}}}"#,
        ),
        ("withid", r#"{"Name":"withid","Connect":{"SidecarService":{"ID":"own"}}}"#),
        ("noport", r#"{"Name":"noport","Connect":{"SidecarService":{"Checks":[]}}}"#),
        ("nullside", r#"{"Name":"nullside","Connect":{"SidecarService":null}}"#),
        ("nativeside", r#"{"Name":"nativeside","Connect":{"Native":true,"SidecarService":{}}}"#),
        (
            "badup",
            r#"{"Name":"badup","Port":1,"Connect":{"SidecarService":{"Proxy":{"Upstreams":[{"LocalBindPort":1}]}}}}"#,
        ),
        (
            "badup2",
            r#"{"Name":"badup2","Port":1,"Connect":{"SidecarService":{"Proxy":{"Upstreams":[{"DestinationName":"x"}]}}}}"#,
        ),
        (
            "badup3",
            r#"{"Name":"badup3","Port":1,"Connect":{"SidecarService":{"Proxy":{"Upstreams":[{"DestinationType":"nothing","DestinationName":"x","LocalBindPort":5}]}}}}"#,
        ),
        (
            "badup4",
            r#"{"Name":"badup4","Port":1,"Connect":{"SidecarService":{"Proxy":{"Upstreams":[{"DestinationName":"x","LocalBindPort":5},{"DestinationName":"y","LocalBindPort":5}]}}}}"#,
        ),
        (
            "badup5",
            r#"{"Name":"badup5","Port":1,"Connect":{"SidecarService":{"Proxy":{"Upstreams":[{"DestinationName":"x","LocalBindPort":5},{"DestinationName":"x","LocalBindPort":6}]}}}}"#,
        ),
        (
            "badup6",
            r#"{"Name":"badup6","Port":1,"Connect":{"SidecarService":{"Proxy":{"Upstreams":[{"DestinationType":"prepared_query","DestinationName":"q","LocalBindPort":5}]}}}}"#,
        ),
        (
            "badexpose",
            r#"{"Name":"badexpose","Port":1,"Connect":{"SidecarService":{"Proxy":{"Expose":{"Paths":[{"Path":"no"}]}}}}}"#,
        ),
        (
            "badgw",
            r#"{"Name":"badgw","Port":1,"Connect":{"SidecarService":{"Proxy":{"MeshGateway":{"Mode":"nothing"}}}}}"#,
        ),
        (
            "p1",
            r#"{"ID":"p1","Name":"hand-proxy","Kind":"connect-proxy","Port":20010,"Proxy":{"DestinationServiceName":"web","DestinationServiceID":"web","LocalServicePort":8080}}"#,
        ),
        ("p2", r#"{"ID":"p2","Name":"hand-proxy","Kind":"connect-proxy","Port":20011,"Proxy":{}}"#),
        (
            "p3",
            r#"{"ID":"p3","Name":"hand-proxy","Kind":"connect-proxy","Proxy":{"DestinationServiceName":"web"}}"#,
        ),
        (
            "p4",
            r#"{"ID":"p4","Name":"hand-proxy","Kind":"connect-proxy","Port":1,"Proxy":{"DestinationServiceName":"web"},"Connect":{"Native":true}}"#,
        ),
        (
            "p5",
            r#"{"ID":"p5","Name":"hand-proxy","Kind":"connect-proxy","Port":1,"ProxyDestination":"web"}"#,
        ),
        (
            "p6",
            r#"{"id":"p6","name":"hand-proxy","kind":"connect-proxy","port":20012,"proxy":{"destination_service_name":"web","destination_service_id":"web","local_service_address":"127.0.0.1","local_service_port":5,"config":{"bind_port":5},"upstreams":[]}}"#,
        ),
        (
            "p7",
            r#"{"ID":"p7","Name":"p","Kind":"connect-proxy","Port":1,"Proxy":{"DestinationServiceName":"web"},"Connect":{"SidecarService":{}}}"#,
        ),
        (
            "prefix-sidecar-proxy",
            r#"{"Name":"taken","ID":"taken","Port":2,"Connect":{"SidecarService":{"Port":21000}}}"#,
        ),
    ] {
        steps.push(register(body));
        steps.push(get(format!("/v1/agent/service/{id}")).name(&format!("service after {body}")));
        steps.push(
            get(format!("/v1/agent/service/{id}-sidecar-proxy"))
                .name(&format!("sidecar after {body}")),
        );
    }
    // Ours took it.
    steps.push(put("/v1/agent/service/deregister/db", "").name("the other spelling goes again"));
    steps.extend([
        get("/v1/agent/services"),
        get("/v1/agent/checks").ignore("/*/Output").ignore("/*/Status"),
        // The same again keeps the port; a change of the parent keeps it too.
        register(r#"{"Name":"web","Port":8081,"Connect":{"SidecarService":{}}}"#),
        get("/v1/agent/service/web-sidecar-proxy").name("sidecar after a change of its parent"),
        register(r#"{"Name":"web","Port":8081}"#),
        get("/v1/agent/service/web-sidecar-proxy").name("sidecar after its parent came without it"),
        put("/v1/agent/service/deregister/db2", ""),
        get("/v1/agent/service/db2-sidecar-proxy").name("sidecar after its parent went"),
        put("/v1/agent/service/deregister/api-sidecar-proxy", ""),
        get("/v1/agent/service/api").name("parent after its sidecar went"),
        // Hash blocking on one local service.
        get("/v1/agent/service/api")
            .capture_header("hash", "X-Consul-Contenthash")
            .name("hash of a service"),
        get("/v1/agent/service/api?hash={hash}&wait=50ms").waits(Duration::from_millis(50)),
        get("/v1/agent/service/api?hash=other&wait=10s"),
        get("/v1/agent/service/api?hash=&wait=10s"),
        get("/v1/agent/service/api?hash={hash}&wait=x"),
        get("/v1/agent/service/none?hash={hash}&wait=50ms"),
        get("/v1/agent/service/api?hash={hash}&wait=60s").hold("change"),
        register(r#"{"Name":"api","ID":"api","Port":2}"#),
        collect("change"),
        get("/v1/agent/service/api")
            .capture_header("hash", "X-Consul-Contenthash")
            .name("hash after the change"),
        get("/v1/agent/service/api?hash={hash}&wait=60s").hold("removal"),
        put("/v1/agent/service/deregister/api", ""),
        collect("removal"),
    ]);
    let wanted = super::whole(
        &[
            r#"register {"name":"db","port":5432,"connect":{"sidecar_service":{"port":20001,"proxy":{"upstreams":[{"destination_name":"web","local_bind_port":9191,"datacenter":"dc1","destination_type":"service","local_bind_address":"127.0.0.2","config":{"connect_timeout_ms":5000,"camelCase":1},"mesh_gateway":{"mode":"local"}}],"config":{"local_connect_timeout_ms":2000,"bind_address":"127.0.0.1"},"local_service_address":"127.0.0.3","local_service_port":99}}}}"#,
            r#"service after {"name":"db","port":5432,"connect":{"sidecar_service":{"port":20001,"proxy":{"upstreams":[{"destination_name":"web","local_bind_port":9191,"datacenter":"dc1","destination_type":"service","local_bind_address":"127.0.0.2","config":{"connect_timeout_ms":5000,"camelCase":1},"mesh_gateway":{"mode":"local"}}],"config":{"local_connect_timeout_ms":2000,"bind_address":"127.0.0.1"},"local_service_address":"127.0.0.3","local_service_port":99}}}}"#,
            r#"sidecar after {"name":"db","port":5432,"connect":{"sidecar_service":{"port":20001,"proxy":{"upstreams":[{"destination_name":"web","local_bind_port":9191,"datacenter":"dc1","destination_type":"service","local_bind_address":"127.0.0.2","config":{"connect_timeout_ms":5000,"camelCase":1},"mesh_gateway":{"mode":"local"}}],"config":{"local_connect_timeout_ms":2000,"bind_address":"127.0.0.1"},"local_service_address":"127.0.0.3","local_service_port":99}}}}"#,
        ],
        "every spelling that files and later versions know is taken",
    );
    super::run("agent_service_sidecars", steps, &wanted);
}

#[test]
fn health_and_maintenance() {
    let mut steps = vec![
        register(
            r#"{"ID":"w1","Name":"web","Port":1,"Checks":[{"CheckID":"w1:a","TTL":"1h","Status":"passing"},{"CheckID":"w1:b","TTL":"1h","Status":"passing"}]}"#,
        ),
        register(
            r#"{"ID":"w2","Name":"web","Port":2,"Check":{"CheckID":"w2:a","TTL":"1h","Status":"passing"}}"#,
        ),
        register(r#"{"ID":"plain","Name":"plain","Port":3}"#),
    ];
    let look = |steps: &mut Vec<Step>, when: &str| {
        for path in [
            "/v1/agent/health/service/id/w1",
            "/v1/agent/health/service/id/w2",
            "/v1/agent/health/service/name/web",
            "/v1/agent/health/service/name/plain",
            "/v1/agent/health/service/id/w1?format=text",
            "/v1/agent/health/service/name/web?format=text",
        ] {
            // Services and checks come out of sets there.
            steps.push(
                get(path)
                    .unordered("")
                    .unordered("/*/Checks")
                    .unordered("/Checks")
                    .name(&format!("{path} {when}")),
            );
        }
    };
    look(&mut steps, "when all is well");
    steps.push(put("/v1/agent/check/warn/w1:b", ""));
    look(&mut steps, "with a warning");
    steps.push(put("/v1/agent/check/fail/w2:a", ""));
    look(&mut steps, "with a failure");
    steps.extend([
        get("/v1/agent/health/service/id/none"),
        get("/v1/agent/health/service/name/none"),
        get("/v1/agent/health/service/id/"),
        get("/v1/agent/health/service/name/"),
        get("/v1/agent/health/service/id/none?format=text"),
        get("/v1/agent/health/service/name/none?format=text"),
        get("/v1/agent/health/service/name/web?format=json").unordered("").unordered("/*/Checks"),
        get("/v1/agent/health/service/name/web?format=other").unordered("").unordered("/*/Checks"),
        get("/v1/agent/health/service/name/web")
            .header("Accept", "text/plain")
            .unordered("")
            .unordered("/*/Checks"),
        get("/v1/agent/health/service"),
        get("/v1/agent/health/service/name/web?pretty").unordered("").unordered("/*/Checks"),
        put("/v1/agent/health/service/id/w1", ""),
        put("/v1/agent/check/pass/w1:b", ""),
        put("/v1/agent/check/pass/w2:a", ""),
        put("/v1/agent/service/maintenance/w1?enable=true&reason=broken%20disk", ""),
    ]);
    look(&mut steps, "in maintenance");
    steps.extend([
        get("/v1/agent/checks"),
        put("/v1/agent/service/maintenance/w1?enable=true&reason=again", ""),
        get("/v1/agent/checks"),
        get("/v1/health/service/web?passing")
            .until_not("\"w1\"")
            .ignore("/*/Checks/*/CreateIndex")
            .ignore("/*/Checks/*/ModifyIndex")
            .ignore("/*/Service/CreateIndex")
            .ignore("/*/Service/ModifyIndex")
            .ignore("/*/Node/ModifyIndex"),
        put("/v1/agent/service/maintenance/w1?enable=false", ""),
        put("/v1/agent/service/maintenance/w1?enable=false", ""),
        put("/v1/agent/service/maintenance/w2?enable=true", ""),
        get("/v1/agent/checks"),
        put("/v1/agent/service/maintenance/w1?enable=x", ""),
        put("/v1/agent/service/maintenance/w1?enable=", ""),
        put("/v1/agent/service/maintenance/w1", ""),
        put("/v1/agent/service/maintenance/none?enable=true", ""),
        put("/v1/agent/service/maintenance/?enable=true", ""),
        put("/v1/agent/service/maintenance/?enable=x", ""),
        get("/v1/agent/service/maintenance/w1?enable=true"),
        put("/v1/agent/maintenance?enable=true&reason=node%20is%20sick", ""),
    ]);
    look(&mut steps, "with the node in maintenance");
    steps.extend([
        get("/v1/agent/checks"),
        put("/v1/agent/maintenance?enable=true", ""),
        put("/v1/agent/maintenance?enable=x", ""),
        put("/v1/agent/maintenance", ""),
        get("/v1/agent/maintenance?enable=true"),
        get("/v1/health/node/node1")
            .until("_node_maintenance")
            .ignore("/*/CreateIndex")
            .ignore("/*/ModifyIndex"),
        put("/v1/agent/maintenance?enable=false", ""),
        put("/v1/agent/maintenance?enable=false", ""),
        get("/v1/health/node/node1")
            .until_not("_node_maintenance")
            .ignore("/*/CreateIndex")
            .ignore("/*/ModifyIndex"),
        // Checks of a service registered again stay unless told otherwise.
        register(r#"{"ID":"w2","Name":"web","Port":2}"#),
        get("/v1/agent/checks"),
        put(
            "/v1/agent/service/register?replace-existing-checks",
            r#"{"ID":"w1","Name":"web","Port":2,"Check":{"CheckID":"w1:c","TTL":"1h"}}"#,
        ),
        get("/v1/agent/checks"),
        put(
            "/v1/agent/service/register?replace-existing-checks=true",
            r#"{"ID":"w2","Name":"web","Port":2}"#,
        ),
        get("/v1/agent/checks"),
        put(
            "/v1/agent/service/register?replace-existing-checks=maybe",
            r#"{"ID":"w2","Name":"web","Port":2}"#,
        ),
    ]);
    super::run("agent_service_health", steps, &[]);
}
