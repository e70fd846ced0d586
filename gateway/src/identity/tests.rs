#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use exitgate_policy::model::{ClientCertificate, SourceMatch};
use exitgate_policy::snapshot::Snapshot;

fn mapping(name: &str) -> WorkloadMapping {
    serde_json::from_value(serde_json::json!({"name": name, "namespace": "ns"})).unwrap()
}

fn identities(mappings: &[WorkloadMapping]) -> Identities {
    let (set, _) = exitgate_policy::compile(&Snapshot::default());
    let set = set.unwrap();
    Identities::build(mappings, Path::new("/"), |workload| {
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
