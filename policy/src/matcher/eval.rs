//! Evaluation of conditions on evidence.

use super::{
    content::ResponseMatcher,
    context::Context,
    rule::{
        CidrMatcher, FromMatcher, Matcher, NameMatcher, RULE_ALL_PROTOCOLS, RULE_HTTP, RULE_TCP,
        RULE_TLS,
    },
    tri::Tri,
};
use crate::evidence::{Attr, Protocol};

/// How a condition is treated: in an Allow or in a Deny, plain or negated. What helps an Allow to hold must be certain in
/// every reading; what helps a Deny to hold need only be so in one. A `not` turns that round for what it wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    denies: bool,
    negated: bool,
}

impl Side {
    pub(crate) const ALLOW: Self = Self {
        denies: false,
        negated: false,
    };
    pub(crate) const DENY: Self = Self {
        denies: true,
        negated: false,
    };

    /// Whether the rule is a Deny or Alert.
    pub(crate) fn denies(self) -> bool {
        self.denies
    }

    /// One matching reading, value or address is enough.
    pub(crate) fn lenient(self) -> bool {
        self.denies != self.negated
    }

    /// The value that makes the condition, negated or not, hold in an Allow and be false in a Deny.
    pub(crate) fn favourable(self) -> bool {
        self.denies == self.negated
    }

    fn inside_not(self) -> Self {
        Self {
            negated: true,
            ..self
        }
    }
}

/// The conditions of a rule, the cheap ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Ports,
    Names,
    From,
    Cidrs,
    Protocol,
    Tls,
    Http,
    Response,
    When,
    Not,
}

const FIELDS: [Field; 10] = [
    Field::Ports,
    Field::Names,
    Field::From,
    Field::Cidrs,
    Field::Protocol,
    Field::Tls,
    Field::Http,
    Field::Response,
    Field::When,
    Field::Not,
];

impl Field {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ports => "to.ports",
            Self::Names => "to.hosts",
            Self::From => "from",
            Self::Cidrs => "to.cidrs",
            Self::Protocol => "to.protocol",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Response => "response",
            Self::When => "when",
            Self::Not => "not",
        }
    }
}

impl Matcher {
    /// Whether all conditions hold.
    pub(crate) fn matches(&self, context: &Context<'_>, side: Side) -> Tri {
        self.evaluate(context, side, |_| true)
    }

    /// Whether all conditions but those on the response hold.
    pub(crate) fn matches_but_response(&self, context: &Context<'_>, side: Side) -> Tri {
        self.evaluate(context, side, |field| field != Field::Response)
    }

    /// Whether all conditions hold that ask for nothing inside TLS.
    pub(crate) fn matches_but_content(&self, context: &Context<'_>, side: Side) -> Tri {
        self.evaluate(context, side, |field| match field {
            Field::Http | Field::Response => false,
            Field::When => !self
                .when
                .as_ref()
                .is_some_and(|when| when.uses().needs_content()),
            Field::Not => !self.not.as_ref().is_some_and(|not| not.needs_content()),
            Field::Ports
            | Field::Names
            | Field::From
            | Field::Cidrs
            | Field::Protocol
            | Field::Tls => true,
        })
    }

    #[inline]
    fn evaluate(&self, context: &Context<'_>, side: Side, wanted: impl Fn(Field) -> bool) -> Tri {
        let mut all = Tri::TRUE;
        for field in FIELDS {
            if !wanted(field) {
                continue;
            }
            if let Some(value) = self.field(field, context, side) {
                all = all.and(value);
                if all.is_false() {
                    break;
                }
            }
        }
        all
    }

    /// Every condition with its value, for explanations.
    pub(crate) fn each(&self, context: &Context<'_>, side: Side) -> Vec<(&'static str, Tri)> {
        FIELDS
            .into_iter()
            .filter_map(|field| Some((field.as_str(), self.field(field, context, side)?)))
            .collect()
    }

    #[inline]
    fn field(&self, field: Field, context: &Context<'_>, side: Side) -> Option<Tri> {
        match field {
            Field::Ports => self
                .ports
                .as_ref()
                .map(|ports| ports.contains(context.evidence.port).into()),
            Field::Names => self.names.as_ref().map(|names| names.judge(context, side)),
            Field::From => self.from.as_ref().map(|from| from.judge(context, side)),
            Field::Cidrs => self.cidrs.as_ref().map(|cidrs| cidrs.judge(context, side)),
            Field::Protocol => {
                (self.protocols != RULE_ALL_PROTOCOLS).then(|| self.protocol(context))
            }
            Field::Tls => self.tls.as_ref().map(|tls| match context.hello {
                Attr::Known(hello) => tls.matches(hello).into(),
                Attr::Absent => Tri::FALSE,
                Attr::Hidden => Tri::HIDDEN,
                Attr::Pending => Tri::OPEN,
            }),
            Field::Http => self.http.as_ref().map(|http| {
                content(context, side, context.request, |head| {
                    http.matches(head, side).into()
                })
            }),
            Field::Response => self
                .response
                .as_ref()
                .map(|response| response.judge(context, side)),
            Field::When => self.when.as_ref().map(|when| when.judge(context, side)),
            Field::Not => self
                .not
                .as_ref()
                .map(|not| not.matches(context, side.inside_not()).not()),
        }
    }

    pub(crate) fn protocol(&self, context: &Context<'_>) -> Tri {
        if self.protocols == RULE_ALL_PROTOCOLS
            || (self.protocols_implied && context.ignore_implied_protocols)
        {
            return Tri::TRUE;
        }
        match context.protocol {
            Attr::Known(protocol) => {
                let bit = match protocol {
                    Protocol::Http => RULE_HTTP,
                    Protocol::Tcp => RULE_TCP,
                    Protocol::Tls => RULE_TLS,
                };
                (self.protocols & bit != 0).into()
            }
            Attr::Absent => Tri::FALSE,
            Attr::Hidden => Tri::HIDDEN,
            Attr::Pending => Tri::OPEN,
        }
    }
}

impl ResponseMatcher {
    pub(crate) fn judge(&self, context: &Context<'_>, side: Side) -> Tri {
        content(context, side, context.response, |head| {
            self.matches(head, side)
        })
    }
}

/// A condition on content: hidden inside TLS that is not opened, and in a Deny favourable to the flow under a Passthrough.
pub(crate) fn content<T>(
    context: &Context<'_>,
    side: Side,
    attr: Attr<T>,
    check: impl Fn(&T) -> Tri,
) -> Tri {
    if context.passthrough && context.is_closed() {
        return if side.denies {
            side.favourable().into()
        } else {
            Tri::HIDDEN
        };
    }
    match attr {
        Attr::Known(value) => check(&value),
        Attr::Absent => Tri::FALSE,
        Attr::Hidden => Tri::HIDDEN,
        Attr::Pending if context.may_be_sealed() => Tri::ANY,
        Attr::Pending => Tri::OPEN,
    }
}

impl NameMatcher {
    pub(crate) fn judge(&self, context: &Context<'_>, side: Side) -> Tri {
        if !side.denies {
            // What an Allow is judged by is the one judged name; without any, a name matcher is false, negated or not.
            let judged = match context.name {
                Attr::Known(name) => self.matches(name),
                Attr::Absent => return side.negated.into(),
                Attr::Hidden => return Tri::HIDDEN,
                Attr::Pending => return Tri::OPEN,
            };
            return if side.negated {
                self.any_shown(context, judged)
            } else {
                judged
            };
        }
        if side.negated {
            // A flow without a name is not one of these.
            if context.names.is_empty() && !context.more_names {
                return Tri::FALSE;
            }
            let all = context
                .names
                .iter()
                .fold(Tri::TRUE, |all, name| all.and(self.matches(name)));
            return if context.more_names {
                all.and(Tri::OPEN)
            } else {
                all
            };
        }
        self.any_shown(context, Tri::FALSE)
    }

    fn any_shown(&self, context: &Context<'_>, so_far: Tri) -> Tri {
        let any = context
            .names
            .iter()
            .fold(so_far, |any, name| any.or(self.matches(name)));
        if context.more_names {
            any.or(Tri::OPEN)
        } else {
            any
        }
    }
}

impl CidrMatcher {
    pub(crate) fn judge(&self, context: &Context<'_>, side: Side) -> Tri {
        if self.literal_only && !side.negated {
            let Some(literal) = context.literal else {
                return Tri::FALSE;
            };
            return match context.name {
                Attr::Known(_) => Tri::FALSE,
                Attr::Absent => self.contains(literal, false),
                Attr::Hidden => Tri::HIDDEN,
                Attr::Pending => self.contains(literal, false).and(Tri::OPEN),
            };
        }
        let lenient = side.lenient() && !self.always_strict;
        let resolved = match context.address {
            Attr::Known(addr) => Some(self.contains(addr, lenient)),
            Attr::Absent => None,
            Attr::Hidden => Some(Tri::NO_ADDRESS),
            Attr::Pending => Some(Tri::OPEN),
        };
        if self.resolved_only && !side.lenient() {
            return resolved.unwrap_or(Tri::FALSE);
        }
        let literal = context.literal.map(|addr| self.contains(addr, lenient));
        match (literal, resolved) {
            (None, None) => Tri::FALSE,
            (Some(one), None) | (None, Some(one)) => one,
            (Some(one), Some(other)) if lenient => one.or(other),
            (Some(one), Some(other)) => one.and(other),
        }
    }
}

impl FromMatcher {
    pub(crate) fn judge(&self, context: &Context<'_>, side: Side) -> Tri {
        if !context.from.get(self.id).copied().unwrap_or(false) {
            return Tri::FALSE;
        }
        match (&self.cidrs, context.evidence.source) {
            (None, _) => Tri::TRUE,
            (Some(_), None) => Tri::FALSE,
            (Some(cidrs), Some(source)) if side.lenient() => {
                cidrs.contains_any_reading(source).into()
            }
            (Some(cidrs), Some(source)) => cidrs.contains(source).into(),
        }
    }
}
