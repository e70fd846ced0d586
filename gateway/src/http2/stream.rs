//! One stream: its request is judged, passed on to an origin that may have to be reached anew, or refused.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use exitgate_policy::decide::Decision;
use exitgate_policy::evidence::Attr;
use exitgate_policy::name::Host;
use exitgate_policy::reason::Reason as PolicyReason;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{HeaderName, HeaderValue};
use tokio::time::Instant;

use super::connection::Common;
use super::exchange::{self, Ended};
use super::head::{Fault, Head, is_grpc};
use super::{answer, upgraded};
use crate::enforce::{self, Facts};
use crate::identity::Member;
use crate::inject;
use crate::live::Live;
use crate::reason::Reason;
use crate::record::{ClosedBy, Record, RequestFields, Stage, VerdictLabel};

/// RFC 9110, 15.5.20: the request came over a connection that is not for its authority.
const MISDIRECTED: u16 = 421;

/// A request on its way.
pub(super) struct Asked<'a> {
    pub(super) common: &'a Common,
    pub(super) live: Arc<Live>,
    pub(super) member: Arc<Member>,
    pub(super) facts: Cow<'a, Facts>,
    pub(super) head: Head,
    pub(super) decision: Decision,
    pub(super) respond: SendResponse<Bytes>,
    pub(super) record: Record,
    /// Interim responses passed on.
    pub(super) interim: u32,
    /// When it must have ended.
    pub(super) until: Instant,
}

/// Why a stream ends with an answer of ours.
struct Refused {
    reason: Reason,
    status: Option<u16>,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            status: None,
        }
    }
}

/// Serves one stream to its end. The record is written whatever happens.
pub(super) async fn serve(
    common: &Common,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let live = common.shared.state.current();
    let mut record = common.record(live.as_ref());
    let (parts, body) = request.into_parts();
    let grpc = is_grpc(&parts.headers);
    let judged = match live {
        None => Err(Reason::NotReady.into()),
        Some(live) => match Head::read(parts, body.is_end_stream()) {
            Ok(head) => {
                describe(&mut record, &head);
                judge(common, live, head, &mut record)
            }
            Err(fault) => match describe_fault(&mut record, fault) {
                Some(refused) => Err(refused),
                None => return respond.send_reset(h2::Reason::PROTOCOL_ERROR),
            },
        },
    };
    let (live, member, head, decision) = match judged {
        Ok(judged) => judged,
        Err(Refused { reason, status }) => {
            return answer::refuse(&mut respond, &mut record, reason, status, grpc);
        }
    };
    let until = Instant::now() + live.settings.total;
    let mut asked = Asked {
        common,
        live,
        member,
        facts: Cow::Borrowed(&common.standing.facts),
        head,
        decision,
        respond,
        record,
        interim: 0,
        until,
    };
    if let Err(Refused { reason, status }) = asked.pass_on(body).await {
        answer::refuse(&mut asked.respond, &mut asked.record, reason, status, grpc);
    }
}

type Judged = (Arc<Live>, Arc<Member>, Head, Decision);

fn judge(
    common: &Common,
    live: Arc<Live>,
    head: Head,
    record: &mut Record,
) -> Result<Judged, Refused> {
    if common.shared.recorder.refuses() {
        record.fields.detail = Some("records cannot be written".to_owned());
        return Err(Reason::NotReady.into());
    }
    refuse_nested_tunnel(&head)?;
    let member = common.member(&live)?;
    let decision = judge_request(&common.standing.facts, &member, &head, record)?;
    Ok((live, member, head, decision))
}

fn judge_request(
    facts: &Facts,
    member: &Member,
    head: &Head,
    record: &mut Record,
) -> Result<Decision, Refused> {
    let pairs = head.pairs();
    let decision = facts.judge(member, Attr::Known(head.judged(&pairs)), Attr::Pending);
    record.decided(&decision);
    // The connection is to the host that the handshake named, whatever is let through elsewhere.
    if let Some((reason, status)) = misdirected(facts, head) {
        return Err(Refused {
            reason: Reason::Policy(reason),
            status: Some(status),
        });
    }
    if enforce::may_go_on(&decision) {
        Ok(decision)
    } else {
        Err(Reason::Policy(decision.reason).into())
    }
}

fn misdirected(facts: &Facts, head: &Head) -> Option<(PolicyReason, u16)> {
    let same = match (&facts.name, &head.authority.host) {
        (Attr::Known(name), Host::Name(host)) => name == host,
        _ => false,
    };
    if !same {
        return Some((PolicyReason::NameMismatch, MISDIRECTED));
    }
    let port = head.authority.port.unwrap_or(facts.port);
    (port != facts.port).then_some((PolicyReason::PortMismatch, 400))
}

/// Proxying of UDP and IP over HTTP (RFC 9298, RFC 9484) would open a tunnel that nothing judges.
fn refuse_nested_tunnel(head: &Head) -> Result<(), Reason> {
    const MASQUE: &[u8] = b"/.well-known/masque";
    let readings = [head.path.plain(), head.path.slashed()];
    if readings.iter().any(|reading| reading.starts_with(MASQUE)) {
        return Err(Reason::ProtocolNotAllowed);
    }
    Ok(())
}

fn describe(record: &mut Record, head: &Head) {
    record.fields.host = Some(head.authority.host.to_string());
    record.fields.request = Some(RequestFields {
        method: head.method.as_str().to_owned(),
        path: head.path.raw().to_vec(),
        scheme: "https",
        user_agent: head
            .headers
            .get(http::header::USER_AGENT)
            .map(|value| value.as_bytes().to_vec()),
    });
}

/// `None`: a stream error, of which the record now tells.
fn describe_fault(record: &mut Record, fault: Fault) -> Option<Refused> {
    match fault {
        Fault::Malformed(detail) => {
            record.fields.detail = Some(detail.to_owned());
            record.fields.closed_by = Some(ClosedBy::Gateway);
            record.end(VerdictLabel::Deny, Reason::BadRequest);
            None
        }
        Fault::Refused {
            reason,
            status,
            detail,
        } => {
            record.fields.detail = Some(detail);
            Some(Refused { reason, status })
        }
    }
}

/// The fields that the policy adds to a request, as this protocol carries them.
fn injected(
    live: &Live,
    decision: &Decision,
    record: &mut Record,
) -> Result<Vec<(HeaderName, HeaderValue)>, Reason> {
    inject::fields(live, decision, record)?
        .into_iter()
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_bytes(value.expose());
            let (Ok(name), Ok(mut value)) = (name, value) else {
                return Err(Reason::Policy(PolicyReason::CredentialUnavailable));
            };
            // Not to be found out by what it compresses to.
            value.set_sensitive(true);
            Ok((name, value))
        })
        .collect()
}

impl Asked<'_> {
    /// Sends the request to the origin and the response back, or says what the client is to be told.
    async fn pass_on(&mut self, body: RecvStream) -> Result<(), Refused> {
        let mut body = Some(body);
        let mut again = true;
        loop {
            let upstream = match self.common.upstream(&self.live).await {
                Ok(upstream) => upstream,
                Err(Some(error)) => {
                    self.record.fields.detail = Some(error.detail);
                    return Err(error.reason.into());
                }
                Err(None) => {
                    self.send_back("the origin takes no more requests here");
                    return Ok(());
                }
            };
            let address = upstream.address().ip();
            if self.facts.address != Attr::Known(address) {
                self.facts.to_mut().address = Attr::Known(address);
                self.decision =
                    judge_request(&self.facts, &self.member, &self.head, &mut self.record)?;
            }
            self.record.fields.address = Some(address);
            self.record.fields.origin = upstream.certificate().cloned();
            self.record.reached(Stage::Dialled);
            let injected = injected(&self.live, &self.decision, &mut self.record)?;
            let ended = exchange::run(self, &upstream, &mut body, &injected).await;
            self.record.reached(Stage::Relayed);
            match ended {
                Ended::Done => return Ok(()),
                Ended::Refuse(reason) => return Err(reason.into()),
                Ended::Lost { retire } => {
                    if retire {
                        upstream.retire();
                    }
                    if body.is_none() || !std::mem::take(&mut again) {
                        self.send_back("the origin did not take the request");
                        return Ok(());
                    }
                }
                Ended::Switched(switched) => {
                    upgraded::run(self, *switched).await;
                    return Ok(());
                }
            }
        }
    }

    /// The origin has not seen the request: the client may send it again.
    fn send_back(&mut self, detail: &str) {
        self.record.fields.detail = Some(detail.to_owned());
        self.record.end(VerdictLabel::Error, Reason::UpstreamReset);
        self.record.fields.closed_by = Some(ClosedBy::Upstream);
        self.respond.send_reset(h2::Reason::REFUSED_STREAM);
    }

    /// Judges a response head; says how much content may follow.
    pub(super) fn judge_response(&mut self, answer: &super::head::Answer) -> Option<u64> {
        use exitgate_policy::decide::Verdict;
        if self.decision.verdict != Verdict::Undecided && !self.decision.watch_response {
            return Some(u64::MAX);
        }
        let (asked, answered) = (self.head.pairs(), answer.pairs());
        let decision = self.facts.judge(
            &self.member,
            Attr::Known(self.head.judged(&asked)),
            Attr::Known(answer.judged(&answered)),
        );
        self.record.decided(&decision);
        enforce::passes(&decision).then(|| decision.body_limit.unwrap_or(u64::MAX))
    }
}
