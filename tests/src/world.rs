//! One row's world, and what must hold at the end of every row.
//!
//! A row says what it expects while it runs ([`World::refused`], [`World::allowed`], …); [`World::finish`] stops the
//! gateway, so that nothing can come afterwards, and compares: accepts and bytes at every origin, queries at the name
//! server, and the records: exactly those expected, each complete.

use std::net::SocketAddr;

use crate::client::{Answer, Wire};
use crate::dns::DnsStub;
use crate::documents;
use crate::gateway::{Folder, Gateway, Launch};
use crate::origin::Origin;
use crate::records::Record;

/// What a world is made of.
pub struct Plan {
    internet: &'static str,
    policy: String,
    settings: Option<String>,
    more: Vec<String>,
    arguments: Vec<(String, String)>,
    descriptors: Option<u32>,
}

impl Default for Plan {
    fn default() -> Self {
        Self::rules(documents::NAMES)
    }
}

impl Plan {
    /// A namespace policy with these rules.
    pub fn rules(rules: &str) -> Self {
        Self {
            internet: documents::INTERNET,
            policy: documents::policy(rules),
            settings: None,
            more: Vec::new(),
            arguments: Vec::new(),
            descriptors: None,
        }
    }

    pub fn everything() -> Self {
        Self::rules(documents::EVERYTHING)
    }

    pub fn with_v6(mut self) -> Self {
        self.internet = documents::INTERNET_WITH_V6;
        self
    }

    /// The lines of `EgressGateway.spec`, indented by two.
    pub fn settings(mut self, spec: &str) -> Self {
        self.settings = Some(documents::settings(spec));
        self
    }

    pub fn document(mut self, text: &str) -> Self {
        self.more.push(text.into());
        self
    }

    pub fn argument(mut self, flag: &str, value: &str) -> Self {
        self.arguments.push((flag.into(), value.into()));
        self
    }

    pub fn descriptors(mut self, limit: u32) -> Self {
        self.descriptors = Some(limit);
        self
    }

    pub async fn start(self) -> World {
        let folder = Folder::new();
        folder.write("internet.yaml", self.internet);
        folder.write("world.yaml", &self.policy);
        if let Some(settings) = &self.settings {
            folder.write("gateway.yaml", settings);
        }
        for (index, text) in self.more.iter().enumerate() {
            folder.write(&format!("more-{index}.yaml"), text);
        }
        let dns = DnsStub::start().await;
        let mut launch = Launch::new(folder).dns(dns.address);
        for (flag, value) in &self.arguments {
            launch = launch.argument(flag, value);
        }
        launch.descriptors = self.descriptors;
        for name in [
            "ok.test",
            "also.test",
            "bad.test",
            "*.wild.test",
            "*.ok.test",
        ] {
            dns.point(name, ORIGIN);
        }
        dns.point("int.test", PRIVATE);
        let mapped = self
            .settings
            .is_some_and(|settings| settings.contains("workloads:"));
        World {
            proxy: SocketAddr::from(([0, 0, 0, 0], 0)),
            gateway: launch.start().await,
            dns,
            mapped,
            origins: Vec::new(),
            expected: Vec::new(),
            queries: Queries::None,
            tolerated: None,
        }
        .ready()
    }
}

/// Where the names of the world live.
pub const ORIGIN: &str = "127.1.0.1";
/// An address that nothing opens.
pub const PRIVATE: &str = "127.2.0.1";

/// Reasons of a decision by policy or floor: those have a phase. The others are refused before any decision.
const POLICY_REASONS: &[&str] = &[
    "rule-denied",
    "no-rule",
    "default-deny",
    "metadata",
    "loopback",
    "unspecified",
    "multicast",
    "link-local",
    "non-public",
    "cluster-internal",
    "embedded-ipv4",
    "self",
    "name-mismatch",
    "port-mismatch",
    "sni-missing",
    "uninspectable",
    "set-unavailable",
    "unresolved-address",
    "policy-error",
    "credential-unavailable",
    "inject-conflict",
    "inject-impossible",
];

/// What an origin may have seen at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// No connection at all.
    Never,
    /// Dialled for a CONNECT, and not one byte.
    Silently,
    /// Exactly so many connections.
    Times(usize),
    /// The row looks itself.
    Unchecked,
}

/// What the name server may have been asked.
#[derive(Clone, Debug)]
pub enum Queries {
    None,
    /// Only these names.
    Only(Vec<String>),
}

/// One record that must be there at the end.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    verdict: &'static str,
    reasons: Vec<String>,
    phase: Option<&'static str>,
    rule: Option<String>,
    decision: Option<String>,
    host: Option<String>,
    class: Option<u64>,
    workload: Option<(&'static str, &'static str)>,
}

impl Expected {
    /// Whose traffic it must be: namespace and name.
    pub fn workload(&mut self, namespace: &'static str, name: &'static str) -> &mut Self {
        self.workload = Some((namespace, name));
        self
    }

    pub fn phase(&mut self, phase: &'static str) -> &mut Self {
        self.phase = Some(phase);
        self
    }

    pub fn rule(&mut self, rule: &str) -> &mut Self {
        self.rule = Some(rule.into());
        self
    }

    /// The name as the record must show it.
    pub fn host(&mut self, host: &str) -> &mut Self {
        self.host = Some(host.into());
        self
    }

    fn fits(&self, record: &Record) -> bool {
        let reason =
            self.reasons.is_empty() || self.reasons.iter().any(|reason| reason == record.reason());
        let verdict = match self.verdict {
            // A request that is not even one is an error or a denial; both refuse.
            "refused" => matches!(record.verdict(), "deny" | "error"),
            "any" => true,
            verdict => verdict == record.verdict(),
        };
        verdict
            && reason
            && self.phase.is_none_or(|phase| phase == record.phase())
            && self
                .rule
                .as_deref()
                .is_none_or(|rule| rule == record.rule())
            && self
                .decision
                .as_deref()
                .is_none_or(|decision| decision == record.decision())
            && self
                .host
                .as_deref()
                .is_none_or(|host| host == record.host())
            && self.class.is_none_or(|class| class == record.class())
            && self
                .workload
                .is_none_or(|workload| Some(workload) == record.workload())
    }
}

pub struct World {
    pub proxy: SocketAddr,
    pub gateway: Gateway,
    pub dns: DnsStub,
    /// The settings say who is who: rows then name the workload of each record themselves.
    mapped: bool,
    origins: Vec<(Origin, Reached)>,
    expected: Vec<Expected>,
    queries: Queries,
    tolerated: Option<fn(&Record) -> bool>,
}

impl World {
    pub async fn start() -> Self {
        Plan::default().start().await
    }

    fn ready(mut self) -> Self {
        self.proxy = self.gateway.proxy;
        self
    }

    /// Gives an origin to the world, which checks it at the end; returns its number.
    pub fn add(&mut self, origin: Origin, reached: Reached) -> usize {
        self.origins.push((origin, reached));
        self.origins.len() - 1
    }

    pub fn origin(&self, number: usize) -> &Origin {
        &self.origins[number].0
    }

    pub fn reached(&mut self, number: usize, reached: Reached) {
        self.origins[number].1 = reached;
    }

    /// The name server may be asked for these names and no other.
    pub fn may_ask(&mut self, names: &[&str]) {
        self.queries = Queries::Only(names.iter().map(ToString::to_string).collect());
    }

    pub async fn client(&self) -> Wire {
        Wire::open(self.proxy).await
    }

    /// Checks a refusal as the client sees it and expects its one record.
    pub fn refused(&mut self, answer: &Answer, status: u16, reasons: &[&str]) -> &mut Expected {
        assert_eq!(
            answer.header("connection").to_lowercase(),
            "close",
            "{}{}",
            answer.head,
            answer.text()
        );
        self.stream_refused(answer, status, reasons)
    }

    /// The same for one stream of a connection that goes on.
    pub fn stream_refused(
        &mut self,
        answer: &Answer,
        status: u16,
        reasons: &[&str],
    ) -> &mut Expected {
        let shown = format!("{}{}", answer.head, answer.text());
        assert_eq!(answer.status, status, "{shown}");
        let reason = answer.header("exitgate-reason");
        assert!(
            reasons.contains(&reason),
            "reason {reason:?}, not one of {reasons:?}: {shown}"
        );
        assert!(
            !answer.header("exitgate-decision").is_empty(),
            "no decision id: {shown}"
        );
        if status == 403 {
            assert_eq!(
                answer.header("content-type"),
                "application/problem+json",
                "{shown}"
            );
            let problem = answer.json();
            assert_eq!(problem["reason"], reason, "{shown}");
            assert_eq!(
                problem["decisionId"],
                answer.header("exitgate-decision"),
                "{shown}"
            );
            if POLICY_REASONS.contains(&reason) {
                assert!(problem["phase"].is_string(), "no phase: {shown}");
            }
            assert!(
                problem.get("policy").is_some() && problem.get("rule").is_some(),
                "{shown}"
            );
        }
        self.expected.push(Expected {
            verdict: "refused",
            reasons: vec![reason.into()],
            decision: Some(answer.header("exitgate-decision").into()),
            ..Expected::default()
        });
        self.expected.last_mut().unwrap()
    }

    /// Any number of records like this may be there beyond those expected: of a flood that ends at no fixed point.
    pub fn tolerates(&mut self, like: fn(&Record) -> bool) {
        self.tolerated = Some(like);
    }

    /// Expects one record of something that was let through.
    pub fn allowed(&mut self) -> &mut Expected {
        self.expected.push(Expected {
            verdict: "allow",
            ..Expected::default()
        });
        self.expected.last_mut().unwrap()
    }

    /// Expects one record of a flow whose verdict is not what the row is about.
    pub fn any_record(&mut self) {
        self.expected.push(Expected {
            verdict: "any",
            ..Expected::default()
        });
    }

    /// Expects one record of a refusal that the client could not be told (a closed tunnel).
    pub fn closed(&mut self, reasons: &[&str]) -> &mut Expected {
        let reasons = reasons.iter().map(ToString::to_string).collect();
        self.expected.push(Expected {
            verdict: "refused",
            reasons,
            ..Expected::default()
        });
        self.expected.last_mut().unwrap()
    }

    /// Expects one record of something that was let through and that the gateway ended for this reason.
    pub fn closed_after_allow(&mut self, reasons: &[&str]) -> &mut Expected {
        let expected = self.closed(reasons);
        expected.verdict = "any";
        expected
    }

    /// A CONNECT that is refused, the connection closed after the refusal.
    pub async fn connect_refused(
        &mut self,
        target: &str,
        status: u16,
        reasons: &[&str],
    ) -> &mut Expected {
        self.request_refused(crate::client::connect_head(target), status, reasons)
            .await
    }

    /// Any first request that is refused, the connection closed after the refusal.
    pub async fn request_refused(
        &mut self,
        request: impl AsRef<[u8]>,
        status: u16,
        reasons: &[&str],
    ) -> &mut Expected {
        let mut wire = self.client().await;
        // The gateway may answer and close before it has read everything.
        wire.offer(&request).await;
        let answer = wire.answer().await;
        let end = wire.rest().await;
        assert!(
            end.0.is_empty(),
            "bytes after the refusal: {:?}",
            String::from_utf8_lossy(&end.0)
        );
        self.refused(&answer, status, reasons)
    }

    /// An open tunnel.
    pub async fn tunnel(&self, target: &str) -> Wire {
        let mut wire = self.client().await;
        let answer = wire.connect(target).await;
        assert_eq!(answer.status, 200, "{}{}", answer.head, answer.text());
        wire
    }

    /// Stops the gateway and compares. Returns all records for what a row wants to look at beyond.
    pub async fn finish(mut self) -> Vec<Record> {
        let code = self.gateway.stop().await;
        let diagnostics = self.gateway.diagnostics.all().join("\n");
        assert_eq!(
            code,
            Some(0),
            "the gateway's exit code; it said:\n{diagnostics}"
        );
        assert!(
            !diagnostics.contains("panicked"),
            "the gateway panicked:\n{diagnostics}"
        );
        let garbage = self.gateway.records.garbage.all();
        assert!(garbage.is_empty(), "lines that are no record: {garbage:?}");

        for (number, (origin, reached)) in self.origins.iter().enumerate() {
            let visits = origin.visits().await;
            match reached {
                Reached::Never => {
                    assert!(visits.is_empty(), "origin {number} was dialled: {visits:?}");
                }
                Reached::Silently => {
                    let loud = visits
                        .iter()
                        .filter(|visit| !visit.bytes.is_empty())
                        .collect::<Vec<_>>();
                    assert!(loud.is_empty(), "origin {number} was sent bytes: {loud:?}");
                }
                Reached::Times(times) => {
                    assert_eq!(
                        visits.len(),
                        *times,
                        "connections to origin {number}: {visits:?}"
                    );
                }
                Reached::Unchecked => {}
            }
        }

        let asked = self.dns.names().await;
        match &self.queries {
            Queries::None => assert!(asked.is_empty(), "the name server was asked: {asked:?}"),
            Queries::Only(names) => {
                let others = asked
                    .iter()
                    .filter(|name| !names.contains(name))
                    .collect::<Vec<_>>();
                assert!(others.is_empty(), "the name server was asked: {others:?}");
            }
        }

        let records = self.gateway.records.log.all();
        let mut left = records.clone();
        // The vague ones last, so that they take what the others leave.
        self.expected
            .sort_by_key(|expected| (expected.verdict == "any", expected.reasons.is_empty()));
        for expected in &self.expected {
            let Some(at) = left.iter().position(|record| expected.fits(record)) else {
                panic!(
                    "no record like {expected:?} in {left:#?}\nof all {}",
                    records.len()
                );
            };
            left.remove(at);
        }
        if let Some(tolerated) = self.tolerated {
            left.retain(|record| !tolerated(record));
        }
        assert!(
            left.is_empty(),
            "records beyond the {} expected: {left:#?}",
            self.expected.len()
        );
        for record in &records {
            if let Some(problem) = record.incomplete() {
                panic!("{problem}: {record:#?}");
            }
            let source = &record.0["src_endpoint"]["ip"];
            assert_eq!(*source, self.proxy.ip().to_string(), "{record:#?}");
            // A connection over the total is turned away before anybody asks whose it is.
            if !self.mapped && (record.reason() != "limit" || record.workload().is_some()) {
                assert_eq!(record.workload(), Some(("default", "local")), "{record:#?}");
            }
            let stage = record.0.pointer("/exitgate/stage");
            assert!(
                stage.is_some(),
                "a record that does not say how far it came: {record:#?}"
            );
            if record.verdict() == "deny" && POLICY_REASONS.contains(&record.reason()) {
                assert!(
                    !record.phase().is_empty(),
                    "a denial without its phase: {record:#?}"
                );
            }
            if record.reason() == "rule-denied" {
                let named = !record.rule().is_empty() && !record.policy().is_empty();
                assert!(named, "a denial by a rule that is not named: {record:#?}");
            }
        }
        records
    }
}
