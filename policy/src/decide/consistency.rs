//! Name consistency: every name that a flow shows is the same, and every port is the connection's.

use crate::{
    evidence::{Attr, Protocol},
    matcher::{Context, Inside},
    name::{Authority, Host, Name},
    reason::Reason,
};

/// What the shown names say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consistency {
    /// They contradict each other.
    Broken(Reason),
    /// A handshake under a name shows none.
    NoSni,
    /// More is to be seen.
    Open,
    Whole,
}

pub(super) fn consistency(context: &Context<'_>) -> Consistency {
    match context.protocol {
        Attr::Known(Protocol::Http) => request(context, None),
        Attr::Known(Protocol::Tls) => handshake(context),
        Attr::Pending => Consistency::Open,
        Attr::Known(Protocol::Tcp) | Attr::Absent | Attr::Hidden => Consistency::Whole,
    }
}

fn handshake(context: &Context<'_>) -> Consistency {
    let hello = match context.hello {
        Attr::Known(hello) => hello,
        Attr::Pending => return Consistency::Open,
        Attr::Absent | Attr::Hidden => return Consistency::Whole,
    };
    let mut result = Consistency::Whole;
    if let Attr::Known(name) = context.name {
        match &hello.sni {
            Some(sni) if sni != name => return Consistency::Broken(Reason::NameMismatch),
            // Where TLS can still be opened, a missing name counts once it is not.
            None if context.is_closed() && context.inside != Inside::Open => {
                result = Consistency::NoSni;
            }
            _ => {}
        }
    }
    if context.evidence.inspected {
        return request(context, hello.sni.as_ref());
    }
    result
}

fn request(context: &Context<'_>, sni: Option<&Name>) -> Consistency {
    match context.request {
        Attr::Known(head) => match head.authority {
            Some(authority) => shown(context, authority, sni),
            None => Consistency::Whole,
        },
        Attr::Pending => Consistency::Open,
        Attr::Absent | Attr::Hidden => Consistency::Whole,
    }
}

fn shown(context: &Context<'_>, authority: &Authority, sni: Option<&Name>) -> Consistency {
    let judged = match context.name {
        Attr::Known(name) => Some(name),
        Attr::Absent | Attr::Hidden | Attr::Pending => sni,
    };
    let same = match (&authority.host, judged) {
        (Host::Name(host), Some(name)) => host == name,
        // Judged as an address: a name that is shown alone contradicts nothing.
        (Host::Name(_), None) => true,
        (Host::Addr(addr), None) => context.literal.is_none_or(|literal| literal == *addr),
        (Host::Addr(_), Some(_)) => false,
    };
    if !same {
        return Consistency::Broken(Reason::NameMismatch);
    }
    if authority
        .port
        .is_some_and(|port| port != context.evidence.port)
    {
        return Consistency::Broken(Reason::PortMismatch);
    }
    Consistency::Whole
}
