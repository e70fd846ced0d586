//! `when` expressions (CEL). An expression waits until every attribute that it uses is known, and its cost is bounded
//! before it is accepted, from the sizes that attributes can have.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use cel::{
    Env, Program, Value,
    common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue},
    objects::{Key, Map},
};

use super::{context::Context, eval::Side, tri::Tri};
use crate::evidence::{Attr, Entry, Headers, Protocol, TlsVersion};

/// Longest expression.
const MAX_TEXT: usize = 2_048;
/// Highest estimated cost; a unit is about a byte looked at.
const MAX_COST: u64 = 2_000_000;
/// Deepest nesting of brackets and operators in the text.
const MAX_DEPTH: usize = 40;
/// Deepest tree of operations. Evaluation recurses, on the stack of whatever thread asks.
const MAX_TREE: u32 = 32;
/// The parser takes about 140 KiB for each level of brackets in a debug build.
const PARSER_STACK: usize = 32 << 20;
/// What one head may hold (the gateway's own limit is lower or equal).
const HEAD_BYTES: u64 = 65_536;
/// How many header lines or labels there may be.
const ENTRIES: u64 = 256;
/// Compiling a pattern costs more than running it.
const REGEX_COST: u64 = 100_000;
const MAX_REGEX: usize = 200;

/// Which attributes an expression uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uses(u8);

impl Uses {
    const NAME: u8 = 1;
    const ADDRESS: u8 = 2;
    const PROTOCOL: u8 = 4;
    const TLS: u8 = 8;
    const REQUEST: u8 = 16;
    const RESPONSE: u8 = 32;
    const WORKLOAD: u8 = 64;
    const SOURCE: u8 = 128;

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// Whether something inside TLS is asked.
    pub(crate) fn needs_content(self) -> bool {
        self.has(Self::REQUEST | Self::RESPONSE)
    }

    /// Whether the workload itself is asked.
    pub(crate) fn needs_workload(self) -> bool {
        self.has(Self::WORKLOAD)
    }
}

/// Top-level variables: name, the bit of `Uses`, and the greatest size of a text below it.
const VARIABLES: [(&str, u8, u64); 9] = [
    ("name", Uses::NAME, 253),
    ("port", 0, 1),
    ("entry", 0, 10),
    ("source", Uses::SOURCE, 45),
    ("address", Uses::ADDRESS, 45),
    ("protocol", Uses::PROTOCOL, 4),
    ("workload", Uses::WORKLOAD, 1_024),
    ("tls", Uses::TLS, 1_024),
    ("request", Uses::REQUEST, HEAD_BYTES),
];
const RESPONSE: (&str, u8, u64) = ("response", Uses::RESPONSE, HEAD_BYTES);

/// A compiled expression.
pub(crate) struct Expression {
    text: Box<str>,
    program: Program,
    env: Arc<Env>,
    uses: Uses,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

impl Expression {
    /// Compiles an expression; the error says what is wrong.
    pub(crate) fn compile(text: &str, env: &Arc<Env>) -> Result<Self, String> {
        if text.len() > MAX_TEXT {
            return Err(format!(
                "the expression has {} bytes; at most {MAX_TEXT} are accepted",
                text.len()
            ));
        }
        if nesting(text) > MAX_DEPTH {
            return Err(format!("the expression is nested deeper than {MAX_DEPTH}"));
        }
        let program = parse(text, env)?;
        let mut estimate = Estimate {
            uses: Uses::default(),
            bound: Vec::new(),
        };
        let cost = estimate.of(program.expression(), 0)?.cost;
        if cost > MAX_COST {
            return Err(format!(
                "the expression may cost {cost} units, more than {MAX_COST}; avoid nested loops and comparisons of whole heads"
            ));
        }
        Ok(Self {
            text: text.into(),
            program,
            env: Arc::clone(env),
            uses: estimate.uses,
        })
    }

    pub(crate) fn uses(&self) -> Uses {
        self.uses
    }

    /// The value on this evidence.
    pub(crate) fn judge(&self, context: &Context<'_>, side: Side) -> Tri {
        let uses = self.uses;
        let mut ready = Tri::TRUE;
        let mut need = |bit: u8, state: Tri| {
            if uses.has(bit) {
                ready = ready.and(state);
            }
        };
        need(Uses::NAME, state(&context.name));
        need(Uses::ADDRESS, state(&context.address));
        need(Uses::PROTOCOL, state(&context.protocol));
        need(Uses::TLS, state(&context.hello));
        need(Uses::SOURCE, context.evidence.source.is_some().into());
        need(Uses::WORKLOAD, context.workload.is_some().into());
        if uses.needs_content() {
            if context.passthrough && context.is_closed() {
                // Under a Passthrough a Deny's condition on content is false, negated or not.
                return if side.denies() {
                    side.favourable().into()
                } else {
                    Tri::HIDDEN
                };
            }
            let waiting = if context.may_be_sealed() {
                Tri::ANY
            } else {
                Tri::OPEN
            };
            let request = if context.request.is_pending() {
                waiting
            } else {
                state(&context.request)
            };
            let response = if context.response.is_pending() {
                waiting
            } else {
                state(&context.response)
            };
            need(Uses::REQUEST, request);
            need(Uses::RESPONSE, response);
        }
        if !ready.is_settled() {
            // Which value comes out is open, an error included.
            return if ready.is_false() { ready } else { Tri::ANY };
        }
        if !ready.is_true() {
            return ready;
        }
        catch_unwind(AssertUnwindSafe(|| self.run(context))).unwrap_or(Tri::ERROR)
    }

    fn run(&self, context: &Context<'_>) -> Tri {
        let mut scope = cel::Context::with_env(Arc::clone(&self.env));
        let evidence = context.evidence;
        scope.add_variable_from_value("port", i64::from(evidence.port));
        scope.add_variable_from_value(
            "entry",
            match evidence.entry {
                Entry::Connect => "connect",
                Entry::Dns => "dns",
                Entry::Forward => "forward",
                Entry::Redirected => "redirected",
            },
        );
        if let Attr::Known(name) = context.name {
            scope.add_variable_from_value("name", name.as_str());
        }
        if let Some(source) = evidence.source {
            scope.add_variable_from_value("source", source.to_string());
        }
        if let Attr::Known(addr) = context.address {
            scope.add_variable_from_value("address", addr.to_string());
        }
        if let Attr::Known(protocol) = context.protocol {
            scope.add_variable_from_value(
                "protocol",
                match protocol {
                    Protocol::Http => "HTTP",
                    Protocol::Tcp => "TCP",
                    Protocol::Tls => "TLS",
                },
            );
        }
        if let Some(workload) = context.workload.filter(|_| self.uses.needs_workload()) {
            let labels = workload
                .labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str().into()));
            scope.add_variable_from_value(
                "workload",
                map([
                    ("namespace", workload.namespace.as_str().into()),
                    ("name", workload.name.as_str().into()),
                    (
                        "serviceAccount",
                        workload
                            .service_account
                            .as_deref()
                            .unwrap_or_default()
                            .into(),
                    ),
                    ("labels", map(labels)),
                ]),
            );
        }
        if let Some(hello) = context.hello.known().filter(|_| self.uses.has(Uses::TLS)) {
            let version = match hello.version {
                TlsVersion::Ssl3 => "SSL3",
                TlsVersion::Tls10 => "1.0",
                TlsVersion::Tls11 => "1.1",
                TlsVersion::Tls12 => "1.2",
                TlsVersion::Tls13 => "1.3",
            };
            let alpn: Vec<Value> = hello.alpn.iter().map(|one| text(one)).collect();
            scope.add_variable_from_value(
                "tls",
                map([
                    (
                        "sni",
                        hello.sni.as_ref().map_or("", |name| name.as_str()).into(),
                    ),
                    ("version", version.into()),
                    ("ja4", hello.ja4.as_str().into()),
                    ("ech", Value::Bool(hello.ech)),
                    ("alpn", Value::List(Arc::new(alpn))),
                ]),
            );
        }
        if let Some(head) = context
            .request
            .known()
            .filter(|_| self.uses.has(Uses::REQUEST))
        {
            scope.add_variable_from_value(
                "request",
                map([
                    ("method", head.method.into()),
                    ("path", text(head.path.plain())),
                    (
                        "host",
                        head.authority
                            .map(ToString::to_string)
                            .unwrap_or_default()
                            .into(),
                    ),
                    ("headers", headers(head.headers)),
                    ("contentLength", length(head.content_length)),
                ]),
            );
        }
        if let Some(head) = context
            .response
            .known()
            .filter(|_| self.uses.has(Uses::RESPONSE))
        {
            scope.add_variable_from_value(
                "response",
                map([
                    ("status", Value::Int(head.status.into())),
                    ("headers", headers(head.headers)),
                    ("contentLength", length(head.content_length)),
                ]),
            );
        }
        match self.program.execute(&scope) {
            Ok(Value::Bool(value)) => value.into(),
            _ => Tri::ERROR,
        }
    }
}

fn state<T>(attr: &Attr<T>) -> Tri {
    match attr {
        Attr::Absent => Tri::FALSE,
        Attr::Hidden => Tri::HIDDEN,
        Attr::Known(_) => Tri::TRUE,
        Attr::Pending => Tri::OPEN,
    }
}

fn text(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).into_owned().into()
}

fn length(value: Option<u64>) -> Value {
    // -1 stands for a length that is not declared.
    Value::Int(value.map_or(-1, |length| i64::try_from(length).unwrap_or(i64::MAX)))
}

fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Value)>) -> Value {
    let entries: HashMap<Key, Value> = entries
        .into_iter()
        .map(|(key, value)| (Key::from(key.to_owned()), value))
        .collect();
    Value::Map(Map {
        map: Arc::new(entries),
    })
}

/// Header lines by name; the values of a repeated one are joined with a comma.
fn headers(lines: Headers<'_>) -> Value {
    let mut joined: HashMap<&str, String> = HashMap::new();
    for (name, value) in lines {
        let value = String::from_utf8_lossy(value);
        joined
            .entry(name)
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    map(joined.into_iter().map(|(name, value)| (name, value.into())))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parser is not ours: whatever it does with odd input must stay a message. It recurses, with large frames, so that it
/// gets a stack which the deepest accepted nesting cannot exhaust: an overflow would end the process.
fn parse(text: &str, env: &Env) -> Result<Program, String> {
    let parsed = thread::scope(|scope| {
        thread::Builder::new()
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || env.compile(text))
            .map(thread::ScopedJoinHandle::join)
    });
    match parsed {
        Ok(Ok(Ok(program))) => Ok(program),
        Ok(Ok(Err(error))) => Err(format!(
            "the expression cannot be parsed: {}",
            one_line(&error.to_string())
        )),
        Ok(Err(_)) | Err(_) => Err("the expression cannot be parsed".to_owned()),
    }
}

/// The greatest depth of brackets, unary and conditional operators, which the parser recurses on.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest, mut run) = (0_usize, 0, 0_usize);
    for byte in text.bytes() {
        match byte {
            // What follows a conditional may be another one, and nothing but the end of the text tells that it is over.
            b'(' | b'[' | b'{' | b'?' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'!' | b'-' => run += 1,
            b' ' => {}
            _ => run = 0,
        }
        deepest = deepest.max(depth + run);
    }
    deepest
}

/// What evaluating a part may cost, and how large its value may be: bytes of a text, or entries of a list or map and the
/// size of one entry.
#[derive(Clone, Copy)]
struct Bounds {
    cost: u64,
    size: u64,
    entry: u64,
}

struct Estimate {
    uses: Uses,
    /// Variables of loops, with the size of what they stand for.
    bound: Vec<(String, u64)>,
}

impl Estimate {
    fn of(&mut self, node: &IdedExpr, depth: u32) -> Result<Bounds, String> {
        if depth >= MAX_TREE {
            return Err(format!(
                "the expression has more than {MAX_TREE} operations inside one another"
            ));
        }
        let depth = depth + 1;
        match &node.expr {
            Expr::Unspecified | Expr::Struct(_) => {
                Err("this form of expression is not supported".to_owned())
            }
            Expr::Literal(LiteralValue::String(value)) => {
                let size = value.inner().len() as u64;
                Ok(Bounds {
                    cost: 1,
                    size,
                    entry: size,
                })
            }
            Expr::Literal(LiteralValue::Bytes(value)) => {
                let size = value.inner().len() as u64;
                Ok(Bounds {
                    cost: 1,
                    size,
                    entry: size,
                })
            }
            Expr::Literal(_) => Ok(Bounds {
                cost: 1,
                size: 1,
                entry: 1,
            }),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => {
                let inner = self.of(&select.operand, depth)?;
                let maps = matches!(select.field.as_str(), "headers" | "labels" | "alpn");
                let size = if maps { ENTRIES } else { inner.entry };
                Ok(Bounds {
                    cost: inner.cost + 2,
                    size,
                    entry: inner.entry,
                })
            }
            Expr::List(list) => {
                let mut total = Bounds {
                    cost: 1,
                    size: list.elements.len() as u64,
                    entry: 1,
                };
                for element in &list.elements {
                    let inner = self.of(element, depth)?;
                    total.cost = total.cost.saturating_add(inner.cost);
                    total.entry = total.entry.max(inner.size);
                }
                Ok(total)
            }
            Expr::Map(literal) => {
                let mut total = Bounds {
                    cost: 1,
                    size: literal.entries.len() as u64,
                    entry: 1,
                };
                for entry in &literal.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err("this form of expression is not supported".to_owned());
                    };
                    let (key, value) = (self.of(&entry.key, depth)?, self.of(&entry.value, depth)?);
                    total.cost = total
                        .cost
                        .saturating_add(key.cost)
                        .saturating_add(value.cost);
                    total.entry = total.entry.max(key.size).max(value.size);
                }
                Ok(total)
            }
            Expr::Comprehension(each) => {
                let range = self.of(&each.iter_range, depth)?;
                let init = self.of(&each.accu_init, depth)?;
                let before = self.bound.len();
                // All entries together are no larger than the head that they come from.
                let entry = if range.entry >= HEAD_BYTES {
                    HEAD_BYTES / ENTRIES
                } else {
                    range.entry
                };
                self.bound.push((each.iter_var.clone(), entry));
                if let Some(second) = &each.iter_var2 {
                    self.bound.push((second.clone(), entry));
                }
                self.bound.push((
                    each.accu_var.clone(),
                    range.size.saturating_mul(range.entry),
                ));
                let condition = self.of(&each.loop_cond, depth)?;
                let step = self.of(&each.loop_step, depth)?;
                let result = self.of(&each.result, depth)?;
                self.bound.truncate(before);
                let rounds = range
                    .size
                    .saturating_mul(condition.cost.saturating_add(step.cost).saturating_add(2));
                Ok(Bounds {
                    cost: range
                        .cost
                        .saturating_add(init.cost)
                        .saturating_add(rounds)
                        .saturating_add(result.cost),
                    size: result.size.max(range.size),
                    entry: range.entry.max(step.size),
                })
            }
            Expr::Call(call) => {
                let mut parts = Vec::with_capacity(call.args.len() + 1);
                if let Some(target) = &call.target {
                    parts.push(self.of(target, depth)?);
                }
                for argument in &call.args {
                    parts.push(self.of(argument, depth)?);
                }
                let inner = parts
                    .iter()
                    .fold(1_u64, |sum, part| sum.saturating_add(part.cost));
                let bytes = parts.iter().fold(0_u64, |sum, part| {
                    sum.saturating_add(part.size.max(part.entry))
                });
                let small = |cost: u64| {
                    Ok(Bounds {
                        cost: inner.saturating_add(cost),
                        size: 1,
                        entry: 1,
                    })
                };
                match call.func_name.as_str() {
                    "_&&_"
                    | "_||_"
                    | "!_"
                    | "@not_strictly_false"
                    | "-_"
                    | "_-_"
                    | "_*_"
                    | "_/_"
                    | "_%_"
                    | "size"
                    | "int"
                    | "uint"
                    | "double" => small(1),
                    "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" | "startsWith"
                    | "endsWith" => small(bytes),
                    "contains" => small(bytes.saturating_mul(2)),
                    "@in" => {
                        let (size, entry) =
                            parts.last().map_or((1, 1), |part| (part.size, part.entry));
                        small(size.saturating_mul(entry.min(64)))
                    }
                    "_[_]" => {
                        let entry = parts.first().map_or(1, |part| part.entry);
                        Ok(Bounds {
                            cost: inner + 2,
                            size: entry,
                            entry,
                        })
                    }
                    "string" => Ok(Bounds {
                        cost: inner.saturating_add(bytes),
                        size: bytes.max(24),
                        entry: 1,
                    }),
                    "_+_" => Ok(Bounds {
                        cost: inner.saturating_add(bytes),
                        size: parts
                            .iter()
                            .fold(0, |sum, part| part.size.saturating_add(sum)),
                        entry: parts.iter().map(|part| part.entry).max().unwrap_or(1),
                    }),
                    "_?_:_" => Ok(Bounds {
                        cost: inner,
                        size: parts.iter().map(|part| part.size).max().unwrap_or(1),
                        entry: parts.iter().map(|part| part.entry).max().unwrap_or(1),
                    }),
                    "matches" => match call.args.last().map(|pattern| &pattern.expr) {
                        Some(Expr::Literal(LiteralValue::String(pattern)))
                            if pattern.inner().len() <= MAX_REGEX =>
                        {
                            small(REGEX_COST.saturating_add(bytes.saturating_mul(4)))
                        }
                        _ => Err(format!(
                            "matches() takes a literal pattern of at most {MAX_REGEX} bytes"
                        )),
                    },
                    other => Err(format!(
                        "the function \"{other}\" is not available; there are size, contains, startsWith, endsWith, matches, in, has, all, exists, exists_one, filter, map, int, string"
                    )),
                }
            }
        }
    }

    fn variable(&mut self, name: &str) -> Result<Bounds, String> {
        if let Some((_, size)) = self.bound.iter().rev().find(|(bound, _)| bound == name) {
            return Ok(Bounds {
                cost: 1,
                size: *size,
                entry: *size,
            });
        }
        let all = VARIABLES.iter().chain([&RESPONSE]);
        let Some((_, bit, size)) = all.clone().find(|(known, ..)| *known == name) else {
            let names: Vec<&str> = all.map(|(known, ..)| *known).collect();
            return Err(format!(
                "there is no variable \"{name}\"; there are {}",
                names.join(", ")
            ));
        };
        self.uses.0 |= bit;
        Ok(Bounds {
            cost: 1,
            size: *size,
            entry: *size,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
