//! The floor for one flow: what is closed, and whether a rule opens it.

use std::net::IpAddr;

use super::view::{Lane, View};
use crate::{
    evidence::{Attr, Entry},
    floor::Closed,
    index::Ids,
    matcher::{Context, Side, Tri},
};

/// What the floor says to the addresses known so far.
pub(super) enum Ground {
    Closed(Closed),
    /// A rule may open it once more is known, still before the dial.
    Maybe,
    Open,
}

impl View {
    pub(super) fn floor(&self, context: &Context<'_>, lane: Lane, now: u64) -> Ground {
        let resolved = match context.address {
            Attr::Known(addr) if context.literal != Some(addr) => Some(addr),
            _ => None,
        };
        let mut ground = Ground::Open;
        for addr in context.literal.into_iter().chain(resolved) {
            let Some(closed) = self.settings.floor.judge(addr, context.evidence.port) else {
                continue;
            };
            let opened = self.opened(&closed, addr, context, lane, now);
            if !opened.may_be_true() {
                return Ground::Closed(closed);
            }
            if !opened.is_true() {
                ground = Ground::Maybe;
            }
        }
        ground
    }

    /// Whether an Admin Allow or Pass opens the address for this flow. What is not known before the dial is false here.
    fn opened(
        &self,
        closed: &Closed,
        addr: IpAddr,
        context: &Context<'_>,
        lane: Lane,
        now: u64,
    ) -> Tri {
        if closed.is_never_openable() {
            return Tri::FALSE;
        }
        let mut ids = Ids::new();
        self.openings.find(addr, false, &mut ids);
        let mut known = None;
        let mut opened = Tri::FALSE;
        for id in ids {
            let Some((policy, rule)) = self.rule(id) else {
                continue;
            };
            let fits = rule
                .openings
                .iter()
                .any(|entry| entry.contains(&addr) && closed.opened_by(entry));
            if !fits || rule.expired(now) || !self.takes_part(policy, lane) {
                continue;
            }
            let context = known.get_or_insert_with(|| before_dial(context, addr));
            opened = opened.or(rule.matcher.matches(context, Side::ALLOW));
            if opened.is_true() {
                break;
            }
        }
        opened
    }
}

/// The evidence as it can be before a connection to the address is made.
fn before_dial<'a>(context: &Context<'a>, addr: IpAddr) -> Context<'a> {
    let mut known = context.clone();
    let evidence = context.evidence;
    // Without a name the first bytes are read before the dial; behind a CONNECT by name they come after it.
    let reads_first = evidence.literal.is_some() || evidence.entry == Entry::Redirected;
    let request_first = evidence.entry == Entry::Forward || (reads_first && !evidence.inspected);
    if !reads_first {
        known.hello = Attr::Hidden;
        if evidence.entry != Entry::Forward {
            known.protocol = Attr::Hidden;
        }
        known
            .names
            .retain(|name| matches!(context.name, Attr::Known(judged) if judged == *name));
        known.more_names = false;
    }
    // What is inside TLS is seen after the dial only.
    known.seal();
    if !request_first {
        known.request = Attr::Hidden;
    }
    known.response = Attr::Hidden;
    known.ignore_implied_protocols = true;
    known.address = Attr::Known(addr);
    known.literal = context.literal.map(|_| addr);
    known
}
