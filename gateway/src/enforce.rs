//! The only module that asks the policy. It gathers what is known about a flow, asks, and turns the answer into
//! addresses that may be dialled.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use exitgate_policy::decide::{Decision, Verdict};
use exitgate_policy::evidence::{
    Attr, Entry, Evidence, Hello, Protocol, RequestHead, ResponseHead,
};
use exitgate_policy::name::{Host, Name};
use exitgate_policy::reason::Reason as PolicyReason;
use exitgate_runtime::clock;
use tokio::net::TcpStream;

use crate::dial::{self, DialError};
use crate::heads::{Upgraded, request_head, response_head};
use crate::identity::Member;
use crate::live::Live;
use crate::reason::Reason;
use crate::record::{Record, Stage};
use crate::resolve::ResolveError;

/// What a connection has shown so far.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) entry: Entry,
    pub(crate) source: IpAddr,
    pub(crate) port: u16,
    pub(crate) name: Attr<Name>,
    pub(crate) literal: Option<IpAddr>,
    pub(crate) address: Attr<IpAddr>,
    pub(crate) protocol: Attr<Protocol>,
    pub(crate) hello: Attr<Box<Hello>>,
    /// Its TLS was opened: what is inside is seen.
    pub(crate) inspected: bool,
}

fn borrow<T>(attr: &Attr<T>) -> Attr<&T> {
    match attr {
        Attr::Absent => Attr::Absent,
        Attr::Hidden => Attr::Hidden,
        Attr::Known(value) => Attr::Known(value),
        Attr::Pending => Attr::Pending,
    }
}

impl Facts {
    /// Facts at the start of a flow to `host`.
    pub(crate) fn new(entry: Entry, source: IpAddr, host: &Host, port: u16) -> Self {
        let (name, literal, address) = match host {
            Host::Name(name) => (Attr::Known(name.clone()), None, Attr::Pending),
            Host::Addr(address) => (Attr::Pending, Some(*address), Attr::Known(*address)),
        };
        Self {
            entry,
            source,
            port,
            name,
            literal,
            address,
            protocol: Attr::Pending,
            hello: Attr::Pending,
            inspected: false,
        }
    }

    fn evidence<'a>(
        &'a self,
        request: Attr<RequestHead<'a>>,
        response: Attr<ResponseHead<'a>>,
    ) -> Evidence<'a> {
        let hello = match &self.hello {
            Attr::Absent => Attr::Absent,
            Attr::Hidden => Attr::Hidden,
            Attr::Known(hello) => Attr::Known(&**hello),
            Attr::Pending => Attr::Pending,
        };
        Evidence {
            entry: self.entry,
            port: self.port,
            source: Some(self.source),
            name: borrow(&self.name),
            literal: self.literal,
            address: self.address,
            protocol: self.protocol,
            hello,
            request,
            response,
            inspected: self.inspected,
        }
    }

    /// Asks the policy.
    pub(crate) fn judge(
        &self,
        member: &Member,
        request: Attr<RequestHead<'_>>,
        response: Attr<ResponseHead<'_>>,
    ) -> Decision {
        member
            .view
            .decide(&self.evidence(request, response), clock::unix_seconds())
    }

    /// Asks with nothing of HTTP: absent in raw TCP, to come otherwise. Whether what is inside TLS can come is the
    /// policy's to say.
    pub(crate) fn judge_connection(&self, member: &Member) -> Decision {
        match self.protocol {
            Attr::Known(Protocol::Tcp) => self.judge(member, Attr::Absent, Attr::Absent),
            Attr::Known(Protocol::Http | Protocol::Tls)
            | Attr::Absent
            | Attr::Hidden
            | Attr::Pending => self.judge(member, Attr::Pending, Attr::Pending),
        }
    }

    /// Whether the policy could want to look into TLS to this flow's name at all.
    pub(crate) fn inspectable(&self, member: &Member) -> bool {
        match &self.name {
            Attr::Known(name) => member
                .view
                .inspectable(name, self.port, clock::unix_seconds()),
            Attr::Absent | Attr::Hidden | Attr::Pending => false,
        }
    }

    /// Asks about an open relay on the evidence that it has; what was not gathered stays hidden.
    pub(crate) fn judge_open(&self, member: &Member) -> Decision {
        let mut settled = self.clone();
        if settled.protocol.is_pending() {
            settled.protocol = Attr::Hidden;
        }
        if settled.hello.is_pending() {
            settled.hello = Attr::Hidden;
        }
        if settled.name.is_pending() {
            settled.name = Attr::Absent;
        }
        match settled.protocol {
            Attr::Known(Protocol::Tcp) => settled.judge(member, Attr::Absent, Attr::Absent),
            _ => settled.judge(member, Attr::Hidden, Attr::Hidden),
        }
    }
}

/// A decision that leaves nothing to gather: anything but a clear yes is a no.
pub(crate) fn passes(decision: &Decision) -> bool {
    decision.lets_through()
}

/// A decision in the middle of gathering: go on unless it is a clear no.
pub(crate) fn may_go_on(decision: &Decision) -> bool {
    decision.verdict == Verdict::Undecided || decision.lets_through()
}

/// Resolves the flow's name and judges every address. What is left may be dialled, in order of preference.
pub(crate) async fn addresses(
    live: &Live,
    member: &Member,
    facts: &mut Facts,
    request: Attr<RequestHead<'_>>,
    record: &mut Record,
) -> Result<Vec<SocketAddr>, Reason> {
    let candidates: Vec<IpAddr> = match (&facts.name, facts.literal) {
        (Attr::Known(name), _) => {
            let answer = live.resolver.lookup(name).await.map_err(|error| {
                record.fields.detail = Some(error.to_string());
                reason_of(error)
            })?;
            record.fields.chain.clone_from(&answer.chain);
            answer.addresses.clone()
        }
        (_, Some(literal)) => vec![literal],
        (_, None) => Vec::new(),
    };
    record.reached(Stage::Resolved);
    let mut allowed = Vec::with_capacity(candidates.len());
    let mut refused: Option<Decision> = None;
    for address in &candidates {
        facts.address = Attr::Known(*address);
        let mut decision = facts.judge(member, request, Attr::Pending);
        if passes_self_check(live, *address, facts.port) {
            if may_go_on(&decision) {
                allowed.push((SocketAddr::new(*address, facts.port), decision));
                continue;
            }
        } else {
            decision.verdict = Verdict::Deny;
            decision.reason = PolicyReason::SelfAddress;
            decision.enforced = true;
        }
        refused.get_or_insert(decision);
    }
    record.fields.resolved = candidates;
    if let Some(refusal) = refused.filter(|_| allowed.is_empty() || live.settings.strict_answers) {
        let reason = Reason::Policy(refusal.reason);
        record.decided(&refusal);
        return Err(reason);
    }
    let Some((first, decision)) = allowed.first() else {
        return Err(Reason::NoAddress);
    };
    facts.address = Attr::Known(first.ip());
    record.decided(decision);
    Ok(allowed.into_iter().map(|(address, _)| address).collect())
}

fn reason_of(error: ResolveError) -> Reason {
    match error {
        ResolveError::NoAddress => Reason::NoAddress,
        ResolveError::Timeout => Reason::ResolveTimeout,
        ResolveError::Malformed
        | ResolveError::NoServers
        | ResolveError::NotFound
        | ResolveError::ServFail
        | ResolveError::Unreachable => Reason::ResolveFailed,
    }
}

/// A listener on a wildcard address is reached by every address of this host. Whether an address is one of
/// those is a question for the routing table, asked only where the port is ours.
fn passes_self_check(live: &Live, address: IpAddr, port: u16) -> bool {
    let ours = live.snapshot.own_listeners.iter().any(|own| {
        own.port() == port
            && own.ip().is_unspecified()
            && (own.is_ipv6() || address.to_canonical().is_ipv4())
    });
    !ours || !is_local(address)
}

fn is_local(address: IpAddr) -> bool {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    // Connecting a datagram socket sends nothing; a local destination gets itself as source.
    let source =
        UdpSocket::bind(any).and_then(|s| s.connect((address, 9)).and_then(|()| s.local_addr()));
    // Without an answer the address counts as ours: the connection could not have been made either.
    source.is_ok_and(|s| s.ip() == address) || address.is_loopback()
}

/// Connects to one of the judged addresses, through the parent proxy where there is one.
pub(crate) async fn dial(
    live: &Live,
    addresses: &[SocketAddr],
) -> Result<(TcpStream, SocketAddr), DialError> {
    let limit = live.settings.dial;
    let Some(parent) = &live.settings.parent else {
        return dial::connect(addresses, limit).await;
    };
    let port = parent.port.unwrap_or(3128);
    let hops: Vec<SocketAddr> = match (live.settings.parent_literal(), &parent.host) {
        (Some(literal), _) => vec![literal],
        (None, Host::Name(name)) => {
            let failed = |e: ResolveError| DialError {
                reason: Reason::ParentFailed,
                detail: format!("parent: {e}"),
            };
            let answer = live.resolver.lookup(name).await.map_err(failed)?;
            answer
                .addresses
                .iter()
                .map(|ip| SocketAddr::new(*ip, port))
                .collect()
        }
        (None, Host::Addr(address)) => vec![SocketAddr::new(*address, port)],
    };
    let mut last = DialError {
        reason: Reason::NoAddress,
        detail: "no address left to dial".to_owned(),
    };
    for address in addresses {
        match dial::through_parent(&hops, *address, limit).await {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What an open connection needs to be judged again.
pub(crate) struct Standing {
    pub(crate) facts: Facts,
    pub(crate) member: Arc<Member>,
    pub(crate) sans: Arc<[String]>,
    pub(crate) user: Option<String>,
    /// Set once the connection is an upgraded stream.
    pub(crate) upgraded: Option<Box<Upgraded>>,
}

impl Standing {
    /// Whether this connection may stay under another revision, by the identity that it has there.
    pub(crate) fn holds(&mut self, live: &Live) -> bool {
        let Ok(member) = live
            .identities
            .place(self.facts.source, &self.sans, self.user.as_deref())
        else {
            return false;
        };
        if *member.workload != *self.member.workload
            && (member.workload.namespace != self.member.workload.namespace
                || member.workload.name != self.member.workload.name)
        {
            return false;
        }
        self.member = member;
        passes(&match &self.upgraded {
            None => self.facts.judge_open(&self.member),
            Some(upgraded) => {
                let asked = upgraded.request.headers.pairs();
                let answered = upgraded.response.headers.pairs();
                let Ok(request) = request_head(&upgraded.request, &asked) else {
                    return false;
                };
                let response = response_head(&upgraded.response, &answered);
                let (request, response) = (Attr::Known(request), Attr::Known(response));
                self.facts.judge(&self.member, request, response)
            }
        })
    }
}
