//! The question put to the decision function, phase by phase and address by address.

use std::io;
use std::net::IpAddr;

use exitgate_policy::decide::{Candidate, Outcome};
use exitgate_policy::{
    Attr, Decision, Entry, Evidence, Explanation, Hello, Phase, Protocol, RequestHead,
    ResponseHead, RuleRef, TlsAction, TlsVersion, Verdict, View, Workload,
};
use exitgate_runtime::clock;
use serde_json::{Value, json};

use super::question::{Header, Question, Scheme};
use crate::output::{self, Table};

/// One step of the evidence and what is decided on it.
struct Step {
    phase: Phase,
    address: Option<IpAddr>,
    explanation: Explanation,
}

pub(super) struct Answer {
    url: String,
    revision: String,
    addresses: Vec<IpAddr>,
    origin: AddressOrigin,
    is_tls: bool,
    steps: Vec<Step>,
}

/// Where the addresses that were judged come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressOrigin {
    Assumed,
    Given,
    HostsFile,
    Literal,
}

impl AddressOrigin {
    fn note(self) -> &'static str {
        match self {
            Self::Assumed => "assumed, a public address; give --address to judge another",
            Self::Given => "given",
            Self::HostsFile => "from the hosts file",
            Self::Literal => "in the URL",
        }
    }
}

pub(super) fn answer(
    question: &Question,
    view: &View,
    hosts_file: Option<&str>,
    revision: &str,
) -> Answer {
    let (addresses, origin) = addresses(question, hosts_file);
    let mut answer = Answer {
        url: question.url.clone(),
        revision: revision.to_owned(),
        addresses: addresses.clone(),
        origin,
        is_tls: question.scheme == Scheme::Https,
        steps: Vec::new(),
    };
    let hello = Hello {
        sni: question.sni.clone(),
        alpn: vec![b"h2".as_slice().into(), b"http/1.1".as_slice().into()],
        version: TlsVersion::Tls13,
        ech: false,
        ja4: String::new(),
    };
    let headers: Vec<(&str, &[u8])> = question.headers.iter().map(borrowed).collect();
    let response_headers: Vec<(&str, &[u8])> =
        question.response_headers.iter().map(borrowed).collect();
    let request = RequestHead {
        method: &question.method,
        path: &question.path,
        authority: Some(&question.authority),
        headers: &headers,
        // A question that speaks of no body has none.
        content_length: length(&question.headers).or_else(|| {
            let coded = headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"));
            (!coded).then_some(0)
        }),
    };
    let response = question.status.map(|status| ResponseHead {
        status,
        headers: &response_headers,
        content_length: length(&question.response_headers),
        bodiless: question.method == "HEAD" || matches!(status, 204 | 304),
    });
    let now = clock::unix_seconds();
    let mut evidence = Evidence {
        entry: if question.scheme == Scheme::Http {
            Entry::Forward
        } else {
            Entry::Connect
        },
        port: question.port,
        source: question.source,
        name: question.name().map_or(Attr::Pending, Attr::Known),
        literal: question.literal(),
        address: Attr::Pending,
        protocol: Attr::Pending,
        hello: Attr::Pending,
        request: Attr::Pending,
        response: Attr::Pending,
        inspected: false,
    };
    if question.scheme == Scheme::Http {
        evidence.protocol = Attr::Known(Protocol::Http);
        evidence.hello = Attr::Absent;
        if question.literal().is_some() {
            evidence.name = Attr::Absent;
        }
    }
    answer.step(view, &evidence, Phase::PreDns, None, now);
    if answer.denied() {
        return answer;
    }
    match question.scheme {
        Scheme::Http => evidence.request = Attr::Known(request),
        Scheme::Https => {
            evidence.protocol = Attr::Known(Protocol::Tls);
            evidence.hello = Attr::Known(&hello);
        }
        Scheme::Tcp => {
            evidence.protocol = Attr::Known(Protocol::Tcp);
            evidence.hello = Attr::Absent;
            evidence.request = Attr::Absent;
            evidence.response = Attr::Absent;
        }
    }
    if question.name().is_none() {
        evidence.name = match (&question.sni, question.scheme) {
            (Some(name), Scheme::Https) => Attr::Known(name),
            _ => Attr::Absent,
        };
    }
    for address in addresses {
        evidence.address = Attr::Known(address);
        answer.step(view, &evidence, Phase::PreRequest, Some(address), now);
        let opened = answer
            .steps
            .last()
            .is_some_and(|step| step.explanation.decision.tls == TlsAction::Inspect);
        if opened {
            let mut inside = evidence.clone();
            inside.inspected = true;
            inside.request = Attr::Known(request);
            inside.response = Attr::Pending;
            answer.step(view, &inside, Phase::PreRequest, Some(address), now);
            answer.respond(view, inside, response, Some(address), now);
        } else if question.scheme == Scheme::Http {
            answer.respond(view, evidence.clone(), response, Some(address), now);
        }
    }
    answer
}

impl Answer {
    fn step(
        &mut self,
        view: &View,
        evidence: &Evidence<'_>,
        phase: Phase,
        address: Option<IpAddr>,
        now: u64,
    ) {
        self.steps.push(Step {
            phase,
            address,
            explanation: view.explain(evidence, now),
        });
    }

    fn respond<'a>(
        &mut self,
        view: &View,
        mut evidence: Evidence<'a>,
        response: Option<ResponseHead<'a>>,
        address: Option<IpAddr>,
        now: u64,
    ) {
        if let Some(response) = response
            && !self.denied()
        {
            evidence.response = Attr::Known(response);
            self.step(view, &evidence, Phase::PostResponse, address, now);
        }
    }

    fn denied(&self) -> bool {
        self.steps
            .last()
            .is_some_and(|step| step.explanation.decision.verdict == Verdict::Deny)
    }

    /// The last step of each address decides for it; the best of them is what the connection would get, because refused
    /// addresses are left out.
    fn decisive(&self) -> Option<&Step> {
        let finals: Vec<&Step> = self
            .addresses
            .iter()
            .filter_map(|address| {
                self.steps
                    .iter()
                    .rev()
                    .find(|step| step.address == Some(*address))
            })
            .collect();
        let rank = |step: &&&Step| match step.explanation.decision.verdict {
            Verdict::Allow => 0,
            Verdict::Undecided => 1,
            Verdict::Deny => 2,
        };
        finals
            .iter()
            .min_by_key(rank)
            .copied()
            .or(self.steps.last())
    }

    pub(super) fn print(&self, workload: &Workload, listed: bool) -> io::Result<()> {
        let Some(step) = self.decisive() else {
            return Ok(());
        };
        let decision = &step.explanation.decision;
        let who = format!("{}/{}", workload.namespace, workload.name);
        let unlisted = if listed {
            ""
        } else {
            " (not listed in the settings)"
        };
        output::line(format_args!("{}  from {who}{unlisted}", self.url))?;
        output::line(format_args!(""))?;
        output::line(format_args!(
            "verdict   {}{}",
            verdict(decision),
            audit_note(decision)
        ))?;
        output::line(format_args!("reason    {}", decision.reason))?;
        match &decision.rule {
            Some(rule) => output::line(format_args!(
                "rule      {} ({} tier)",
                rule,
                rule.tier.as_str()
            ))?,
            None => output::line(format_args!("rule      none"))?,
        }
        output::line(format_args!("phase     {}", decision.phase.as_str()))?;
        if self.is_tls {
            output::line(format_args!("tls       {}", tls(decision)))?;
        }
        let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
        output::line(format_args!(
            "address   {} ({})",
            addresses.join(", "),
            self.origin.note()
        ))?;
        for alert in &decision.alerts {
            output::line(format_args!("alert     {alert}"))?;
        }
        if let Some(shadow) = &decision.shadow {
            let by = shadow
                .rule
                .as_ref()
                .map_or_else(|| "no rule".to_owned(), RuleRef::to_string);
            output::line(format_args!("audit     {} by {by}", shadow.kind.as_str()))?;
        }
        if decision.verdict == Verdict::Undecided && step.phase != Phase::PostResponse {
            output::line(format_args!(
                "note      the response decides; give --status to see how"
            ))?;
        }
        output::line(format_args!(""))?;
        let mut phases = Table::new(&["phase", "address", "verdict", "reason", "rule"]);
        for step in &self.steps {
            let decision = &step.explanation.decision;
            phases.row(vec![
                step.phase.as_str().to_owned(),
                step.address
                    .map_or_else(|| "-".to_owned(), |address| address.to_string()),
                verdict(decision).to_owned(),
                if decision.verdict == Verdict::Undecided {
                    "-".to_owned()
                } else {
                    decision.reason.to_string()
                },
                decision.rule.as_ref().map_or_else(|| "-".to_owned(), short),
            ]);
        }
        phases.print()?;
        if step.explanation.candidates.is_empty() {
            return output::line(format_args!("\nNo rule of any policy is about this."));
        }
        output::line(format_args!(""))?;
        let mut rules = Table::new(&["", "tier", "policy", "rule", "action", "outcome", "why"]);
        for candidate in &step.explanation.candidates {
            rules.row(vec![
                if candidate.won {
                    "*".to_owned()
                } else {
                    String::new()
                },
                candidate.rule.tier.as_str().to_owned(),
                policy(&candidate.rule),
                candidate.rule.rule.to_string(),
                action(candidate),
                outcome(candidate.outcome).to_owned(),
                candidate.why.clone(),
            ]);
        }
        rules.print()?;
        if step
            .explanation
            .candidates
            .iter()
            .any(|candidate| candidate.won)
        {
            output::line(format_args!("\n* decided"))?;
        }
        Ok(())
    }

    pub(super) fn to_json(&self, workload: &Workload, listed: bool) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(step_json).collect();
        let decision = self
            .decisive()
            .map(|step| decision_json(&step.explanation.decision));
        json!({
            "url": self.url,
            "workload": {
                "namespace": workload.namespace,
                "name": workload.name,
                "labels": workload.labels,
                "serviceAccount": workload.service_account,
                "listed": listed,
            },
            "revision": self.revision,
            "addresses": self.addresses,
            "addressesAssumed": self.origin == AddressOrigin::Assumed,
            "decision": decision,
            "phases": steps,
        })
    }
}

fn addresses(question: &Question, hosts_file: Option<&str>) -> (Vec<IpAddr>, AddressOrigin) {
    if let Some(literal) = question.literal() {
        return (vec![literal], AddressOrigin::Literal);
    }
    if !question.addresses.is_empty() {
        return (question.addresses.clone(), AddressOrigin::Given);
    }
    let text = hosts_file
        .and_then(|file| std::fs::read_to_string(file).ok())
        .unwrap_or_default();
    let listed: Vec<IpAddr> = text
        .lines()
        .filter_map(|line| host_line(line, question))
        .collect();
    if !listed.is_empty() {
        return (listed, AddressOrigin::HostsFile);
    }
    (vec![ASSUMED], AddressOrigin::Assumed)
}

fn host_line(line: &str, question: &Question) -> Option<IpAddr> {
    let mut words = line.split('#').next()?.split_whitespace();
    let address = words.next()?.parse().ok()?;
    let name = question.name()?;
    words
        .any(|word| {
            word.trim_end_matches('.')
                .eq_ignore_ascii_case(name.as_str())
        })
        .then_some(address)
}

fn borrowed(header: &Header) -> (&str, &[u8]) {
    (header.0.as_str(), header.1.as_slice())
}

fn length(headers: &[Header]) -> Option<u64> {
    let (_, value) = headers.iter().find(|(name, _)| name == "content-length")?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn verdict(decision: &Decision) -> &'static str {
    match decision.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
        Verdict::Undecided => "undecided",
    }
}

fn audit_note(decision: &Decision) -> &'static str {
    if decision.verdict == Verdict::Deny && decision.lets_through() {
        " (let through: the fleet only audits here)"
    } else {
        ""
    }
}

fn tls(decision: &Decision) -> &'static str {
    match decision.tls {
        TlsAction::Inspect => "would be opened",
        TlsAction::Relay => "would not be opened",
        TlsAction::Undecided => "not decided",
    }
}

fn policy(rule: &RuleRef) -> String {
    match &rule.namespace {
        Some(namespace) => format!("{namespace}/{}", rule.policy),
        None => rule.policy.to_string(),
    }
}

fn short(rule: &RuleRef) -> String {
    format!("{} {}", policy(rule), rule.rule)
}

fn action(candidate: &Candidate) -> String {
    let action = candidate.rule.action.as_str();
    match candidate.mode {
        exitgate_policy::Mode::Audit => format!("{action} (audit)"),
        exitgate_policy::Mode::Enforce => action.to_owned(),
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Expired => "expired",
        Outcome::Matched => "matched",
        Outcome::NotMatched => "not matched",
        Outcome::Unknown => "unknown",
    }
}

fn rule_json(rule: &RuleRef) -> Value {
    json!({
        "tier": rule.tier.as_str(),
        "kind": rule.kind,
        "namespace": rule.namespace.as_deref(),
        "policy": &*rule.policy,
        "rule": &*rule.rule,
        "action": rule.action.as_str(),
    })
}

fn decision_json(decision: &Decision) -> Value {
    json!({
        "verdict": verdict(decision),
        "letThrough": decision.lets_through(),
        "reason": decision.reason.code(),
        "rule": decision.rule.as_ref().map(rule_json),
        "phase": decision.phase.as_str(),
        "tls": match decision.tls {
            TlsAction::Inspect => "inspect",
            TlsAction::Relay => "relay",
            TlsAction::Undecided => "undecided",
        },
        "assurance": decision.assurance.as_str(),
        "alerts": decision.alerts.iter().map(rule_json).collect::<Vec<_>>(),
        "shadow": decision.shadow.as_ref().map(|shadow| json!({
            "kind": shadow.kind.as_str(),
            "rule": shadow.rule.as_ref().map(rule_json),
            "reason": shadow.reason.code(),
        })),
    })
}

fn step_json(step: &Step) -> Value {
    let rules: Vec<Value> = step
        .explanation
        .candidates
        .iter()
        .map(|candidate| {
            let mut rule = rule_json(&candidate.rule);
            if let Some(fields) = rule.as_object_mut() {
                fields.insert("won".into(), candidate.won.into());
                fields.insert(
                    "audit".into(),
                    (candidate.mode == exitgate_policy::Mode::Audit).into(),
                );
                fields.insert("outcome".into(), outcome(candidate.outcome).into());
                fields.insert("why".into(), candidate.why.clone().into());
            }
            rule
        })
        .collect();
    json!({
        "phase": step.phase.as_str(),
        "address": step.address,
        "decision": decision_json(&step.explanation.decision),
        "rules": rules,
    })
}

/// Some public address that belongs to no special range; what it is does not matter, only that a floor rule does not
/// answer in place of the policies.
const ASSUMED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(93, 184, 215, 14));
