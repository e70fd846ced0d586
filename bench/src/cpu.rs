//! CPU time and memory of a process tree, read from /proc.
//!
//! CPU time per operation is the figure that survives a noisy machine with few cores.

use std::collections::{HashMap, HashSet};
use std::fs;

#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) user: f64,
    pub(crate) system: f64,
    pub(crate) rss_kib: u64,
}

impl Usage {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }
}

struct Stat {
    parent: u32,
    user: u64,
    system: u64,
    reaped_user: u64,
    reaped_system: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the command name is in parentheses and may hold anything, spaces included
    let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
    let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
    Some(Stat {
        parent: number(1)? as u32,
        user: number(11)?,
        system: number(12)?,
        reaped_user: number(13)?,
        reaped_system: number(14)?,
    })
}

fn rss_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn tree(roots: &[u32]) -> HashSet<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|s| s.parse().ok());
        if let Some((pid, s)) = pid.and_then(|p: u32| Some((p, stat(p)?))) {
            children.entry(s.parent).or_default().push(pid);
        }
    }
    let mut found = HashSet::new();
    let mut todo = roots.to_vec();
    while let Some(pid) = todo.pop() {
        if found.insert(pid) {
            todo.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

/// The given processes with their living descendants, and what the given ones have reaped.
pub(crate) fn usage(roots: &[u32]) -> Usage {
    let mut sum = Usage::default();
    if roots.is_empty() {
        return sum;
    }
    let tick = rustix::param::clock_ticks_per_second() as f64;
    for pid in tree(roots) {
        if let Some(s) = stat(pid) {
            let reaped = u64::from(roots.contains(&pid));
            sum.user += (s.user + reaped * s.reaped_user) as f64 / tick;
            sum.system += (s.system + reaped * s.reaped_system) as f64 / tick;
            sum.rss_kib += rss_kib(pid);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_itself() {
        let u = usage(&[std::process::id()]);
        assert!(u.rss_kib > 0);
        assert!(u.total() >= 0.0);
        assert!(tree(&[1]).contains(&std::process::id()) || stat(1).is_none());
    }
}
