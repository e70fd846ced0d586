//! Leaves that are signed elsewhere, and what a flood of names does.

use std::time::Instant;

use tokio::sync::{Notify, Semaphore};

use super::*;

/// A signer far away: it signs with an authority of its own when it is let, and counts how often it was asked.
#[derive(Debug)]
struct Remote {
    here: DirectSigner,
    asked: AtomicUsize,
    /// Each signature takes one.
    permits: Semaphore,
    began: Notify,
    down: std::sync::atomic::AtomicBool,
}

use super::super::signer::DirectSigner;

impl Remote {
    fn new(permits: usize) -> Arc<Self> {
        let root = root();
        let key = key::CaKey::from_pem(root.key_pem.as_bytes()).unwrap();
        let source = load::Source::new(&[first(&root.certificate_pem)], key, 0, NOW).unwrap();
        Arc::new(Self {
            here: DirectSigner { ca: source.ca },
            asked: AtomicUsize::new(0),
            permits: Semaphore::new(permits),
            began: Notify::new(),
            down: false.into(),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    fn authority(self: &Arc<Self>, time: &Time) -> Authority {
        let signer: Arc<dyn Signer> = Arc::clone(self) as Arc<dyn Signer>;
        Authority::build(Plan::elsewhere(signer, Vec::new()), time.clock()).unwrap()
    }
}

impl Signer for Remote {
    fn sign(&self, request: LeafRequest) -> Signing<'_> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.began.notify_one();
            if self.down.load(Ordering::Relaxed) {
                return Err(SignError::Unreachable("down".to_owned()));
            }
            self.permits.acquire().await.unwrap().forget();
            self.here.sign(request).await
        })
    }
}

const PLENTY: usize = 1_000_000;

#[tokio::test]
async fn many_that_want_one_name_ask_once() {
    let remote = Remote::new(0);
    let authority = remote.authority(&Time::at(NOW));
    let all: Vec<_> = (0..50)
        .map(|_| {
            let authority = authority.clone();
            tokio::spawn(async move { authority.leaf(&name("x.io"), LeafKey::Ecdsa).await })
        })
        .collect();
    remote.began.notified().await;
    // Another name does not wait for this one.
    remote.permits.add_permits(2);
    assert!(authority.leaf(&name("y.io"), LeafKey::Ecdsa).await.is_ok());
    for one in all {
        assert!(one.await.unwrap().is_ok());
    }
    assert_eq!(remote.asked(), 2);
}

#[tokio::test]
async fn who_goes_away_does_not_take_the_others_along() {
    let remote = Remote::new(0);
    let authority = remote.authority(&Time::at(NOW));
    let ask = || {
        let authority = authority.clone();
        tokio::spawn(async move { authority.leaf(&name("x.io"), LeafKey::Ecdsa).await })
    };
    let first = ask();
    remote.began.notified().await;
    let second = ask();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    remote.permits.add_permits(1);
    assert!(second.await.unwrap().is_ok());
}

#[tokio::test]
async fn without_the_signer_cached_names_work_and_others_fail_fast() {
    let time = Time::at(NOW);
    let remote = Remote::new(PLENTY);
    let authority = remote.authority(&time);
    let ask = |text: &'static str| {
        let authority = authority.clone();
        async move {
            authority
                .leaf(&name(text), LeafKey::Ecdsa)
                .await
                .map(|_| ())
        }
    };
    assert_eq!(ask("x.io").await, Ok(()));
    remote.set_down(true);
    assert_eq!(ask("x.io").await, Ok(()));
    for _ in 0..10 {
        assert_eq!(ask("y.io").await, Err(LeafError::Unavailable));
    }
    assert_eq!(remote.asked(), 2, "a failure is kept for a moment");
    remote.set_down(false);
    time.set(NOW + FAILURE_LIFE);
    assert_eq!(ask("y.io").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_signer_that_does_not_answer_is_given_up() {
    let remote = Remote::new(0);
    let authority = remote.authority(&Time::at(NOW));
    let found = authority.leaf(&name("x.io"), LeafKey::Ecdsa).await;
    assert_eq!(found.map(|_| ()), Err(LeafError::Unavailable));
}

/// Row 173: random names below an allowed wildcard neither grow the memory nor keep others waiting.
#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_random_names() {
    let (authority, _folder, _root) = development(&Time::at(NOW));
    let hot = name("api.other.test");
    authority.leaf(&hot, LeafKey::Ecdsa).await.unwrap();
    let mut slowest = Duration::ZERO;
    for i in 0..100_000_u32 {
        let random = name(&format!("n{i}.wild.test"));
        // Nobody waits here for a turn: what would have to is dropped, as a client that goes away would.
        let leaf = std::pin::pin!(authority.leaf(&random, LeafKey::Ecdsa));
        drop(futures_now(leaf));
        if i % 1_000 == 0 {
            let start = Instant::now();
            authority.leaf(&hot, LeafKey::Ecdsa).await.unwrap();
            slowest = slowest.max(start.elapsed());
            // A new name of another domain is minted at once.
            let before = tokio::time::Instant::now();
            let new = name(&format!("api.d{i}.test"));
            authority.leaf(&new, LeafKey::Ecdsa).await.unwrap();
            assert_eq!(before.elapsed(), Duration::ZERO);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
    }
    let stats = authority.stats();
    assert!(stats.entries <= 10_000, "{stats:?}");
    assert!(stats.limited > 80_000, "{stats:?}");
    assert!(slowest < Duration::from_millis(100), "{slowest:?}");
}

/// What a future has to say without waiting.
fn futures_now<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(&mut future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
