//! Names, globs and paths, compared the slow way.

/// Whether a host pattern covers a name: `x.io` is itself, `*.x.io` is everything below it.
pub fn host_matches(pattern: &str, name: &str) -> bool {
    let pattern = canonical(pattern);
    let name = canonical(name);
    match pattern.strip_prefix("*.") {
        Some(parent) => {
            let wanted: Vec<&str> = parent.split('.').collect();
            let labels: Vec<&str> = name.split('.').collect();
            labels.len() > wanted.len() && labels[labels.len() - wanted.len()..] == wanted[..]
        }
        None => pattern == name,
    }
}

fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// `*` stands for any characters.
pub fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|cut| glob(rest, &text[cut..])),
        Some((byte, rest)) => text.first() == Some(byte) && glob(rest, &text[1..]),
    }
}

/// The two readings of a path.
pub fn readings(raw: &[u8]) -> [Vec<u8>; 2] {
    [reading(raw, false), reading(raw, true)]
}

fn reading(raw: &[u8], slashes: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let escape = (raw[at] == b'%' && at + 2 < raw.len())
            .then(|| std::str::from_utf8(&raw[at + 1..at + 3]).ok())
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escape {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                bytes.push(byte);
                at += 3;
            }
            Some(b'/' | b'\\') if slashes => {
                bytes.push(b'/');
                at += 3;
            }
            _ if raw[at] == b'\\' && slashes => {
                bytes.push(b'/');
                at += 1;
            }
            _ => {
                bytes.push(raw[at]);
                at += 1;
            }
        }
    }
    if slashes {
        // Parameters of a segment are no part of it for a server that knows them.
        let named = |segment: &[u8]| {
            let end = segment.iter().position(|byte| *byte == b';');
            segment[..end.unwrap_or(segment.len())].to_vec()
        };
        let segments: Vec<_> = bytes.split(|byte| *byte == b'/').map(named).collect();
        bytes = segments.join(&b'/');
        bytes.dedup_by(|a, b| *a == b'/' && *b == b'/');
    }
    remove_dots(&bytes)
}

/// RFC 3986, 5.2.4, on segments.
fn remove_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').skip(1).collect();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        match *segment {
            b"." | b".." => {
                if *segment == b".." {
                    kept.pop();
                }
                if last {
                    kept.push(b"");
                }
            }
            other => kept.push(other),
        }
    }
    let mut out = Vec::new();
    for segment in kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// A path pattern on one reading.
pub fn path_matches(pattern: &str, path: &[u8]) -> bool {
    if let Some(base) = pattern.strip_suffix("/**") {
        let wanted: Vec<&[u8]> = base.as_bytes().split(|byte| *byte == b'/').collect();
        let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        return segments.len() >= wanted.len()
            && wanted
                .iter()
                .zip(&segments)
                .all(|(want, have)| glob(want, have));
    }
    let wanted: Vec<&[u8]> = pattern.as_bytes().split(|byte| *byte == b'/').collect();
    let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    segments.len() == wanted.len()
        && wanted
            .iter()
            .zip(&segments)
            .all(|(want, have)| glob(want, have))
}

/// `2027-01-31T00:00:00Z` as seconds since 1970.
pub fn rfc3339(text: &str) -> u64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut days: i64 = (1970..year)
        .map(|year| if leap(year) { 366 } else { 365 })
        .sum();
    let lengths = [
        31,
        if leap(year) { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    days += lengths
        .iter()
        .take(usize::try_from(month - 1).unwrap())
        .sum::<i64>()
        + day
        - 1;
    assert!(text.ends_with('Z'), "the generator writes UTC");
    u64::try_from(days * 86_400 + number(11..13) * 3_600 + number(14..16) * 60 + number(17..19))
        .unwrap()
}
