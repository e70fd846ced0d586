//! The parts that request and response heads share: limits, fields and what they say about framing.

use smallvec::SmallVec;

use super::{
    error::HeadError,
    framing::Framing,
    lines::{Lines, is_token, is_token_byte, is_value_byte, trim},
};

/// How large a head may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// All of it, the empty line included.
    pub head_bytes: usize,
    /// One header line.
    pub line_bytes: usize,
    /// The request target.
    pub uri_bytes: usize,
    /// Header fields.
    pub fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            line_bytes: 32 * 1024,
            uri_bytes: 16 * 1024,
            fields: 128,
        }
    }
}

/// Result of parsing a buffer that may not hold the whole head yet.
#[derive(Clone, Debug)]
pub enum Parse<T> {
    /// `consumed` bytes of the buffer were the head.
    Complete { head: T, consumed: usize },
    /// Call again with more bytes, from the same start.
    Partial,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    Http10,
    Http11,
}

impl Version {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        match bytes {
            b"HTTP/1.0" => Ok(Self::Http10),
            b"HTTP/1.1" => Ok(Self::Http11),
            _ => Err(HeadError::BadVersion),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Heads are far below 4 GiB; a larger one yields an empty span.
    pub(super) fn new(start: usize, end: usize) -> Self {
        match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) => Self { start, end },
            _ => Self::default(),
        }
    }

    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    pub(super) fn of_str(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug)]
struct Field {
    /// In `text`.
    name: Span,
    /// In `raw`.
    original_name: Span,
    /// In `raw`.
    value: Span,
    /// Not hop-by-hop.
    end_to_end: bool,
}

/// The header fields of one head: one copy of the original bytes, one string with the lower-case names.
#[derive(Clone, Debug)]
pub struct Headers {
    raw: Box<[u8]>,
    text: String,
    fields: SmallVec<[Field; 16]>,
}

impl Headers {
    /// All fields in their order: lower-case name, value without surrounding white space.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| self.pair(field))
    }

    /// The fields that are passed on: hop-by-hop fields, and those named by Connection, are left out. This is what the other
    /// side will see, and so what a policy should judge.
    pub fn end_to_end(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields
            .iter()
            .filter(|field| field.end_to_end)
            .map(|field| self.pair(field))
    }

    /// The fields that are passed on, in the form that the policy takes.
    pub fn pairs(&self) -> SmallVec<[(&str, &[u8]); 24]> {
        self.end_to_end().collect()
    }

    /// Takes fields out of what is passed on, and so out of what is judged.
    pub(super) fn keep_back(&mut self, is_ours: impl Fn(&str) -> bool) {
        for field in &mut self.fields {
            field.end_to_end &= !is_ours(field.name.of_str(&self.text));
        }
    }

    /// The values of one field; `name` in lower case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(field, _)| *field == name)
            .map(|(_, value)| value)
    }

    /// The first value of one field; `name` in lower case.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value)
    }

    pub fn len(&self) -> usize {
        self.fields.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The whole head as it was received.
    pub fn original(&self) -> &[u8] {
        &self.raw
    }

    /// For writing: lower-case name, name as received, value.
    pub(super) fn forwarded(&self) -> impl Iterator<Item = (&str, &[u8], &[u8])> {
        self.fields
            .iter()
            .filter(|field| field.end_to_end)
            .map(|field| {
                (
                    field.name.of_str(&self.text),
                    field.original_name.of(&self.raw),
                    field.value.of(&self.raw),
                )
            })
    }

    fn pair(&self, field: &Field) -> (&str, &[u8]) {
        (field.name.of_str(&self.text), field.value.of(&self.raw))
    }
}

/// What the fields say about the connection, apart from the message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hints {
    pub(super) framing: Framing,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

/// More options than this in Connection fields is no client that we know.
const CONNECTION_OPTIONS: usize = 32;

/// Reads the field lines up to the empty line. `None`: not complete yet.
pub(super) fn parse_fields(
    buf: &[u8],
    start: usize,
    lines: &mut Lines<'_>,
    limits: &Limits,
) -> Result<Option<(Headers, Hints)>, HeadError> {
    let mut text = String::with_capacity(256);
    let mut fields = SmallVec::<[Field; 16]>::new();
    let mut hints = Hints::default();
    let mut options = SmallVec::<[&[u8]; 4]>::new();
    loop {
        let line_start = lines.position();
        let Some(line) = lines.next(limits.line_bytes)? else {
            return Ok(None);
        };
        if line.is_empty() {
            break;
        }
        if fields.len() >= limits.fields {
            return Err(HeadError::TooManyFields);
        }
        let (name, raw_value) = split_field(line)?;
        let name_start = text.len();
        text.extend(
            name.iter()
                .map(|byte| char::from(byte.to_ascii_lowercase())),
        );
        let name_span = Span::new(name_start, text.len());
        let value = trim(raw_value);
        // `value` lies inside `line`: what stands before it is the name, the colon and the white space.
        let before = line.len() - raw_value.len() + leading_space(raw_value);
        let value_start = line_start - start + before;
        let field_name = name_span.of_str(&text);
        match field_name {
            "content-length" => hints.framing.content_length(raw_value)?,
            "transfer-encoding" => hints.framing.transfer_encoding(raw_value)?,
            "connection" | "proxy-connection" => {
                for option in value
                    .split(|byte| *byte == b',')
                    .map(trim)
                    .filter(|option| !option.is_empty())
                {
                    if !is_token(option) || options.len() >= CONNECTION_OPTIONS {
                        return Err(HeadError::BadConnection);
                    }
                    hints.close |= option.eq_ignore_ascii_case(b"close");
                    hints.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    hints.upgrade |=
                        field_name == "connection" && option.eq_ignore_ascii_case(b"upgrade");
                    options.push(option);
                }
            }
            _ => {}
        }
        fields.push(Field {
            end_to_end: !is_hop_by_hop(field_name),
            name: name_span,
            original_name: Span::new(line_start - start, line_start - start + name.len()),
            value: Span::new(value_start, value_start + value.len()),
        });
    }
    if !options.is_empty() {
        for field in &mut fields {
            let name = field.name.of(text.as_bytes());
            field.end_to_end &= !options
                .iter()
                .any(|option| option.eq_ignore_ascii_case(name));
        }
    }
    let raw = buf.get(start..lines.position()).unwrap_or_default().into();
    Ok(Some((Headers { raw, text, fields }, hints)))
}

/// Name and raw value of one field line.
pub(super) fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), HeadError> {
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err(HeadError::FoldedField);
    }
    let colon = line
        .iter()
        .position(|byte| !is_token_byte(*byte))
        .ok_or(HeadError::BadField)?;
    match line.split_at_checked(colon) {
        Some((name @ [_, ..], [b':', value @ ..]))
            if value.iter().all(|byte| is_value_byte(*byte)) =>
        {
            Ok((name, value))
        }
        _ => Err(HeadError::BadField),
    }
}

fn leading_space(value: &[u8]) -> usize {
    value
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count()
}

/// Fields that belong to one connection. Host and Content-Length are end-to-end, but written by us.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    ) || name.starts_with("proxy-")
}
