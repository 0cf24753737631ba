//! The loops of checks in paused time.

use model::check::HealthCheck;
use tokio::net::TcpListener;

use super::*;
use crate::local::Source;
use crate::testing::FakeCluster;

const AT_ONCE: UpdateRules = UpdateRules { defer_for: None, discard_output: false };

struct Setup {
    local: Arc<Local>,
    runners: Runners,
    tasks: TaskTracker,
}

fn setup(ids: &[&str]) -> Setup {
    let local = Arc::new(Local::default());
    local.change(|state| {
        for id in ids {
            let check = HealthCheck { check_id: (*id).into(), ..HealthCheck::default() };
            state.put_check(check, Token::default(), Source::Api, None, Instant::now());
        }
    });
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let cluster: Arc<dyn Cluster> = FakeCluster::new();
    let runners = Runners::new(Arc::clone(&local), cluster, Token::default(), stop, tasks.clone());
    Setup { local, runners, tasks }
}

fn job(id: &str, work: Work) -> Job {
    Job {
        check_id: id.into(),
        work,
        output_bytes_max: 10,
        success_before_passing: 0,
        failures_before_critical: 0,
        update_interval: Duration::ZERO,
        discard_output: false,
    }
}

fn shown(local: &Local, id: &str) -> (CheckStatus, String) {
    let state = local.read();
    let check = &state.checks[id].check;
    (check.status, check.output.clone())
}

async fn until(local: &Local, id: &str, status: CheckStatus) {
    loop {
        let watcher = local.watch_checks("");
        let notified = watcher.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if shown(local, id).0 == status {
            return;
        }
        notified.await;
    }
}

#[tokio::test(start_paused = true)]
async fn telling_renews_and_silence_expires() {
    let Setup { local, runners, .. } = setup(&["t"]);
    runners.start(job("t", Work::Ttl(Duration::from_secs(10))));
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        runners.tell("t", CheckStatus::Passing, "ok").unwrap();
        assert_eq!(shown(&local, "t").0, CheckStatus::Passing);
    }
    let start = Instant::now();
    until(&local, "t", CheckStatus::Critical).await;
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    let long = runners.tell("t", CheckStatus::Passing, "0123456789abc").unwrap();
    assert_eq!(long.output, "0123456789 ... (captured 10 of 13 bytes)");
    assert!(runners.tell("other", CheckStatus::Passing, "").is_none());
    assert_eq!(runners.counts(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_check_changes_nothing_any_more() {
    let Setup { local, runners, tasks } = setup(&["t"]);
    runners.start(job("t", Work::Ttl(Duration::from_secs(10))));
    runners.tell("t", CheckStatus::Passing, "ok").unwrap();
    runners.stop("t");
    tasks.close();
    tasks.wait().await;
    assert_eq!(shown(&local, "t").0, CheckStatus::Passing);
    assert!(runners.tell("t", CheckStatus::Passing, "").is_none());
}

#[tokio::test]
async fn a_probe_is_repeated() {
    let Setup { local, runners, .. } = setup(&["p"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let work = Work::Probe {
        probe: Probe::Tcp(address),
        interval: Duration::from_millis(10),
        timeout: Duration::from_secs(5),
    };
    runners.start(job("p", work));
    until(&local, "p", CheckStatus::Passing).await;
    drop(listener);
    until(&local, "p", CheckStatus::Critical).await;
    assert_eq!(runners.counts(), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_alias_follows_what_is_registered_here() {
    let Setup { local, runners, .. } = setup(&["alias", "other"]);
    runners.start(job("alias", Work::Alias { node: String::new(), service: String::new() }));
    until(&local, "alias", CheckStatus::Critical).await;
    local.update_check("other", CheckStatus::Passing, "", AT_ONCE);
    until(&local, "alias", CheckStatus::Passing).await;
    local.update_check("other", CheckStatus::Warning, "slow", AT_ONCE);
    until(&local, "alias", CheckStatus::Warning).await;
}
