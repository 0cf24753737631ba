//! What is on disk: files as Consul writes them, and files nobody should have written.

use std::os::unix::fs::PermissionsExt as _;

use model::definition::CheckDefinition;
use model::duration::GoDuration;
use model::query::Token;
use model::service::NodeService;

use super::record::CheckType;
use super::*;
use crate::local::Source;

/// Written by a running Consul 1.8.7.
const SERVICE: &str = r#"{"Token":"tok","Service":{"Kind":"connect-proxy","ID":"web1-sidecar-proxy","Service":"web-sidecar-proxy","Tags":["t1"],"Address":"","Meta":{"m":"1"},"Port":21000,"Weights":{"Passing":1,"Warning":1},"EnableTagOverride":false,"Proxy":{"DestinationServiceName":"web","DestinationServiceID":"web1","LocalServiceAddress":"127.0.0.1","LocalServicePort":8080,"Config":{"a":1},"Upstreams":[{"DestinationType":"service","DestinationName":"db","Datacenter":"","LocalBindPort":99,"Config":null,"MeshGateway":{}}],"MeshGateway":{},"Expose":{}},"Connect":{},"CreateIndex":0,"ModifyIndex":0},"Source":"remote","LocallyRegisteredAsSidecar":true}"#;
const CHECK: &str = r#"{"Check":{"Node":"oracle","CheckID":"h1","Name":"h1","Status":"critical","Notes":"","Output":"","ServiceID":"web1","ServiceName":"web","ServiceTags":null,"Type":"http","Definition":{},"CreateIndex":0,"ModifyIndex":0},"ChkType":{"CheckID":"h1","Name":"h1","Status":"","Notes":"","ScriptArgs":null,"HTTP":"http://127.0.0.1:1/","Header":{"A":["b"]},"Method":"","Body":"","TCP":"","Interval":10000000000,"AliasNode":"","AliasService":"","DockerContainerID":"","Shell":"","GRPC":"","GRPCUseTLS":false,"TLSSkipVerify":false,"Timeout":1000000000,"TTL":0,"SuccessBeforePassing":0,"FailuresBeforeCritical":0,"ProxyHTTP":"","ProxyGRPC":"","DeregisterCriticalServiceAfter":5400000000000,"OutputMaxSize":0},"Token":"","Source":"remote"}"#;
const STATE: &str = r#"{"CheckID":"t1","Output":"ok","Status":"passing","Expires":1795408194}"#;

fn write(dir: &Path, name: &str, content: &str) {
    fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
    fs::write(dir.join(name), content).unwrap();
}

#[tokio::test]
async fn reads_what_consul_wrote() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "services/a", SERVICE);
    write(dir.path(), "services/configs/ignored", "{}");
    write(dir.path(), "checks/b", CHECK);
    write(dir.path(), "checks/state/c", STATE);
    let kept = Persist::new(Some(dir.path())).load().await.unwrap();
    let service = &kept.services[0];
    assert_eq!(service.token(), Token("tok".into()));
    assert!(service.locally_registered_as_sidecar);
    assert_eq!(service.service.proxy.upstreams[0].local_bind_port, 99);
    let definition = CheckDefinition::from(kept.checks[0].chk_type.clone().unwrap());
    assert_eq!(definition.http, "http://127.0.0.1:1/");
    assert_eq!(definition.header["A"], ["b"]);
    assert_eq!(definition.interval, GoDuration::from_secs(10));
    assert_eq!(CheckType::from(&definition), kept.checks[0].chk_type.clone().unwrap());
    assert_eq!((kept.states[0].check_id.as_str(), kept.states[0].expires), ("t1", 1_795_408_194));
}

#[tokio::test]
async fn writes_and_removes_for_the_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let persist = Persist::new(Some(dir.path()));
    persist.load().await.unwrap();
    let service = NodeService { id: "web1".into(), name: "web".into(), ..NodeService::default() };
    let row = Service::new(&service, &Token("secret".into()), Source::Api, false);
    persist.put_service(row).await.unwrap();
    let path = dir.path().join("services/e694aa37abf20c91a442da4841aeccdf");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&dir.path().join("services")), 0o700);
    assert_eq!(mode(&dir.path().join("checks/state")), 0o700);
    let kept = persist.load().await.unwrap();
    assert_eq!(kept.services[0].token(), Token("secret".into()));
    persist.remove_service("web1").await.unwrap();
    persist.remove_service("web1").await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn strange_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "services/half", r#"{"Token":"#);
    write(dir.path(), "services/half.tmp", "garbage of a crash");
    write(dir.path(), "services/empty", "");
    write(dir.path(), "services/other", "[1,2]");
    write(dir.path(), "services/good", SERVICE);
    write(dir.path(), "services/large", &" ".repeat(FILE_BYTES_MAX as usize + 1));
    let kept = Persist::new(Some(dir.path())).load().await.unwrap();
    assert_eq!(kept.services.len(), 1);
    assert!(dir.path().join("services/half").exists());
    assert!(!dir.path().join("services/half.tmp").exists());
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let persist = Persist::new(Some(&dir.path().join("file")));
    let error = persist.load().await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Storage { .. }));
    Persist::new(None).load().await.unwrap();
}
