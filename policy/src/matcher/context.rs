//! The evidence as rules see it.

use std::net::IpAddr;

use smallvec::SmallVec;

use crate::{
    Workload,
    address::canonical,
    evidence::{Attr, Evidence, Hello, Protocol, RequestHead, ResponseHead},
    name::{Host, Name},
};

/// Whether the TLS of a flow can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// It can: what is inside may still be seen.
    Open,
    /// It cannot, or must not: what is inside is hidden.
    Sealed,
    /// It cannot, and what would be if it could is asked.
    Supposed,
    /// That hangs on the name, which is still to be seen.
    Unclear,
}

/// The evidence with everything derived that several rules ask for.
#[derive(Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts about one flow"
)]
pub(crate) struct Context<'a> {
    pub(crate) evidence: &'a Evidence<'a>,
    pub(crate) name: Attr<&'a Name>,
    pub(crate) literal: Option<IpAddr>,
    pub(crate) address: Attr<IpAddr>,
    pub(crate) protocol: Attr<Protocol>,
    pub(crate) hello: Attr<&'a Hello>,
    pub(crate) request: Attr<RequestHead<'a>>,
    pub(crate) response: Attr<ResponseHead<'a>>,
    /// The names that the flow shows so far, the judged one first.
    pub(crate) names: SmallVec<[&'a Name; 3]>,
    /// More names may show.
    pub(crate) more_names: bool,
    /// Results of the `from` conditions for this workload.
    pub(crate) from: &'a [bool],
    pub(crate) workload: Option<&'a Workload>,
    /// Whether the TLS of this flow can be opened, where it is TLS and not opened yet.
    pub(crate) inside: Inside,
    /// A Passthrough holds: content conditions of Deny and Alert are false, all others hidden.
    pub(crate) passthrough: bool,
    /// A Pass or Next asks for TLS to be opened; where that is not possible, no Allow matches.
    pub(crate) must_inspect: bool,
    /// Implied protocols count as true: for opening the floor, before the first bytes.
    pub(crate) ignore_implied_protocols: bool,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        evidence: &'a Evidence<'a>,
        from: &'a [bool],
        workload: Option<&'a Workload>,
        inside: Inside,
    ) -> Self {
        let protocol = evidence.protocol;
        let is = |wanted| matches!(protocol, Attr::Known(found) if found == wanted);
        let hello = if is(Protocol::Http) || is(Protocol::Tcp) {
            Attr::Absent
        } else {
            evidence.hello
        };
        let closed = is(Protocol::Tls) && !evidence.inspected;
        let closed = closed.then_some(inside);
        let request = content(evidence.request, is(Protocol::Tcp), closed);
        let response = content(evidence.response, is(Protocol::Tcp), closed);
        let mut names: SmallVec<[&'a Name; 3]> = SmallVec::new();
        let mut show = |name: &'a Name| {
            if !names.contains(&name) {
                names.push(name);
            }
        };
        if let Attr::Known(name) = evidence.name {
            show(name);
        }
        if let Attr::Known(hello) = hello
            && let Some(name) = &hello.sni
        {
            show(name);
        }
        if let Attr::Known(head) = request
            && let Some(authority) = head.authority
            && let Host::Name(name) = &authority.host
        {
            show(name);
        }
        let more_names = evidence.name.is_pending()
            || protocol.is_pending()
            || (is(Protocol::Tls) && hello.is_pending())
            // Where TLS is opened for something else, a name inside has to be one of those shown outside.
            || (closed.is_none() && request.is_pending());
        Self {
            evidence,
            name: evidence.name,
            literal: evidence.literal.map(canonical),
            address: match evidence.address {
                Attr::Known(addr) => Attr::Known(canonical(addr)),
                other => other,
            },
            protocol,
            hello,
            request,
            response,
            names,
            more_names,
            from,
            workload,
            inside,
            passthrough: false,
            must_inspect: false,
            ignore_implied_protocols: false,
        }
    }

    /// TLS that was not opened.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.protocol, Attr::Known(Protocol::Tls)) && !self.evidence.inspected
    }

    /// TLS that was not opened and will not be.
    pub(crate) fn is_sealed(&self) -> bool {
        self.is_closed() && self.inside == Inside::Sealed
    }

    /// Takes what is inside for what will not be seen.
    pub(crate) fn seal(&mut self) {
        if self.is_closed() {
            self.inside = Inside::Sealed;
            self.request = Attr::Hidden;
            self.response = Attr::Hidden;
        }
    }

    /// Takes content that is hidden for content that may still come.
    pub(crate) fn open_content(&mut self, inside: Inside) {
        self.inside = inside;
        if matches!(self.request, Attr::Hidden) {
            self.request = Attr::Pending;
        }
        if matches!(self.response, Attr::Hidden) {
            self.response = Attr::Pending;
        }
    }

    /// Whether content that is pending may turn out to be hidden.
    pub(crate) fn may_be_sealed(&self) -> bool {
        !self.evidence.inspected
            && match self.inside {
                Inside::Open | Inside::Supposed => false,
                Inside::Sealed => self.protocol.is_pending(),
                Inside::Unclear => self.protocol.is_pending() || self.is_closed(),
            }
    }
}

/// What is inside TLS that was not opened is not known, whatever is said about it.
fn content<T: Copy>(given: Attr<T>, raw: bool, closed: Option<Inside>) -> Attr<T> {
    match closed {
        _ if raw => Attr::Absent,
        None => given,
        Some(Inside::Sealed) => Attr::Hidden,
        Some(Inside::Open | Inside::Supposed | Inside::Unclear) => Attr::Pending,
    }
}
