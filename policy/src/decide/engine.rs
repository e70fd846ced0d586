//! From evidence to a decision: what is still possible, what happens to TLS, what is recorded.

use super::{
    consistency::{Consistency, consistency},
    inject,
    opening::Ground,
    outcome::{Kind, Outcomes, Win},
    tiers::Engine,
    types::{Assurance, Decision, Phase, RuleRef, Shadow, ShadowKind, Tier, TlsAction, Verdict},
    view::{Lane, View},
};
use crate::{
    evidence::{Attr, Evidence, Protocol},
    floor::Closed,
    index::Ids,
    matcher::{Context, Inside},
    model::{Action, Inspection},
    reason::Reason,
};

/// What one lane says.
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent marks of one evaluation"
)]
pub(super) struct Judgement {
    pub(super) outcomes: Outcomes,
    pub(super) alerts: Vec<RuleRef>,
    /// An Alert or a rule of another lane waits for the response.
    pub(super) watch: bool,
    /// A denial that no fleet setting lifts.
    pub(super) absolute: bool,
    /// A rule asks for TLS to be opened, which is still to be done.
    inspect: bool,
    /// The verdict can hang on what is inside TLS, or a rule asks for it to be opened: sealing it makes a difference.
    touched: bool,
}

/// What is live, with the evidence that it was judged on in the end.
pub(super) struct Settled<'a> {
    pub(super) context: Context<'a>,
    pub(super) live: Judgement,
    pub(super) tls: TlsAction,
    /// Its TLS could be, or could have been, opened.
    openable: bool,
}

impl Judgement {
    fn closed(closed: &Closed) -> Self {
        let win = Win {
            rule: None,
            reason: closed.reason,
            tier: Tier::Floor,
        };
        Self {
            outcomes: Outcomes::only(Kind::Deny, win),
            alerts: Vec::new(),
            watch: false,
            absolute: closed.is_never_openable(),
            inspect: false,
            touched: false,
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        match (self.outcomes.may_allow(), self.outcomes.may_deny()) {
            (true, false) => Verdict::Allow,
            (true, true) => Verdict::Undecided,
            (false, _) => Verdict::Deny,
        }
    }

    /// The verdict, where TLS that a rule wants opened is opened first: each request is judged once it is seen.
    fn settled(&self) -> Verdict {
        match self.verdict() {
            Verdict::Allow if self.inspect => Verdict::Undecided,
            verdict => verdict,
        }
    }

    fn win(&self) -> Win {
        let fallback = Win {
            rule: None,
            reason: Reason::DefaultDeny,
            tier: Tier::Default,
        };
        match self.verdict() {
            Verdict::Allow => self.outcomes.allowed().unwrap_or(fallback),
            Verdict::Deny | Verdict::Undecided => self.outcomes.get(Kind::Deny).unwrap_or(fallback),
        }
    }
}

impl View {
    /// Decides on what is known so far. `now_unix` is the time in seconds since 1970.
    pub fn decide(&self, evidence: &Evidence<'_>, now_unix: u64) -> Decision {
        let settled = self.settle(evidence, now_unix);
        let Settled {
            context, live, tls, ..
        } = &settled;
        let (verdict, tls) = (live.settled(), *tls);
        let mut watch = live.watch;
        let mut shadow = None;
        if verdict != Verdict::Undecided && self.has_shadow {
            (shadow, watch) = self.shadow(&settled, now_unix);
        }
        let win = live.win();
        Decision {
            verdict,
            reason: if verdict == Verdict::Allow {
                Reason::Allowed
            } else {
                win.reason
            },
            rule: self
                .reference(win.rule)
                .filter(|_| verdict != Verdict::Undecided),
            phase: self.phase(evidence, verdict, now_unix),
            tls,
            enforced: !self.audited || live.absolute,
            body_limit: self.body_limit(context, verdict, win, now_unix),
            alerts: live.alerts.clone(),
            inject: if verdict == Verdict::Allow {
                inject::injections(self, context, now_unix)
            } else {
                Vec::new()
            },
            shadow,
            assurance: assurance(context),
            watch_response: watch && verdict == Verdict::Allow && context.response.is_pending(),
        }
    }

    /// The evidence as rules see it.
    fn context<'c>(&'c self, evidence: &'c Evidence<'c>) -> Context<'c> {
        let inside = self.inside(evidence);
        Context::new(evidence, &self.from, self.workload.as_ref(), inside)
    }

    /// Whether the TLS of this flow, if it is TLS, can and may be opened.
    fn inside(&self, evidence: &Evidence<'_>) -> Inside {
        let settings = &self.settings;
        if settings.inspection == Inspection::Off || self.audited {
            return Inside::Sealed;
        }
        match (evidence.request, evidence.name) {
            (Attr::Hidden, _) | (_, Attr::Absent | Attr::Hidden) => Inside::Sealed,
            (_, Attr::Known(name)) if settings.exempt.contains(name) => Inside::Sealed,
            (_, Attr::Known(_)) => Inside::Open,
            (_, Attr::Pending) => Inside::Unclear,
        }
    }

    /// Judges what is live. Where TLS could be opened and nothing asks for it, what is inside counts as hidden from then
    /// on.
    pub(super) fn settle<'c>(&'c self, evidence: &'c Evidence<'c>, now: u64) -> Settled<'c> {
        let mut context = self.context(evidence);
        let mut live = self.judge(&context, Lane::Live, now);
        let openable = context.is_closed() && context.inside == Inside::Open;
        let tls = match context.protocol {
            Attr::Pending => TlsAction::Undecided,
            Attr::Known(Protocol::Tls) if evidence.inspected => TlsAction::Inspect,
            Attr::Known(Protocol::Tls) => match (live.settled(), context.inside) {
                (_, Inside::Sealed | Inside::Supposed) | (Verdict::Deny, _) => TlsAction::Relay,
                (Verdict::Undecided, Inside::Open) if whole(&context) => TlsAction::Inspect,
                (Verdict::Undecided, _) | (Verdict::Allow, Inside::Unclear) => TlsAction::Undecided,
                (Verdict::Allow, Inside::Open) => {
                    context.seal();
                    if live.touched
                        || context
                            .hello
                            .known()
                            .is_some_and(|hello| hello.sni.is_none())
                    {
                        live = self.judge(&context, Lane::Live, now);
                    }
                    TlsAction::Relay
                }
            },
            Attr::Known(Protocol::Http | Protocol::Tcp) | Attr::Absent | Attr::Hidden => {
                TlsAction::Relay
            }
        };
        Settled {
            context,
            live,
            tls,
            openable,
        }
    }

    /// One lane: floor, tiers, name consistency, and the address.
    pub(super) fn judge(&self, context: &Context<'_>, lane: Lane, now: u64) -> Judgement {
        if let Attr::Known(name) = context.name
            && name.is_localhost()
        {
            let win = Win {
                rule: None,
                reason: Reason::Loopback,
                tier: Tier::Floor,
            };
            return Judgement {
                outcomes: Outcomes::only(Kind::Deny, win),
                alerts: Vec::new(),
                watch: false,
                absolute: true,
                inspect: false,
                touched: false,
            };
        }
        let maybe_closed = match self.floor(context, lane, now) {
            Ground::Closed(closed) => return Judgement::closed(&closed),
            Ground::Maybe => true,
            Ground::Open => false,
        };
        let mut ids = Ids::new();
        let complete = self.candidates(context, &mut ids);
        let exempt = self.is_exempt(context);
        let mut found = Engine::run(self, context, lane, now, &ids, exempt);
        let mut outcomes = found.reach.outcomes;
        Self::settle_names(context, &mut outcomes);
        // Whatever names still show, an Allow that asks nothing of them may be certain: rules by other names have a say.
        let certain = outcomes.may_allow() && !outcomes.may_deny();
        let mut more_names = certain && context.more_names && !context.name.is_pending();
        if more_names && self.other_names(lane, &mut ids) {
            more_names = false;
            found = Engine::run(self, context, lane, now, &ids, exempt);
            outcomes = found.reach.outcomes;
            Self::settle_names(context, &mut outcomes);
        }
        let deny = |reason| Win {
            rule: None,
            reason,
            tier: Tier::Default,
        };
        let pending_address = context.address.is_pending();
        if outcomes.may_allow() {
            match context.address {
                Attr::Known(_) | Attr::Pending => {}
                Attr::Absent | Attr::Hidden => {
                    outcomes = Outcomes::only(Kind::Deny, deny(Reason::UnresolvedAddress));
                }
            }
            if maybe_closed || pending_address || more_names {
                outcomes.add(Kind::Deny, deny(Reason::DefaultDeny));
            }
        }
        if !complete {
            outcomes.add(Kind::Allow, deny(Reason::Allowed));
            outcomes.add(Kind::Deny, deny(Reason::DefaultDeny));
        }
        let alerts = found.reach.alerts.iter();
        Judgement {
            outcomes,
            alerts: alerts.filter_map(|&id| self.reference(Some(id))).collect(),
            watch: found.watch,
            absolute: false,
            inspect: found.reach.inspect && may_open(context),
            touched: found.touched,
        }
    }

    /// What the shown names make of each kind of Allow.
    fn settle_names(context: &Context<'_>, outcomes: &mut Outcomes) {
        let deny = |win: Win, reason| Win {
            rule: win.rule,
            reason,
            tier: win.tier,
        };
        match consistency(context) {
            Consistency::Whole => {}
            // What could have been allowed fails by its names: that no rule may match in the end is not why.
            Consistency::Broken(reason) => {
                for kind in [Kind::Allow, Kind::AllowWithoutSni] {
                    if let Some(win) = outcomes.remove(kind) {
                        outcomes.set(Kind::Deny, deny(win, reason));
                    }
                }
            }
            Consistency::NoSni => {
                if let Some(win) = outcomes.remove(Kind::Allow) {
                    outcomes.set(Kind::Deny, deny(win, Reason::SniMissing));
                }
            }
            Consistency::Open => {
                for kind in [Kind::Allow, Kind::AllowWithoutSni] {
                    if let Some(win) = outcomes.get(kind) {
                        outcomes.add(Kind::Deny, deny(win, Reason::NameMismatch));
                    }
                }
            }
        }
    }

    fn is_exempt(&self, context: &Context<'_>) -> bool {
        matches!(context.name, Attr::Known(name) if self.settings.exempt.contains(name))
    }

    /// What all Audit policies taken as Enforce would change, and whether the response is needed to say so.
    fn shadow(&self, settled: &Settled<'_>, now: u64) -> (Option<Shadow>, bool) {
        let (context, live) = (&settled.context, &settled.live);
        let mut shadow = if settled.openable {
            // In earnest it would have been opened for what they ask.
            let mut open = context.clone();
            open.open_content(Inside::Open);
            self.judge(&open, Lane::Shadow, now)
        } else {
            self.judge(context, Lane::Shadow, now)
        };
        if settled.openable && shadow.settled() == Verdict::Allow {
            let mut sealed = context.clone();
            sealed.seal();
            shadow = self.judge(&sealed, Lane::Shadow, now);
        }
        let win = shadow.win();
        let make = |kind| {
            Some(Shadow {
                kind,
                rule: self.reference(win.rule),
                reason: win.reason,
            })
        };
        let (before, after) = (live.verdict(), shadow.verdict());
        if after == Verdict::Undecided {
            return (make(ShadowKind::WouldNeedContent), true);
        }
        let watch = live.watch || shadow.watch;
        // What hangs on bytes inside TLS is not known, whichever way it was settled.
        let open = |lane| {
            let mut context = context.clone();
            context.open_content(Inside::Supposed);
            self.judge(&context, lane, now).verdict() == Verdict::Undecided
        };
        if !settled.openable && context.is_sealed() && open(Lane::Shadow) && !open(Lane::Live) {
            return (make(ShadowKind::WouldNeedContent), watch);
        }
        let kind = match (before, after) {
            (Verdict::Allow, Verdict::Deny) => make(ShadowKind::WouldDeny),
            (Verdict::Deny, Verdict::Allow) => make(ShadowKind::WouldAllow),
            _ => None,
        };
        (kind, watch)
    }

    /// The step whose evidence was needed.
    fn phase(&self, evidence: &Evidence<'_>, verdict: Verdict, now: u64) -> Phase {
        let settled_without = |evidence: &Evidence<'_>| {
            verdict != Verdict::Undecided && self.settle(evidence, now).live.settled() == verdict
        };
        if evidence.response.known().is_some() {
            let earlier = Evidence {
                response: Attr::Pending,
                ..evidence.clone()
            };
            if !settled_without(&earlier) {
                return Phase::PostResponse;
            }
        }
        // A requested literal is known from the start; every other address has been resolved.
        let resolved = match (evidence.address.known(), evidence.literal) {
            (Some(address), Some(literal)) => *address != literal,
            (address, _) => address.is_some(),
        };
        if resolved || evidence.hello.known().is_some() {
            return Phase::PreRequest;
        }
        if evidence.request.known().is_some() {
            let earlier = Evidence {
                request: Attr::Pending,
                response: Attr::Pending,
                ..evidence.clone()
            };
            if !settled_without(&earlier) {
                return Phase::PreRequest;
            }
        }
        Phase::PreDns
    }

    /// Where a body of undeclared length must be cut so that the rules that let it through keep their word.
    fn body_limit(
        &self,
        context: &Context<'_>,
        verdict: Verdict,
        win: Win,
        now: u64,
    ) -> Option<u64> {
        let head = context
            .response
            .known()
            .filter(|head| verdict == Verdict::Allow && head.content_length.is_none())?;
        let own = win
            .rule
            .and_then(|id| self.rule(id))
            .and_then(|(_, rule)| rule.matcher.response.as_ref());
        let mut limit = own.and_then(|response| response.body_limit(head, false));
        let mut ids = Ids::new();
        self.candidates(context, &mut ids);
        for id in ids {
            let Some((policy, rule)) = self.rule(id) else {
                continue;
            };
            if rule.action == Action::Deny
                && !rule.expired(now)
                && self.takes_part(policy, Lane::Live)
                && let Some(response) = &rule.matcher.response
                && let Some(bound) = response.body_limit(head, true)
            {
                limit = Some(limit.map_or(bound, |limit| limit.min(bound)));
            }
        }
        limit
    }
}

/// Whether only what is inside TLS is missing.
fn whole(context: &Context<'_>) -> bool {
    !context.hello.is_pending() && !context.address.is_pending()
}

/// Whether this may be TLS that can be opened.
fn may_open(context: &Context<'_>) -> bool {
    !context.evidence.inspected
        && context.inside != Inside::Sealed
        && (context.protocol.is_pending() || context.is_closed())
}

fn assurance(context: &Context<'_>) -> Assurance {
    if context.request.known().is_some() {
        Assurance::Inspected
    } else if context.name.known().is_some() {
        Assurance::NameResolved
    } else {
        Assurance::AddressOnly
    }
}
