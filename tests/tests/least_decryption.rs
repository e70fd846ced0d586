//! TLS is opened where a verdict needs it and nowhere else: the client compares the certificate that it is shown with
//! the origin's own, and every record says whether anything was opened.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use exitgate_tests::documents;
use exitgate_tests::opened::{Opened, get};
use exitgate_tests::origin::Origin;
use exitgate_tests::pki::Leaf;
use exitgate_tests::records::Record;
use exitgate_tests::scene::REQUEST;
use exitgate_tests::tunnel;
use exitgate_tests::world::{ORIGIN, Plan, Reached, World};

/// A world with one origin, whose certificate is known.
struct Scene {
    world: World,
    opened: Opened,
    leaf: Leaf,
    port: u16,
}

impl Scene {
    async fn new(opened: Opened, plan: Plan) -> Self {
        let mut world = plan.start().await;
        world.may_ask(&["ok.test", "also.test"]);
        let leaf = opened.origins.leaf(&["ok.test", "also.test"]);
        let config = opened.origins.server_config_of(&leaf, &["http/1.1"]);
        let number = world.add(Origin::https(ORIGIN, config).await, Reached::Unchecked);
        let port = world.origin(number).port();
        Self {
            world,
            opened,
            leaf,
            port,
        }
    }

    async fn rules(rules: &str) -> Self {
        let opened = Opened::new();
        let plan = opened.plan(rules);
        Self::new(opened, plan).await
    }

    /// A request inside TLS: whether the certificate was the gateway's, and the status that came back.
    async fn ask(&self, name: &str, method: &str) -> (bool, u16) {
        let config = self.opened.gateway.client_config_with(&self.opened.origins);
        let tunnel = self.world.tunnel(&format!("{name}:{}", self.port)).await;
        let (mut wire, shown) = tunnel::shown(tunnel, name, config).await.unwrap();
        let host = format!("{name}:{}", self.port);
        let request = get(&host, "/").replacen("GET", method, 1);
        let status = wire.ask(request).await.status;
        (shown != self.leaf.certificate, status)
    }

    async fn untouched(&self, name: &str) {
        for method in ["GET", "DELETE"] {
            assert_eq!(
                self.ask(name, method).await,
                (false, 200),
                "{method} {name}"
            );
        }
    }

    async fn opened(&self, name: &str) {
        assert_eq!(self.ask(name, "GET").await, (true, 200), "GET {name}");
    }

    async fn refused_inside(&self, name: &str) {
        let answer = self.ask(name, "DELETE").await;
        assert_eq!(answer, (true, 403), "DELETE {name}");
    }

    /// Stops the gateway: what was opened, and nothing else, has records of requests.
    async fn records(mut self) -> Vec<Record> {
        assert_eq!(self.world.gateway.stop().await, Some(0));
        let records = self.world.gateway.records.log.all();
        for record in &records {
            let problem = record.incomplete();
            assert!(problem.is_none(), "{problem:?}: {record:#?}");
            let request = record.class() == REQUEST;
            assert!(!request || record.intercepted(), "{record:#?}");
        }
        records
    }

    /// Stops the gateway: nothing at all was opened in this many connections.
    async fn nothing_opened(self, connections: usize) -> Vec<Record> {
        let records = self.records().await;
        assert_eq!(records.len(), connections, "{records:#?}");
        for record in &records {
            assert!(!record.intercepted(), "{record:#?}");
            assert_eq!(record.assurance(), "NameResolved", "{record:#?}");
            let inside = record.0.get("http_request").is_none_or(|head| {
                // A CONNECT has a method of its own.
                head["http_method"] == "CONNECT"
            });
            assert!(inside, "{record:#?}");
        }
        records
    }
}

/// Names alone.
const BOTH: &str = "  - name: names
    action: Allow
    to: {hosts: [ok.test, also.test]}
";

/// Names alone, and one host of which only the method GET is allowed.
const ONE_BY_METHOD: &str = "  - name: read
    action: Allow
    to: {hosts: [ok.test]}
    http: {methods: [GET]}
  - name: names
    action: Allow
    to: {hosts: [also.test]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_needs_no_content_opens_nothing() {
    let scene = Scene::rules(BOTH).await;
    scene.untouched("ok.test").await;
    scene.untouched("also.test").await;
    scene.nothing_opened(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_method_rule_opens_only_its_host() {
    let scene = Scene::rules(BOTH).await;
    scene.untouched("ok.test").await;
    let rules = documents::policy(ONE_BY_METHOD);
    scene.world.gateway.documents.replace("world.yaml", &rules);
    scene.world.gateway.says("applied revision=").await;
    scene.opened("ok.test").await;
    scene.refused_inside("ok.test").await;
    scene.untouched("also.test").await;
    only_ok_test(scene).await;
}

async fn only_ok_test(scene: Scene) {
    let records = scene.records().await;
    let requests = records
        .iter()
        .filter(|record| record.class() == REQUEST)
        .collect::<Vec<_>>();
    assert_eq!(requests.len(), 2, "{records:#?}");
    for record in records {
        let other = record.host() == "also.test";
        assert!(!(other && record.intercepted()), "{record:#?}");
    }
}

/// Each of these looks inside `ok.test`, and none of them has a reason to look inside `also.test`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_needs_content_opens_only_its_host() {
    for rule in [
        "{action: Deny, to: {hosts: [ok.test]}, http: {methods: [DELETE]}}",
        "{action: Deny, to: {hosts: [ok.test]}, http: {paths: [/never]}}",
        "{action: Deny, to: {hosts: [ok.test]}, response: {contentTypes: [text/html]}}",
        "{action: Allow, to: {hosts: [ok.test]}, tls: {mode: Inspect}}",
        "{action: Alert, to: {hosts: [ok.test]}, tls: {mode: Inspect}}",
    ] {
        let rule = rule.replacen('{', "{name: content, ", 1);
        let scene = Scene::rules(&format!("{BOTH}  - {rule}\n")).await;
        let (shown, status) = scene.ask("ok.test", "GET").await;
        assert_eq!((shown, status), (true, 200), "{rule}");
        let (shown, _) = scene.ask("ok.test", "DELETE").await;
        assert!(shown, "{rule}");
        scene.untouched("also.test").await;
        only_ok_test(scene).await;
    }
}

/// An Audit policy with the same rules: everything passes unopened, and the records say what could not be told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_policy_opens_nothing() {
    let opened = Opened::new();
    let audit = documents::policy(ONE_BY_METHOD)
        .replace("name: world", "name: trial")
        .replace("spec:\n", "spec:\n  mode: Audit\n  replaces: world\n");
    let plan = opened.plan(BOTH).document(&audit);
    let scene = Scene::new(opened, plan).await;
    scene.untouched("ok.test").await;
    scene.untouched("also.test").await;
    for record in scene.nothing_opened(4).await {
        let shadow = record.0.pointer("/exitgate/shadow");
        let expected = record.host() == "ok.test";
        assert_eq!(shadow.is_some(), expected, "{record:#?}");
        if let Some(shadow) = shadow {
            let text = shadow.to_string();
            assert!(text.contains("would_need_content"), "{record:#?}");
        }
    }
}

/// A fleet that only audits: rules that would open TLS, or refuse, do neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_audits_opens_nothing() {
    let opened = Opened::new();
    let settings = opened.settings("  enforcement: {mode: Audit}\n");
    let plan = Plan::rules(ONE_BY_METHOD).settings(&settings);
    let scene = Scene::new(opened, plan).await;
    scene.untouched("ok.test").await;
    scene.untouched("also.test").await;
    scene.nothing_opened(4).await;
}

/// A host that is exempt is not opened, whatever a policy says: a rule that would have to look does not match.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exempt_host_is_never_opened() {
    let opened = Opened::new().tls("    exempt: [ok.test]\n");
    let rules = format!(
        "{BOTH}  - {{name: never, action: Alert, to: {{hosts: [ok.test]}}, tls: {{mode: Inspect}}}}\n"
    );
    let plan = opened.plan(&rules);
    let scene = Scene::new(opened, plan).await;
    scene.untouched("ok.test").await;
    scene.untouched("also.test").await;
    scene.nothing_opened(4).await;
}

/// The same by a policy of the platform's team, above what a namespace asks for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passthrough_above_keeps_a_host_closed() {
    let opened = Opened::new();
    let above = "apiVersion: exitgate.dev/v1alpha1
kind: ClusterEgressPolicy
metadata: {name: private}
spec:
  tier: Admin
  rules:
  - {name: private, action: Next, to: {hosts: [ok.test]}, tls: {mode: Passthrough}}
";
    let rules = format!(
        "{BOTH}  - {{name: never, action: Deny, to: {{hosts: [ok.test]}}, http: {{methods: [DELETE]}}}}\n"
    );
    let plan = opened.plan(&rules).document(above);
    let scene = Scene::new(opened, plan).await;
    scene.untouched("ok.test").await;
    scene.untouched("also.test").await;
    scene.nothing_opened(4).await;
}

/// Without inspection there is nothing to open: the same rules compile, and what needs content cannot match.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_inspection_nothing_is_opened() {
    let opened = Opened::new();
    let scene = Scene::new(opened, Plan::rules(ONE_BY_METHOD)).await;
    scene.untouched("also.test").await;
    let config = scene
        .opened
        .gateway
        .client_config_with(&scene.opened.origins);
    let tunnel = scene.world.tunnel(&format!("ok.test:{}", scene.port)).await;
    let closed = tunnel::shown(tunnel, "ok.test", config).await;
    assert!(
        closed.is_err(),
        "a host was let through by a rule that could not be judged"
    );
    let records = scene.records().await;
    let denied = records.iter().find(|record| record.host() == "ok.test");
    let denied = denied.unwrap();
    assert_eq!(
        (denied.verdict(), denied.reason()),
        ("deny", "uninspectable"),
        "{denied:#?}"
    );
}
