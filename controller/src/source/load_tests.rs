#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::source::testing::Folder;

fn read(folder: &Folder) -> Loaded {
    load(&[folder.path().to_owned()], &Options::default()).unwrap()
}

/// The diagnostics without the folder's own path.
fn shown(folder: &Folder, loaded: &Loaded) -> Vec<String> {
    let prefix = format!("{}/", folder.path().display());
    loaded
        .diagnostics
        .iter()
        .map(|diagnostic| diagnostic.to_string().replace(&prefix, ""))
        .collect()
}

const POLICY: &str = "apiVersion: exitgate.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {name: billing, namespace: pay}\n";

#[test]
fn a_directory_becomes_a_snapshot() {
    let folder = Folder::new(&[
        (
            "a.yaml",
            &format!(
                "{POLICY}spec:\n  rules:\n  - {{name: api, action: Allow, to: {{hosts: [a.io]}}}}\n"
            ),
        ),
        (
            "b.yml",
            "apiVersion: exitgate.dev/v1alpha1\nkind: EgressGateway\nmetadata: {name: edge}\nspec:\n  dns: {hostsFile: hosts}\n  \
             workloads:\n  - {name: w, namespace: pay, source: {cidrs: [127.0.0.1/32]}}\n",
        ),
        ("hosts", "127.0.0.1 a.io\n"),
        (
            "c.json",
            r#"{"apiVersion":"exitgate.dev/v1alpha1","kind":"ClusterEgressDomainSet","metadata":{"name":"ads"},
                "spec":{"hosts":["z.io"],"feed":{"file":"ads.txt"}}}"#,
        ),
        ("ads.txt", "x.io\n*.y.io\n"),
    ]);
    let loaded = read(&folder);
    assert_eq!(shown(&folder, &loaded), [""; 0]);
    let snapshot = &loaded.snapshot;
    assert!(snapshot.standalone);
    assert_eq!((snapshot.gateway.as_str(), loaded.files), ("edge", 3));
    assert_eq!(
        snapshot.settings.dns.hosts_file,
        Some(folder.path().join("hosts").display().to_string())
    );
    assert_eq!(snapshot.workloads[0].name, "w");
    assert_eq!(loaded.named_files, [folder.path().join("ads.txt")]);
    let content = &snapshot.sets[0].content;
    assert!(
        matches!(content, SetContent::Artifact { names, .. } if names.len() == 3),
        "{content:?}"
    );
}

#[test]
fn an_empty_directory_has_one_workload_and_no_policy() {
    let folder = Folder::new(&[]);
    let loaded = read(&folder);
    assert!(loaded.is_empty());
    assert_eq!(
        (
            loaded.snapshot.workloads[0].namespace.as_str(),
            loaded.snapshot.workloads[0].name.as_str()
        ),
        ("default", "local")
    );
}

#[test]
fn all_problems_of_all_files_are_reported_at_once() {
    let folder = Folder::new(&[
        (
            "a.yaml",
            &format!(
                "{POLICY}spec:\n  mode: enforce\n  rules:\n  - name: api\n    action: Alow\n    to:\n      host: [a.io]\n      ports: [[1]]\n"
            ),
        ),
        (
            "b.yaml",
            "apiVersion: exitgate.dev/v1alpha1\nkind: EgresPolicy\nmetadata: {name: x}\nspec: {}\n",
        ),
        (
            "c.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_Name}\n",
        ),
        ("d.yaml", "a: [1\n"),
        (
            "e.yaml",
            "apiVersion: exitgate.dev/v1alpha1\nkind: EgressGateway\nmetadata: {name: g, namespace: x}\nspec: {}\n---\n- 1\n",
        ),
        (
            "f.yaml",
            "apiVersion: exitgate.dev/v1alpha1\nkind: EgressGateway\nmetadata: {name: g}\nspec:\n  timeouts: {dial: 5 seconds}\n",
        ),
    ]);
    let loaded = read(&folder);
    let found = shown(&folder, &loaded);
    let expected = [
        "a.yaml:5: error: spec.mode: \"enforce\" is not one of Audit, Enforce; did you mean \"Enforce\"?",
        "a.yaml:8: error: spec.rules[0].action: \"Alow\" is not one of Alert, Allow, Deny, Next, Pass; did you mean \"Allow\"?",
        "a.yaml:10: error: spec.rules[0].to.host: unknown field; did you mean \"hosts\"?",
        "a.yaml:11: error: spec.rules[0].to.ports[0]: expected a whole number or text, found a list",
        "b.yaml:2: error: kind: unknown kind \"EgresPolicy\"; did you mean \"EgressPolicy\"?",
        "c.yaml:1: error: apiVersion: \"v1\" is not known; write exitgate.dev/v1alpha1",
    ];
    for line in expected {
        assert!(
            found.iter().any(|found| found == line),
            "{line} missing from {found:#?}"
        );
    }
    for start in [
        "c.yaml:3: error: metadata.name: must be lower-case",
        "d.yaml:2: error: not valid YAML",
        "e.yaml:3: error: metadata.namespace: EgressGateway belongs to the cluster",
        "e.yaml:6: error: a document must be a mapping",
        "f.yaml:5: error: spec.timeouts.dial: \"5 seconds\" is not a length of time",
    ] {
        assert!(
            found.iter().any(|found| found.starts_with(start)),
            "{start} missing from {found:#?}"
        );
    }
}

#[test]
fn duplicates_name_the_first_place() {
    let policy = format!("{POLICY}spec: {{}}\n");
    let folder = Folder::new(&[
        ("a.yaml", &policy),
        ("b.yaml", &format!("# note\n{policy}")),
    ]);
    let loaded = read(&folder);
    let found = shown(&folder, &loaded);
    assert_eq!(
        found,
        ["b.yaml:4: error: metadata.name: EgressPolicy pay/billing is already defined at a.yaml:1"]
    );
}

#[test]
fn words_that_the_type_accepts_in_another_case_pass() {
    let rule = "- {name: r, action: Allow, to: {hosts: [a.io]}, tls: {sni: absent}}";
    let folder = Folder::new(&[("a.yaml", &format!("{POLICY}spec:\n  rules:\n  {rule}\n"))]);
    assert_eq!(shown(&folder, &read(&folder)), [""; 0]);
}

#[test]
fn numbers_where_text_is_meant_get_a_hint() {
    let rule = "- {name: r, action: Allow, to: {hosts: [a.io]}, tls: {minVersion: 1.2}}";
    let folder = Folder::new(&[("a.yaml", &format!("{POLICY}spec:\n  rules:\n  {rule}\n"))]);
    let loaded = read(&folder);
    let found = shown(&folder, &loaded);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("put it in quotes"), "{found:?}");
}

#[test]
fn an_unreadable_list_keeps_its_content_or_is_unavailable() {
    let set = "apiVersion: exitgate.dev/v1alpha1\nkind: ClusterEgressDomainSet\nmetadata: {name: ads}\nspec: {feed: {file: ads.txt}}\n";
    let folder = Folder::new(&[("a.yaml", set), ("ads.txt", "x.io\n")]);
    let good = read(&folder);
    std::fs::remove_file(folder.path().join("ads.txt")).unwrap();
    let paths = [folder.path().to_owned()];
    let kept = load(
        &paths,
        &Options {
            previous: Some(&good),
            strict: false,
        },
    )
    .unwrap();
    assert!(
        matches!(&kept.snapshot.sets[0].content, SetContent::Artifact { names, .. } if names.len() == 1)
    );
    assert!(!kept.has_errors());
    let none = read(&folder);
    assert!(matches!(
        none.snapshot.sets[0].content,
        SetContent::Unavailable
    ));
    assert!(!none.has_errors());
    let strict = load(
        &paths,
        &Options {
            previous: None,
            strict: true,
        },
    )
    .unwrap();
    assert!(strict.has_errors());
}

#[test]
fn lists_as_kubectl_writes_them_are_read() {
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: exitgate.dev/v1alpha1\n  kind: EgressPolicy\n  metadata:\n    \
                name: a\n    creationTimestamp: null\n    resourceVersion: \"12\"\n  spec: {}\n";
    let folder = Folder::new(&[("a.yaml", list)]);
    let loaded = read(&folder);
    assert_eq!(shown(&folder, &loaded), [""; 0]);
    assert_eq!(loaded.snapshot.policies.len(), 1);
}

#[test]
fn two_gateways_and_contradicting_workloads_are_errors() {
    let gateway = |name: &str, rest: &str| {
        format!(
            "apiVersion: exitgate.dev/v1alpha1\nkind: EgressGateway\nmetadata: {{name: {name}}}\nspec:\n  {rest}\n"
        )
    };
    let folder = Folder::new(&[
        (
            "a.yaml",
            &gateway("a", "workloads: [{name: w, labels: {x: y}}, {name: w}]"),
        ),
        ("b.yaml", &gateway("b", "scope: Node")),
    ]);
    let loaded = read(&folder);
    let found = shown(&folder, &loaded);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("a.yaml:5: error: spec.workloads[1].name: default/w is named above")
    );
    assert!(found[1].starts_with("b.yaml:2: error: kind: a directory describes one gateway"));
}

#[test]
fn values_of_credentials_travel_apart() {
    let credential = |name: &str, file: &str| {
        format!(
            "apiVersion: exitgate.dev/v1alpha1\nkind: EgressCredential\nmetadata: {{name: {name}, namespace: pay}}\nspec:\n  \
             header: Authorization\n  prefix: \"Bearer \"\n  hosts: [a.io]\n  valueFrom:\n    file: {file}\n"
        )
    };
    let folder = Folder::new(&[
        ("a.yaml", &credential("card-key", "card.key")),
        ("b.yaml", &credential("other", "none.key")),
        ("card.key", "hunter2\n"),
    ]);
    let mut loaded = read(&folder);
    let key = ("pay".to_owned(), "card-key".to_owned());
    assert_eq!(loaded.secrets[&key].expose(), b"hunter2");
    assert_eq!(loaded.secrets.len(), 1);
    let shown = shown(&folder, &loaded);
    assert_eq!(shown.len(), 1);
    assert!(
        shown[0].starts_with("b.yaml:9: warning: spec.valueFrom.file: none.key cannot be read"),
        "{shown:?}"
    );
    assert_eq!(
        loaded.named_files,
        [
            folder.path().join("card.key"),
            folder.path().join("none.key")
        ]
    );
    assert!(loaded.compile().is_some(), "{:#?}", loaded.diagnostics);
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let revision = loaded.snapshot.revision();
    std::fs::write(folder.path().join("card.key"), "hunter3").unwrap();
    let changed = read(&folder);
    assert_eq!(changed.snapshot.revision(), revision);
    assert_ne!(changed.secrets, loaded.secrets);
}
