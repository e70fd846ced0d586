#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use exitgate_policy::model::{ClientCertificate, SourceMatch};
use exitgate_policy::snapshot::Snapshot;

fn mapping(name: &str) -> WorkloadMapping {
    serde_json::from_value(serde_json::json!({"name": name, "namespace": "ns"})).unwrap()
}

fn identities(mappings: &[WorkloadMapping]) -> Identities {
    let mut snapshot = Snapshot {
        standalone: true,
        ..Snapshot::default()
    };
    snapshot.settings.workloads = mappings.to_vec();
    built(&snapshot)
}

fn built(snapshot: &Snapshot) -> Identities {
    let (set, _) = exitgate_policy::compile(snapshot);
    let set = set.unwrap();
    Identities::build(snapshot, Path::new("/"), |workload| {
        Arc::new(Member {
            view: set.view(&workload),
            workload: Arc::new(workload),
            share: Arc::default(),
        })
    })
    .unwrap()
}

async fn who(ids: &Identities, source: &str, sans: &[String]) -> Result<String, Reason> {
    let shown = Shown {
        source: source.parse().unwrap(),
        sans,
        credential: None,
    };
    ids.identify(&shown, &Passwords::default())
        .await
        .map(|(m, _)| m.workload.name.clone())
}

#[tokio::test]
async fn without_mappings_everything_is_local() {
    assert_eq!(
        who(&identities(&[]), "192.0.2.1", &[]).await.unwrap(),
        "local"
    );
}

#[tokio::test]
async fn the_narrowest_source_range_counts() {
    let mut wide = mapping("wide");
    wide.source = Some(SourceMatch {
        cidrs: vec!["192.0.2.0/24".into()],
    });
    let mut narrow = mapping("narrow");
    narrow.source = Some(SourceMatch {
        cidrs: vec!["192.0.2.7".into()],
    });
    let ids = identities(&[wide, narrow]);
    assert_eq!(who(&ids, "192.0.2.1", &[]).await.unwrap(), "wide");
    assert_eq!(who(&ids, "::ffff:192.0.2.7", &[]).await.unwrap(), "narrow");
    assert_eq!(
        who(&ids, "198.51.100.1", &[]).await.unwrap_err(),
        Reason::IdentityUnknown
    );
}

#[tokio::test]
async fn certificate_and_source_must_agree() {
    let mut by_cert = mapping("a");
    by_cert.client_certificate = Some(ClientCertificate {
        san: "a.test".into(),
    });
    let mut by_source = mapping("b");
    by_source.source = Some(SourceMatch {
        cidrs: vec!["192.0.2.0/24".into()],
    });
    let ids = identities(&[by_cert, by_source]);
    let san = ["a.test".to_owned()];
    assert_eq!(who(&ids, "198.51.100.1", &san).await.unwrap(), "a");
    assert_eq!(who(&ids, "192.0.2.1", &[]).await.unwrap(), "b");
    assert_eq!(
        who(&ids, "192.0.2.1", &san).await.unwrap_err(),
        Reason::IdentityConflict
    );
}

#[test]
fn credentials_are_read_strictly() {
    assert_eq!(
        basic(b"Basic YTpiOmM=").unwrap(),
        ("a".to_owned(), b"b:c".to_vec())
    );
    for bad in [
        &b"Bearer YTpi"[..],
        b"Basic",
        b"Basic YWI=",
        b"Basic !!",
        b"Basic YTpiAA==",
    ] {
        assert!(basic(bad).is_none());
    }
}

#[tokio::test]
async fn trusted_addresses_name_workloads() {
    let workload = |name: &str, addresses: &[&str]| Workload {
        namespace: "ns".to_owned(),
        name: name.to_owned(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ..Workload::default()
    };
    let mut snapshot = Snapshot {
        workloads: vec![
            workload("one", &["192.0.2.7", "2001:db8::7"]),
            workload("two", &["192.0.2.8", "192.0.2.9"]),
            workload("three", &["192.0.2.9"]),
        ],
        ..Snapshot::default()
    };
    // Nobody said that addresses are trusted, and there is no workload that everything could belong to.
    let unknown = who(&built(&snapshot), "192.0.2.7", &[]).await;
    assert_eq!(unknown.unwrap_err(), Reason::IdentityUnknown);
    snapshot.settings.identity.source_addresses = SourceAddresses::Trusted;
    let ids = built(&snapshot);
    assert_eq!(who(&ids, "192.0.2.7", &[]).await.unwrap(), "one");
    assert_eq!(who(&ids, "::ffff:192.0.2.8", &[]).await.unwrap(), "two");
    assert_eq!(who(&ids, "2001:db8::7", &[]).await.unwrap(), "one");
    let refused = |source: &'static str| {
        let ids = &ids;
        async move { who(ids, source, &[]).await.unwrap_err() }
    };
    assert_eq!(refused("192.0.2.9").await, Reason::IdentityConflict);
    assert_eq!(refused("192.0.2.10").await, Reason::IdentityUnknown);
    // A workload's own address is narrower than a range, and a mapping of it must not say otherwise.
    let mut range = mapping("range");
    range.source = Some(SourceMatch {
        cidrs: vec!["192.0.2.0/24".into()],
    });
    let mut same = mapping("same");
    same.source = Some(SourceMatch {
        cidrs: vec!["192.0.2.8".into()],
    });
    snapshot.settings.workloads = vec![range, same];
    let ids = built(&snapshot);
    assert_eq!(who(&ids, "192.0.2.7", &[]).await.unwrap(), "one");
    assert_eq!(who(&ids, "192.0.2.10", &[]).await.unwrap(), "range");
    assert_eq!(
        who(&ids, "192.0.2.8", &[]).await.unwrap_err(),
        Reason::IdentityConflict
    );
}
