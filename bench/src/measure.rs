//! What one run counts, and the record that it prints.

use crate::cpu::{self, Usage};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::time::{Duration, Instant};

/// After so many failures a run ends: it measures nothing any more.
const MAX_ERRORS: u64 = 200;

/// Shared by all workers of a run; they live on one thread.
pub(crate) struct Run {
    latencies: RefCell<Vec<f64>>,
    operations: Cell<u64>,
    bytes: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
    left: Cell<u64>,
    pub(crate) counting: Cell<bool>,
    pub(crate) stopped: Cell<bool>,
}

impl Run {
    pub(crate) fn new(count: Option<u64>) -> Run {
        Run {
            latencies: RefCell::default(),
            operations: Cell::new(0),
            bytes: Cell::new(0),
            errors: Cell::new(0),
            first_error: RefCell::default(),
            left: Cell::new(count.unwrap_or(u64::MAX)),
            counting: Cell::new(count.is_some()),
            stopped: Cell::new(false),
        }
    }

    /// A number that no other operation of this program gets.
    pub(crate) fn number(&self) -> u64 {
        self.left.get()
    }

    /// Whether there is another operation to do.
    pub(crate) fn take(&self) -> bool {
        let left = self.left.get();
        if self.stopped.get() || left == 0 {
            return false;
        }
        self.left.set(left - 1);
        true
    }

    pub(crate) fn done(&self, took: Duration) {
        if self.counting.get() {
            self.operations.set(self.operations.get() + 1);
            self.latencies.borrow_mut().push(took.as_secs_f64() * 1e6);
        }
    }

    pub(crate) fn moved(&self, bytes: usize) {
        if self.counting.get() {
            self.bytes.set(self.bytes.get() + bytes as u64);
        }
    }

    pub(crate) fn failed(&self, e: &dyn Display) {
        if self.stopped.get() {
            return; // torn down on purpose
        }
        self.errors.set(self.errors.get() + 1);
        self.first_error
            .borrow_mut()
            .get_or_insert_with(|| e.to_string());
        if self.errors.get() >= MAX_ERRORS {
            self.stopped.set(true);
        }
    }
}

pub(crate) struct Window<'a> {
    proxy: &'a [u32],
    started: Instant,
    proxy_before: Usage,
    load_before: Usage,
    load: Vec<u32>,
}

impl<'a> Window<'a> {
    pub(crate) fn open(proxy: &'a [u32], origin: &[u32]) -> Window<'a> {
        let mut load = origin.to_vec();
        load.push(std::process::id());
        Window {
            proxy,
            proxy_before: cpu::usage(proxy),
            load_before: cpu::usage(&load),
            load,
            started: Instant::now(),
        }
    }

    pub(crate) fn close(self, mode: &str, run: &Run) -> Value {
        let wall = self.started.elapsed().as_secs_f64();
        let proxy = cpu::usage(self.proxy);
        let load = cpu::usage(&self.load).total() - self.load_before.total();
        let cpu = proxy.total() - self.proxy_before.total();
        let (operations, bytes) = (run.operations.get(), run.bytes.get());
        let per = |n: u64| (n > 0).then(|| cpu / n as f64);
        let lat = summary(&mut run.latencies.borrow_mut());
        json!({
            "mode": mode,
            "wall_s": round(wall),
            "operations": operations,
            "per_second": round(operations as f64 / wall),
            "bytes": bytes,
            "errors": run.errors.get(),
            "first_error": *run.first_error.borrow(),
            "cpu_us_per_op": per(operations).map(|x| round(x * 1e6)),
            "cpu_s_per_gb": per(bytes).map(|x| round(x * 1e9)),
            "proxy_busy": round(cpu / wall),
            "proxy_user_share": round((proxy.user - self.proxy_before.user) / cpu.max(1e-9)),
            "load_busy": round(load / wall),
            "rss_kib_before": self.proxy_before.rss_kib,
            "rss_kib": proxy.rss_kib,
            "latency_us": lat,
        })
    }
}

fn round(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

fn summary(v: &mut [f64]) -> Value {
    if v.is_empty() {
        return Value::Null;
    }
    v.sort_by(f64::total_cmp);
    let at = |q: f64| round(v[((v.len() - 1) as f64 * q).round() as usize]);
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    let spread = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (v.len().max(2) - 1) as f64;
    json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "mean": round(mean), "sd": round(spread.sqrt())})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summarises() {
        let mut v: Vec<f64> = (1..=101).map(f64::from).collect();
        let s = summary(&mut v);
        assert_eq!(s["p50"], 51.0);
        assert_eq!(s["p99"], 100.0);
        assert_eq!(s["mean"], 51.0);
        assert_eq!(s["sd"], 29.3);
        assert_eq!(summary(&mut []), Value::Null);
    }

    #[test]
    fn a_count_is_handed_out_once() {
        let r = Run::new(Some(2));
        assert_eq!((r.take(), r.take(), r.take()), (true, true, false));
    }
}
