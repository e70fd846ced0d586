//! Lists of patterns, ranges and numbers.

use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::{At, Compiler};
use crate::{
    address::parse_cidr,
    index::NameSetBuilder,
    matcher::{Patterns, Ranges},
    model::{IntOrText, LengthRange},
    pattern::HostPattern,
};

/// Longest list in a document. Longer lists of names come from a feed.
const MAX_LIST: usize = 100_000;
/// Longest text in a condition.
pub(super) const MAX_TEXT: usize = 4_096;
/// From this many patterns on an automaton is faster than a walk.
const MANY: usize = 16;

impl Compiler {
    /// false and an error where a list is too long.
    pub(super) fn list_fits<T>(&mut self, at: &At, list: &[T]) -> bool {
        if list.len() > MAX_LIST {
            self.error(
                at,
                format!("the list has {} entries; at most {MAX_LIST} are accepted (longer lists of names: a feed)", list.len()),
            );
        }
        list.len() <= MAX_LIST
    }

    pub(super) fn hosts(
        &mut self,
        at: &At,
        hosts: &[String],
        allow_broad: bool,
    ) -> Vec<HostPattern> {
        if !self.list_fits(at, hosts) {
            return Vec::new();
        }
        let mut patterns = Vec::with_capacity(hosts.len());
        for (index, text) in hosts.iter().enumerate() {
            match HostPattern::parse(text) {
                Ok(pattern) => {
                    if let Some(suffix) = pattern.broad_suffix().filter(|_| !allow_broad) {
                        let message = format!(
                            "\"{text}\" covers the public suffix {suffix}, below which anyone can register; name the hosts that are meant, or set allowBroad: true beside this list"
                        );
                        self.error(&at.item(index), message);
                    }
                    patterns.push(pattern);
                }
                Err(error) => self.error(
                    &at.item(index),
                    format!("\"{text}\" is not a host pattern: {error}"),
                ),
            }
        }
        patterns
    }

    pub(super) fn cidrs(&mut self, at: &At, cidrs: &[String]) -> Vec<IpNet> {
        if !self.list_fits(at, cidrs) {
            return Vec::new();
        }
        let mut nets = Vec::with_capacity(cidrs.len());
        for (index, text) in cidrs.iter().enumerate() {
            match parse_cidr(text) {
                Ok(net) => nets.push(net),
                Err(error) => self.error(
                    &at.item(index),
                    format!("\"{text}\" is not accepted: {error}"),
                ),
            }
        }
        nets
    }

    pub(super) fn ports(&mut self, at: &At, ports: &[IntOrText]) -> Option<Ranges> {
        self.ranges(at, ports, "port", 1, 65_535, false)
    }

    pub(super) fn statuses(&mut self, at: &At, statuses: &[IntOrText]) -> Option<Ranges> {
        self.ranges(at, statuses, "status", 100, 999, true)
    }

    fn ranges(
        &mut self,
        at: &At,
        items: &[IntOrText],
        what: &str,
        low: u16,
        high: u16,
        classes: bool,
    ) -> Option<Ranges> {
        if items.is_empty() || !self.list_fits(at, items) {
            return None;
        }
        let mut ranges = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let parsed = match item {
                IntOrText::Int(number) => {
                    u16::try_from(*number).ok().map(|number| (number, number))
                }
                IntOrText::Text(text) => parse_range(text, classes),
            };
            match parsed {
                Some((from, to)) if low <= from && from <= to && to <= high => {
                    ranges.push((from, to));
                }
                Some((from, to)) if low <= to && to < from && from <= high => {
                    self.error(
                        &at.item(index),
                        format!("the range \"{item}\" is empty; write \"{to}-{from}\""),
                    );
                }
                _ => {
                    let class = if classes { ", a class such as 2xx" } else { "" };
                    self.error(
                        &at.item(index),
                        format!("\"{item}\" is not a {what}; write a number from {low} to {high}{class} or a range such as \"{low}-{high}\""),
                    );
                }
            }
        }
        Some(Ranges::new(ranges))
    }

    pub(super) fn lengths(
        &mut self,
        at: &At,
        range: Option<LengthRange>,
    ) -> Option<RangeInclusive<u64>> {
        let range = range?;
        let (min, max) = (range.min.unwrap_or(0), range.max.unwrap_or(u64::MAX));
        if min > max {
            self.error(
                at,
                format!(
                    "no length is at least {min} and at most {max}; this rule could never match"
                ),
            );
        }
        if range.min.is_none() && range.max.is_none() {
            self.error(at, "give min, max or both");
        }
        Some(min..=max)
    }

    pub(super) fn texts_fit(&mut self, at: &At, texts: &[String]) -> bool {
        let fits = self.list_fits(at, texts);
        for (index, text) in texts.iter().enumerate() {
            if text.is_empty() || text.len() > MAX_TEXT {
                self.error(
                    &at.item(index),
                    format!(
                        "a text here has 1 to {MAX_TEXT} bytes, this one has {}",
                        text.len()
                    ),
                );
            }
        }
        fits
    }
}

fn parse_range(text: &str, classes: bool) -> Option<(u16, u16)> {
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| plain)
    };
    if classes
        && let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"))
        && let Some(class) = number(class).filter(|class| (1..=9).contains(class))
    {
        return Some((class * 100, class * 100 + 99));
    }
    match text.split_once('-') {
        Some((from, to)) => Some((number(from.trim())?, number(to.trim())?)),
        None => number(text).map(|one| (one, one)),
    }
}

/// Patterns in the form that is fastest for their number.
pub(super) fn patterns(list: Vec<HostPattern>) -> Patterns {
    if list.len() < MANY {
        return Patterns::Few(list.into());
    }
    let mut builder = NameSetBuilder::with_capacity(list.len() * 20);
    for pattern in &list {
        builder.add_name(pattern.name(), pattern.is_below());
    }
    match builder.finish() {
        Ok(set) => Patterns::Many(list.into(), set),
        Err(_) => Patterns::Few(list.into()),
    }
}
