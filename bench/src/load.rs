//! Runs one mode: workers, a warm-up, the timed window, one JSON line.

use crate::https::{self, Names};
use crate::measure::{Run, Window};
use crate::{Result, modes, net, origin, tls};
use clap::ValueEnum;
use rustls::ClientConfig;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A run with a count ends after this even if operations hang.
const COUNTED_LIMIT: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    /// Connect, CONNECT by name, one byte echoed, close
    ConnectRate,
    /// The same with a whole TLS handshake through the tunnel
    TlsConnectRate,
    /// 100 bytes there and back on one open tunnel
    PingPong,
    /// Bytes from the origin through four tunnels
    Bulk,
    /// Absolute-form GET with keep-alive
    ForwardRps,
    /// A new connection for each GET
    Get,
    /// GET inside TLS with keep-alive
    TlsHttp1,
    /// The same over HTTP/2
    TlsHttp2,
    /// The same with a hundred requests at a time on each connection
    TlsHttp2Many,
    /// A new connection and a handshake for each GET; the origin closes after each answer
    TlsNew,
    /// The same with an origin that keeps connections and sessions
    TlsNewReuse,
    /// The same with a name that was not asked for before
    TlsNewName,
    /// Open tunnels that say nothing
    Idle,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    mode: Mode,
    /// Address of the proxy; without it straight to the origin
    #[arg(long)]
    pub(crate) proxy: Option<SocketAddr>,
    #[arg(long)]
    pub(crate) base: u16,
    #[arg(long)]
    ca: PathBuf,
    /// The CA of a proxy that opens TLS
    #[arg(long)]
    trust: Option<PathBuf>,
    #[arg(long, default_value = "echo.origin.test")]
    pub(crate) host: String,
    #[arg(long, default_value_t = 16)]
    pub(crate) workers: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Stop after so many operations instead of after `seconds`
    #[arg(long)]
    pub(crate) count: Option<u64>,
    #[arg(long, default_value_t = 0)]
    pub(crate) mss: u32,
    /// Processes of the proxy, whose CPU time and memory are read
    #[arg(long, value_delimiter = ',')]
    pub(crate) pids: Vec<u32>,
    #[arg(long, value_delimiter = ',')]
    pub(crate) origin_pids: Vec<u32>,
}

pub(crate) struct Context {
    pub(crate) o: Options,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) http1: Arc<ClientConfig>,
    pub(crate) h2: Arc<ClientConfig>,
    pub(crate) run: Run,
}

pub(crate) async fn run(o: Options) -> Result<()> {
    let client = |alpn: &[u8]| tls::client(&o.ca, o.trust.as_deref(), alpn);
    let (tls, http1, h2) = (client(b"")?, client(b"http/1.1")?, client(b"h2")?);
    let run = Run::new(o.count);
    let c = Rc::new(Context {
        o,
        tls,
        http1,
        h2,
        run,
    });
    let record = match c.o.mode {
        Mode::Idle => modes::idle(&c).await?,
        _ => drive(&c).await,
    };
    net::say(&record.to_string());
    Ok(())
}

fn name(mode: Mode) -> String {
    mode.to_possible_value()
        .map(|v| v.get_name().to_owned())
        .unwrap_or_default()
}

async fn drive(c: &Rc<Context>) -> Value {
    let (o, run) = (&c.o, &c.run);
    let mode = name(o.mode);
    let mut window = Window::open(&o.pids, &o.origin_pids);
    let mut workers = JoinSet::new();
    for _ in 0..o.workers {
        let c = Rc::clone(c);
        match o.mode {
            Mode::ConnectRate => workers.spawn_local(modes::connect(c)),
            Mode::TlsConnectRate => workers.spawn_local(modes::tls_connect(c)),
            Mode::PingPong => workers.spawn_local(modes::ping_pong(c)),
            Mode::Bulk => workers.spawn_local(modes::bulk(c)),
            Mode::ForwardRps => workers.spawn_local(modes::forward(c)),
            Mode::Get => workers.spawn_local(modes::get(c)),
            Mode::TlsHttp1 => workers.spawn_local(https::http1(c)),
            Mode::TlsHttp2 => workers.spawn_local(https::http2(c)),
            Mode::TlsHttp2Many => workers.spawn_local(https::http2_many(c)),
            Mode::TlsNew => workers.spawn_local(https::new(c, origin::HTTPS_ONCE, Names::One)),
            Mode::TlsNewReuse => workers.spawn_local(https::new(c, origin::HTTPS, Names::One)),
            Mode::TlsNewName => {
                workers.spawn_local(https::new(c, origin::HTTPS_ONCE, Names::Fresh))
            }
            Mode::Idle => break,
        };
    }
    if o.count.is_some() {
        let all = async { while workers.join_next().await.is_some() {} };
        drop(tokio::time::timeout(COUNTED_LIMIT, all).await);
    } else {
        tokio::time::sleep(Duration::from_millis(300)).await;
        window = Window::open(&o.pids, &o.origin_pids);
        run.counting.set(true);
        let end = Instant::now() + Duration::from_secs_f64(o.seconds);
        while Instant::now() < end && !run.stopped.get() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let record = window.close(&mode, run);
    run.stopped.set(true);
    record
}
