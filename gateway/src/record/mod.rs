//! Audit records: one JSON line (OCSF 1.6.0, classes 4001 and 4002) per connection and per judged request.
//!
//! A [`Record`] is filled while work goes on and written exactly once when it is dropped, so that a
//! cancelled or panicking connection is recorded too.

mod line;
pub(crate) use line::policy_name;
mod sink;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use exitgate_policy::decide::{Decision, RuleRef, Shadow};
use exitgate_policy::evidence::{Entry, Hello};
use exitgate_policy::name::Name;
use exitgate_policy::snapshot::Workload;
use exitgate_runtime::clock;

use crate::metrics::Metrics;
use crate::origin::{Certificate, Verification};
use crate::reason::Reason;
use sink::Sink;
pub use sink::{Overflow, SinkConfig, Target};

thread_local! {
    /// Where lines are put together.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// OCSF class of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 4002: one HTTP exchange.
    Http,
    /// 4001: one connection.
    Network,
}

/// What became of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VerdictLabel {
    /// Let through.
    Allow,
    /// Refused by policy or as malformed.
    Deny,
    /// Allowed, but it failed.
    Error,
}

impl VerdictLabel {
    /// The word in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Error => "error",
        }
    }
}

/// All sinks of a gateway.
pub struct Recorder {
    sinks: Vec<Sink>,
    metrics: Arc<Metrics>,
    run: u64,
    next: AtomicU64,
    stopping: AtomicBool,
}

impl Recorder {
    /// Opens every sink.
    pub fn start(configs: Vec<SinkConfig>, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let sinks = configs
            .into_iter()
            .map(Sink::start)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            sinks,
            metrics,
            run: rand::random(),
            next: AtomicU64::new(1),
            stopping: AtomicBool::new(false),
        })
    }

    /// A record that will be written when dropped.
    pub fn begin(self: &Arc<Self>, class: Class, entry: Entry, source: SocketAddr) -> Record {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Record {
            recorder: self.clone(),
            fields: Box::new(Fields {
                class,
                entry,
                source,
                id: DecisionId {
                    run: self.run,
                    number,
                },
                started: Instant::now(),
                time: clock::unix_millis(),
                workload: None,
                host: None,
                address: None,
                port: None,
                hello: None,
                request: None,
                status: None,
                verdict: VerdictLabel::Error,
                reason: Reason::ClientGone,
                detail: None,
                decision: None,
                phase: None,
                resolved: Vec::new(),
                chain: Vec::new(),
                bytes_up: 0,
                bytes_down: 0,
                stage: Stage::Accepted,
                closed_by: None,
                revision: None,
                muted: false,
                opened: false,
                origin: None,
                injected: Vec::new(),
            }),
        }
    }

    /// Whether a sink that must not lose records is stuck.
    pub fn refuses(&self) -> bool {
        self.sinks.iter().any(Sink::refuses)
    }

    /// From now on, what ends without a reason of its own was cut by the end of the process.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Records lost by all sinks.
    pub fn dropped(&self) -> u64 {
        self.sinks.iter().map(Sink::dropped).sum()
    }

    /// Writes what is queued; blocks up to `limit` per sink.
    pub fn close(&self, limit: Duration) {
        for sink in &self.sinks {
            sink.close(limit);
        }
    }

    fn write(&self, fields: &Fields) {
        self.metrics
            .decided(fields.entry, fields.verdict, fields.reason);
        self.metrics.bytes(fields.bytes_up, fields.bytes_down);
        let mut wanted = self
            .sinks
            .iter()
            .filter(|s| s.wants(fields.class, fields.verdict))
            .peekable();
        if wanted.peek().is_none() {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            line::render(fields, line);
            for sink in wanted {
                sink.push(line);
            }
        });
    }
}

/// Names one decision across the client's answer, the record and the log.
#[derive(Clone, Copy, Debug)]
pub struct DecisionId {
    run: u64,
    number: u64,
}

impl std::fmt::Display for DecisionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}-{:x}", self.run, self.number)
    }
}

/// How far a connection or request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Accepted, nothing read yet.
    Accepted,
    /// The destination was judged.
    Judged,
    /// Names were resolved.
    Resolved,
    /// The upstream connection stands.
    Dialled,
    /// Bytes were exchanged.
    Relayed,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Judged => "judged",
            Self::Resolved => "resolved",
            Self::Dialled => "dialled",
            Self::Relayed => "relayed",
        }
    }
}

/// Who ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// The workload.
    Client,
    /// Exitgate.
    Gateway,
    /// The destination.
    Upstream,
}

impl ClosedBy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Gateway => "gateway",
            Self::Upstream => "upstream",
        }
    }
}

/// The request line as a record shows it; never the query or a body.
#[derive(Clone, Debug)]
pub(crate) struct RequestFields {
    pub(crate) method: String,
    pub(crate) path: Vec<u8>,
    pub(crate) scheme: &'static str,
    pub(crate) user_agent: Option<Vec<u8>>,
}

/// What a decision leaves in a record.
#[derive(Clone, Debug)]
pub(crate) struct DecisionFields {
    pub(crate) rule: Option<RuleRef>,
    pub(crate) alerts: Vec<RuleRef>,
    pub(crate) shadow: Option<Shadow>,
    pub(crate) assurance: &'static str,
    pub(crate) enforced: bool,
    pub(crate) denied: bool,
}

pub(crate) struct Fields {
    pub(crate) class: Class,
    pub(crate) entry: Entry,
    pub(crate) source: SocketAddr,
    pub(crate) id: DecisionId,
    pub(crate) started: Instant,
    pub(crate) time: u64,
    pub(crate) workload: Option<Arc<Workload>>,
    pub(crate) host: Option<String>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: Option<u16>,
    pub(crate) hello: Option<Box<Hello>>,
    pub(crate) request: Option<RequestFields>,
    pub(crate) status: Option<u16>,
    pub(crate) verdict: VerdictLabel,
    pub(crate) reason: Reason,
    pub(crate) detail: Option<String>,
    pub(crate) decision: Option<DecisionFields>,
    pub(crate) phase: Option<&'static str>,
    pub(crate) resolved: Vec<IpAddr>,
    pub(crate) chain: Vec<Name>,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    pub(crate) stage: Stage,
    pub(crate) closed_by: Option<ClosedBy>,
    pub(crate) revision: Option<Arc<str>>,
    pub(crate) muted: bool,
    /// Its TLS was opened.
    pub(crate) opened: bool,
    /// The certificate of an origin that we spoke TLS with.
    pub(crate) origin: Option<Arc<Certificate>>,
    /// Credentials that were put into the request, by name.
    pub(crate) injected: Vec<String>,
}

/// One record in the making.
pub struct Record {
    recorder: Arc<Recorder>,
    pub(crate) fields: Box<Fields>,
}

impl Record {
    /// The id that the client's answer also carries.
    pub fn id(&self) -> DecisionId {
        self.fields.id
    }

    /// Takes over what a decision says; later decisions replace earlier ones, alerts accumulate.
    pub(crate) fn decided(&mut self, decision: &Decision) {
        let fields = &mut *self.fields;
        let mut alerts = fields.decision.take().map(|d| d.alerts).unwrap_or_default();
        for alert in &decision.alerts {
            if !alerts.contains(alert) {
                alerts.push(alert.clone());
            }
        }
        fields.stage = fields.stage.max(Stage::Judged);
        fields.phase = Some(decision.phase.as_str());
        fields.reason = Reason::Policy(decision.reason);
        fields.decision = Some(DecisionFields {
            rule: decision.rule.clone(),
            alerts,
            shadow: decision.shadow.clone(),
            assurance: decision.assurance.as_str(),
            enforced: decision.enforced,
            denied: decision.verdict == exitgate_policy::decide::Verdict::Deny,
        });
    }

    pub(crate) fn reached(&mut self, stage: Stage) {
        self.fields.stage = self.fields.stage.max(stage);
    }

    pub(crate) fn allow(&mut self) {
        self.fields.verdict = VerdictLabel::Allow;
        let denied = self.fields.decision.as_ref().is_some_and(|d| d.denied);
        if matches!(self.fields.reason, Reason::Policy(_)) && !denied {
            // What was undecided turned out well.
            self.fields.reason = Reason::Policy(exitgate_policy::Reason::Allowed);
        }
    }

    /// The reason may differ from the decision's: a transport failure, a limit.
    pub(crate) fn end(&mut self, verdict: VerdictLabel, reason: Reason) {
        self.fields.verdict = verdict;
        self.fields.reason = reason;
    }

    /// Whether the origin's certificate was verified: only there may a credential go.
    pub(crate) fn origin_is_verified(&self) -> bool {
        let origin = self.fields.origin.as_ref();
        origin.is_some_and(|origin| origin.verification == Verification::Verified)
    }

    /// Takes over what a tunnel's record knows about its connection.
    pub(crate) fn continues(&mut self, tunnel: &Record) {
        self.fields.workload.clone_from(&tunnel.fields.workload);
        self.fields.address = tunnel.fields.address;
        self.fields.resolved.clone_from(&tunnel.fields.resolved);
        self.fields.chain.clone_from(&tunnel.fields.chain);
        self.fields.opened = tunnel.fields.opened;
        self.fields.origin.clone_from(&tunnel.fields.origin);
    }

    /// This record has something of its own to say after all.
    pub(crate) fn unmute(&mut self) {
        self.fields.muted = false;
    }

    /// This record says nothing that another does not say better.
    pub(crate) fn mute(&mut self) {
        self.fields.muted = true;
    }
}

impl PartialOrd for Stage {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Stage {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (*self as u8).cmp(&(*other as u8))
    }
}

impl Eq for DecisionId {}
impl PartialEq for DecisionId {
    fn eq(&self, other: &Self) -> bool {
        self.run == other.run && self.number == other.number
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let fields = &mut *self.fields;
        let unfinished = fields.verdict == VerdictLabel::Error && fields.closed_by.is_none();
        if unfinished && self.recorder.stopping.load(Ordering::Relaxed) {
            fields.reason = Reason::Draining;
            fields.closed_by = Some(ClosedBy::Gateway);
        }
        if !self.fields.muted {
            self.recorder.write(&self.fields);
        }
    }
}
