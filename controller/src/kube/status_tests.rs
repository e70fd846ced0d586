#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::api::Kind;

fn key() -> ObjectKey {
    ObjectKey {
        watched: Watched::Document(Kind::EgressPolicy),
        namespace: Some("pay".into()),
        name: "a".into(),
    }
}

fn report(generation: i64, status: ConditionStatus, applied: u32) -> Report {
    Report {
        generation,
        statements: vec![Statement {
            kind: "Programmed",
            status,
            reason: "Counted".into(),
            message: format!("{applied} of 3"),
        }],
        gateways: Some(GatewayCount {
            applied,
            expected: 3,
            waiting: Vec::new(),
        }),
        ..Report::default()
    }
}

#[test]
fn a_condition_keeps_its_time_until_it_changes() {
    let first = next(
        &ObjectStatus::default(),
        &report(1, ConditionStatus::False, 1),
        "t1",
    );
    assert_eq!(first.conditions[0].last_transition_time, "t1");
    let second = next(&first, &report(2, ConditionStatus::False, 2), "t2");
    assert_eq!(second.conditions[0].last_transition_time, "t1");
    assert_eq!(second.conditions[0].observed_generation, Some(2));
    let third = next(&second, &report(2, ConditionStatus::True, 3), "t3");
    assert_eq!(third.conditions[0].last_transition_time, "t3");
    let none = next(&third, &Report::default(), "t4");
    assert!(none.conditions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn counts_wait_and_transitions_do_not() {
    let mut all = Statuses::new();
    let start = Instant::now();
    all.observe(&key(), "u", &ObjectStatus::default());
    let write = |all: &mut Statuses, now: Instant| {
        let due = all.due(now, 10);
        for (key, uid, status) in &due {
            all.written(key, uid, status.clone(), true, now);
        }
        due.len()
    };
    all.report(&key(), &report(1, ConditionStatus::False, 0), start, "t");
    assert_eq!(write(&mut all, start), 1);
    assert_eq!(all.next_due(), None);
    // The same once more is no write.
    all.report(&key(), &report(1, ConditionStatus::False, 0), start, "t");
    assert_eq!(all.next_due(), None);
    // Three counts within the period are one write at its end.
    for (applied, seconds) in [(1, 1), (2, 2)] {
        let now = start + Duration::from_secs(seconds);
        all.report(
            &key(),
            &report(1, ConditionStatus::False, applied),
            now,
            "t",
        );
        assert_eq!(write(&mut all, now), 0);
    }
    assert_eq!(all.next_due(), Some(start + PERIOD));
    assert_eq!(write(&mut all, start + PERIOD), 1);
    // A transition does not wait.
    let now = start + PERIOD + Duration::from_secs(1);
    all.report(&key(), &report(1, ConditionStatus::True, 3), now, "t");
    assert_eq!(write(&mut all, now), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_is_tried_again_and_a_new_object_starts_anew() {
    let mut all = Statuses::new();
    let start = Instant::now();
    all.observe(&key(), "u", &ObjectStatus::default());
    all.report(&key(), &report(1, ConditionStatus::True, 3), start, "t");
    let (key, uid, status) = all.due(start, 10).remove(0);
    all.written(&key, &uid, status.clone(), false, start);
    assert!(all.due(start, 10).is_empty());
    assert_eq!(all.due(start + RETRY, 10).len(), 1);
    // Another object under the same name: what was meant for the first is dropped, and so is its writer's word.
    all.observe(&key, "other", &ObjectStatus::default());
    all.written(&key, &uid, status, true, start);
    assert!(all.next_due().is_none());
    all.forget(&key);
    all.report(&key, &report(1, ConditionStatus::True, 3), start, "t");
    assert!(all.next_due().is_none());
}
