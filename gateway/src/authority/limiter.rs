//! How many leaves are minted per second: in all, and for the names of one domain, so that random names below one allowed
//! wildcard cannot use up what others need.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use exitgate_policy::Name;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A domain has one place in each of two rows and is limited where both are used up: two domains would have to meet in
/// both to share a rate, and which ones do is different in every process.
const PLACES: usize = 1024;

/// A steady rate, and how much may come at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) per_second: u32,
    pub(super) burst: u32,
}

/// The next arrival that a steady flow would have (GCRA): one number instead of a bucket and a time.
#[derive(Clone, Copy, Debug)]
struct Flow {
    next: Duration,
}

impl Rate {
    fn interval(self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }

    /// How long the next arrival has to wait.
    fn wait(self, flow: Flow, now: Duration) -> Duration {
        let earliest = flow
            .next
            .saturating_sub(self.interval() * self.burst.saturating_sub(1));
        earliest.saturating_sub(now)
    }

    fn take(self, flow: &mut Flow, now: Duration) {
        flow.next = flow.next.max(now) + self.interval();
    }
}

#[derive(Debug)]
pub(super) struct Limiter {
    total: Rate,
    per_domain: Rate,
    patience: Duration,
    start: Instant,
    hashers: [RandomState; 2],
    flows: Mutex<Flows>,
}

#[derive(Debug)]
struct Flows {
    total: Flow,
    domains: [Vec<Flow>; 2],
}

impl Limiter {
    /// `patience` is the longest wait that is granted instead of a refusal.
    pub(super) fn new(total: Rate, per_domain: Rate, patience: Duration) -> Self {
        let none = Flow {
            next: Duration::ZERO,
        };
        Self {
            total,
            per_domain,
            patience,
            start: Instant::now(),
            hashers: [RandomState::new(), RandomState::new()],
            flows: Mutex::new(Flows {
                total: none,
                domains: [vec![none; PLACES], vec![none; PLACES]],
            }),
        }
    }

    /// How long to wait before a leaf for this name is minted; nothing if it is not to be minted.
    pub(super) fn admit(&self, name: &Name) -> Option<Duration> {
        let now = Instant::now().saturating_duration_since(self.start);
        let domain = domain(name.as_str());
        let mut flows = self.flows.lock();
        let Flows { total, domains } = &mut *flows;
        let mut places: Vec<&mut Flow> = domains
            .iter_mut()
            .zip(&self.hashers)
            .filter_map(|(row, hasher)| {
                let place = hasher.hash_one(domain) % (PLACES as u64);
                row.get_mut(usize::try_from(place).ok()?)
            })
            .collect();
        let own = places.iter().map(|flow| self.per_domain.wait(**flow, now));
        let wait = own.min()?.max(self.total.wait(*total, now));
        if wait > self.patience {
            return None;
        }
        self.total.take(total, now);
        for flow in &mut places {
            self.per_domain.take(flow, now);
        }
        Some(wait)
    }
}

/// The last two labels.
fn domain(name: &str) -> &str {
    let Some((rest, _)) = name.rsplit_once('.') else {
        return name;
    };
    rest.rfind('.')
        .and_then(|dot| name.get(dot + 1..))
        .unwrap_or(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn domains() {
        assert_eq!(domain("a.b.x.io"), "x.io");
        assert_eq!(domain("x.io"), "x.io");
        assert_eq!(domain("localhost"), "localhost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_domain_cannot_use_up_the_rate_of_others() {
        let total = Rate {
            per_second: 2_000,
            burst: 4_000,
        };
        let per_domain = Rate {
            per_second: 1_000,
            burst: 2_000,
        };
        let limiter = Limiter::new(total, per_domain, Duration::from_millis(500));
        let mut granted = 0;
        for second in 0..10_u32 {
            for i in 0..10_000 {
                if limiter
                    .admit(&name(&format!("n{second}-{i}.wild.test")))
                    .is_some()
                {
                    granted += 1;
                }
            }
            // Anyone else is served at once, all the time.
            let other = name(&format!("api.other{second}.test2"));
            assert_eq!(limiter.admit(&other), Some(Duration::ZERO));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // Burst, then the rate, and what patience lends ahead.
        assert!((11_000..=12_000).contains(&granted), "{granted}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_wait_instead_of_a_refusal() {
        let rate = Rate {
            per_second: 10,
            burst: 1,
        };
        let limiter = Limiter::new(rate, rate, Duration::from_millis(250));
        assert_eq!(limiter.admit(&name("a.x.io")), Some(Duration::ZERO));
        assert_eq!(
            limiter.admit(&name("b.x.io")),
            Some(Duration::from_millis(100))
        );
        assert_eq!(
            limiter.admit(&name("c.x.io")),
            Some(Duration::from_millis(200))
        );
        assert_eq!(limiter.admit(&name("d.x.io")), None);
    }
}
