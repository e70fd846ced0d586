//! What the generated worlds and flows cover, printed and held to minimums.
#![allow(unreachable_pub, clippy::print_stdout, reason = "tests")]

use std::{cell::RefCell, collections::BTreeMap};

use exitgate_policy::{
    Attr, Conditions, Decision, Evidence, Inspection, Mode, PolicyResource, PolicyTier, Rule,
    Snapshot, TlsMode,
};

use crate::worlds::Stage;

#[derive(Default)]
pub struct Coverage {
    counts: RefCell<BTreeMap<String, u64>>,
}

impl Coverage {
    fn count(&self, what: impl Into<String>) {
        *self.counts.borrow_mut().entry(what.into()).or_default() += 1;
    }

    pub fn world(&self, snapshot: &Snapshot) {
        self.count("worlds");
        let tls = &snapshot.settings.tls;
        if tls.inspection == Inspection::On {
            self.count("inspection On");
        }
        if !tls.exempt.is_empty() {
            self.count("exempt hosts");
        }
        for policy in &snapshot.policies {
            let (tier, mode, replaces, rules) = match policy {
                PolicyResource::Cluster { spec, .. } => (
                    match spec.tier {
                        PolicyTier::Admin => "Admin",
                        PolicyTier::Baseline => "Baseline",
                    },
                    spec.mode,
                    &spec.replaces,
                    &spec.rules,
                ),
                PolicyResource::Namespaced { spec, .. } => {
                    ("Namespace", spec.mode, &spec.replaces, &spec.rules)
                }
            };
            self.count(format!("policy {tier}"));
            if mode == Mode::Audit {
                self.count("policy in Audit");
            }
            if replaces.is_some() {
                self.count("policy with replaces");
            }
            for rule in rules {
                self.count(format!("rule {tier} {}", rule.action.as_str()));
                self.rule(rule);
            }
        }
    }

    fn rule(&self, rule: &Rule) {
        match rule.tls.as_ref().map(|tls| tls.mode) {
            Some(TlsMode::Passthrough) => self.count("with Passthrough"),
            Some(TlsMode::Inspect) => self.count("with Inspect"),
            Some(TlsMode::Auto) | None => {}
        }
        if rule.inject.is_some() {
            self.count("with inject");
        }
        if rule.expires_at.is_some() {
            self.count("with expiresAt");
        }
        let written = Conditions {
            to: rule.to.clone(),
            from: rule.from.clone(),
            tls: rule.tls.as_ref().map(exitgate_policy::RuleTls::conditions),
            http: rule.http.clone(),
            response: rule.response.clone(),
            when: None,
        };
        self.conditions("", &written);
        if let Some(not) = &rule.not {
            self.count("with not");
            self.conditions("not ", not);
        }
    }

    fn conditions(&self, not: &str, all: &Conditions) {
        if let Some(to) = &all.to {
            for (what, given) in [
                ("hosts", !to.hosts.is_empty()),
                ("hostSets", !to.host_sets.is_empty()),
                ("cidrs", !to.cidrs.is_empty()),
                ("cidrSets", !to.cidr_sets.is_empty()),
                ("ports", !to.ports.is_empty()),
                ("protocol", to.protocol.is_some()),
            ] {
                if given {
                    self.count(format!("with {not}{what}"));
                }
            }
        }
        for (what, given) in [
            ("from", all.from.is_some()),
            (
                "tls",
                all.tls
                    .as_ref()
                    .is_some_and(|tls| *tls != exitgate_policy::TlsConditions::default()),
            ),
            ("http", all.http.is_some()),
            ("response", all.response.is_some()),
        ] {
            if given {
                self.count(format!("with {not}{what}"));
            }
        }
    }

    pub fn evidence(&self, evidence: &Evidence<'_>) {
        self.count(format!("entry {:?}", evidence.entry));
        for (what, state) in [
            ("name", state(&evidence.name)),
            ("address", state(&evidence.address)),
            ("protocol", state(&evidence.protocol)),
            ("hello", state(&evidence.hello)),
            ("request", state(&evidence.request)),
            ("response", state(&evidence.response)),
        ] {
            self.count(format!("{what} {state}"));
        }
    }

    pub fn verdict(&self, stage: Stage, evidence_is_tls: bool, decision: &Decision) {
        self.count(format!("{stage:?} {:?}", decision.verdict));
        self.count(format!("reason {}", decision.reason.code()));
        if let Some(shadow) = &decision.shadow {
            self.count(format!("shadow {}", shadow.kind.as_str()));
        }
        if evidence_is_tls {
            self.count(format!(
                "TLS {stage:?} {:?} {:?}",
                decision.verdict, decision.tls
            ));
        }
        if !decision.inject.is_empty() {
            self.count("injections");
        }
        if !decision.alerts.is_empty() {
            self.count("alerts");
        }
    }

    pub fn print(&self) {
        println!("what the worlds covered:");
        for (what, count) in self.counts.borrow().iter() {
            println!("  {what:<34} {count}");
        }
    }

    /// Each kind of thing occurs often enough for the properties to mean something.
    pub fn assert_minimums(&self) {
        let counts = self.counts.borrow();
        let worlds = counts.get("worlds").copied().unwrap_or_default();
        let mut missing = Vec::new();
        for (what, of_a_thousand) in MINIMUMS {
            let found = counts.get(*what).copied().unwrap_or_default();
            if found * 1_000 < worlds * of_a_thousand {
                missing.push(format!(
                    "{what}: {found} in {worlds} worlds, wanted {of_a_thousand} in 1000"
                ));
            }
        }
        assert!(missing.is_empty(), "too rare:\n{}", missing.join("\n"));
    }
}

fn state<T>(attribute: &Attr<T>) -> &'static str {
    match attribute {
        Attr::Absent => "absent",
        Attr::Hidden => "hidden",
        Attr::Known(_) => "known",
        Attr::Pending => "pending",
    }
}

/// How often at least, in a thousand worlds.
const MINIMUMS: &[(&str, u64)] = &[
    ("policy Admin", 500),
    ("policy Namespace", 500),
    ("policy Baseline", 150),
    ("policy in Audit", 300),
    ("policy with replaces", 50),
    ("rule Admin Allow", 150),
    ("rule Admin Deny", 300),
    ("rule Admin Alert", 150),
    ("rule Admin Next", 150),
    ("rule Admin Pass", 300),
    ("rule Namespace Allow", 500),
    ("rule Namespace Deny", 150),
    ("rule Namespace Alert", 150),
    ("rule Baseline Allow", 50),
    ("rule Baseline Deny", 25),
    ("rule Baseline Alert", 25),
    ("rule Baseline Next", 25),
    ("with not", 300),
    ("with not hosts", 100),
    ("with not cidrs", 50),
    ("with not http", 80),
    ("with not tls", 40),
    ("with not response", 20),
    ("with Passthrough", 150),
    ("with Inspect", 150),
    ("with inject", 100),
    ("inspection On", 500),
    ("exempt hosts", 80),
    ("TLS Both Undecided Inspect", 100),
    ("TLS Both Allow Relay", 50),
    ("TLS Inside Allow Inspect", 20),
    ("TLS Inside Deny Inspect", 40),
    ("TLS Inside Undecided Inspect", 10),
    ("TLS Answered Allow Inspect", 20),
    ("injections", 10),
    ("reason inject-impossible", 20),
    ("reason inject-conflict", 2),
    ("reason credential-unavailable", 2),
    ("with expiresAt", 300),
    ("with protocol", 400),
    ("with cidrs", 400),
    ("with hostSets", 150),
    ("with http", 400),
    ("with response", 150),
    ("name pending", 200),
    ("name absent", 200),
    ("address pending", 1_000),
    ("protocol pending", 1_000),
    ("hello pending", 1_000),
    ("hello absent", 1_000),
    ("request pending", 1_000),
    ("request hidden", 300),
    ("Inside Allow", 100),
    ("Inside Deny", 300),
    ("response pending", 1_000),
    ("response hidden", 300),
    ("Asked Undecided", 200),
    ("Asked Deny", 200),
    ("Half Undecided", 100),
    ("Half Deny", 200),
    ("Both Allow", 100),
    ("Both Undecided", 5),
    ("Both Deny", 300),
    ("Answered Allow", 100),
    ("Answered Deny", 300),
];
