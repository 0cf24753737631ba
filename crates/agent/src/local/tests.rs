//! The local state by itself: what is in sync after which change, deferral, reaping.

use super::*;

fn service(id: &str, port: u16) -> Arc<NodeService> {
    Arc::new(NodeService { id: id.into(), name: id.into(), port, ..NodeService::default() })
}

fn check(id: &str, service_id: &str) -> HealthCheck {
    HealthCheck {
        check_id: id.into(),
        service_id: service_id.into(),
        status: CheckStatus::Passing,
        ..HealthCheck::default()
    }
}

fn put(state: &mut LocalState, id: &str, port: u16) {
    let service = service(id, port);
    state.put_service(Arc::clone(&service), service, Token::default(), Source::Api, false);
}

const AT_ONCE: UpdateRules = UpdateRules { defer_for: None, discard_output: false };

#[tokio::test(start_paused = true)]
async fn a_registration_that_changes_nothing_stays_in_sync() {
    let mut state = LocalState::default();
    put(&mut state, "web", 80);
    assert!(!state.services["web"].in_sync);
    state.services.get_mut("web").unwrap().in_sync = true;
    put(&mut state, "web", 80);
    assert!(state.services["web"].in_sync);
    put(&mut state, "web", 81);
    assert!(!state.services["web"].in_sync);
}

#[test]
fn what_is_removed_is_remembered_until_it_returns() {
    let mut state = LocalState::default();
    put(&mut state, "web", 80);
    assert!(state.remove_service("web").is_some());
    assert!(state.remove_service("web").is_none());
    assert!(state.removed_services.contains_key("web"));
    put(&mut state, "web", 80);
    assert!(state.removed_services.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_check_registered_again_keeps_its_status() {
    let mut state = LocalState::default();
    let now = Instant::now();
    state.put_check(check("c", "web"), Token::default(), Source::Api, None, now);
    state.update_check("c", CheckStatus::Warning, "slow", now, AT_ONCE);
    state.put_check(check("c", "web"), Token::default(), Source::Api, None, now);
    let kept = &state.checks["c"].check;
    assert_eq!((kept.status, kept.output.as_str()), (CheckStatus::Warning, "slow"));
}

#[tokio::test(start_paused = true)]
async fn output_alone_may_wait_and_status_may_not() {
    let mut state = LocalState::default();
    let start = Instant::now();
    let rules = UpdateRules { defer_for: Some(Duration::from_secs(300)), discard_output: false };
    state.put_check(check("c", "web"), Token::default(), Source::Api, None, start);
    state.checks.get_mut("c").unwrap().in_sync = true;

    assert!(state.update_check("c", CheckStatus::Passing, "one", start, rules));
    assert!(state.checks["c"].in_sync);
    let due = start + Duration::from_secs(300);
    assert_eq!(state.next_deferred(), Some(due));

    // Further outputs do not push the date.
    let later = start + Duration::from_secs(200);
    assert!(state.update_check("c", CheckStatus::Passing, "two", later, rules));
    assert_eq!(state.next_deferred(), Some(due));
    state.end_deferrals(later);
    assert!(state.checks["c"].in_sync);
    state.end_deferrals(due);
    assert!(!state.checks["c"].in_sync);
    assert_eq!(state.next_deferred(), None);

    state.checks.get_mut("c").unwrap().in_sync = true;
    assert!(state.update_check("c", CheckStatus::Critical, "two", due, rules));
    assert!(!state.checks["c"].in_sync);
    assert!(!state.update_check("c", CheckStatus::Critical, "two", due, rules));
}

#[tokio::test(start_paused = true)]
async fn discarded_output_is_never_kept() {
    let mut state = LocalState::default();
    let now = Instant::now();
    let rules = UpdateRules { defer_for: None, discard_output: true };
    state.put_check(check("c", "web"), Token::default(), Source::Api, None, now);
    assert!(!state.update_check("c", CheckStatus::Passing, "noise", now, rules));
    assert!(state.update_check("c", CheckStatus::Critical, "noise", now, rules));
    assert_eq!(state.checks["c"].check.output, "");
}

#[tokio::test(start_paused = true)]
async fn reaps_only_services_critical_without_a_break() {
    let mut state = LocalState::default();
    let start = Instant::now();
    let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
    let after = Some(Duration::from_secs(600));
    for (id, service) in [("c", "web"), ("node", ""), ("other", "db")] {
        let after = if id == "other" { None } else { after };
        state.put_check(check(id, service), Token::default(), Source::Api, after, start);
        state.update_check(id, CheckStatus::Critical, "", at(0), AT_ONCE);
    }
    assert!(state.services_to_reap(at(10)).is_empty());
    let due = BTreeMap::from([("web".to_owned(), "c".to_owned())]);
    assert_eq!(state.services_to_reap(at(11)), due);

    // A break starts the time anew.
    state.update_check("c", CheckStatus::Passing, "", at(11), AT_ONCE);
    state.update_check("c", CheckStatus::Critical, "", at(12), AT_ONCE);
    assert!(state.services_to_reap(at(22)).is_empty());
    assert_eq!(state.services_to_reap(at(23)), due);
}
