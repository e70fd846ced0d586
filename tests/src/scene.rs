//! Real clients in a world whose TLS is opened. They know the gateway from their environment alone: the proxy, and the
//! bundle of the gateway's root beside the platform's, in the variable that each runtime reads.

use crate::gateway::Folder;
use crate::opened::Opened;
use crate::programs::{Outcome, Server, run_with, script};
use crate::records::Record;
use crate::world::{ORIGIN, Plan, World};

/// How the issuing CA of a gateway is called.
pub const ISSUER: &str = "Exitgate issuing CA";
/// The class of a record of one request.
pub const REQUEST: u64 = 4002;

/// `ok.test` may be read, `also.test` used without a look inside.
pub const READ_ONLY: &str = "  - name: read
    action: Allow
    to: {hosts: [ok.test]}
    http: {methods: [GET, HEAD]}
  - name: untouched
    action: Allow
    to: {hosts: [also.test]}
";

pub struct Scene {
    pub world: World,
    pub opened: Opened,
    pub files: Folder,
    environment: Vec<(&'static str, String)>,
}

/// What a client printed about one request.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub status: &'a str,
    pub reason: &'a str,
    pub issuer: &'a str,
    pub body: &'a str,
}

impl Scene {
    pub async fn new(rules: &str) -> Self {
        let opened = Opened::new();
        let plan = opened.plan(rules);
        Self::of(opened, plan).await
    }

    pub async fn of(opened: Opened, plan: Plan) -> Self {
        let files = Folder::new();
        let leaf = opened.origins.leaf(&["ok.test", "also.test", "bad.test"]);
        files.write("origin.pem", &leaf.certificate_pem);
        files.write("origin.key", &leaf.key_pem);
        files.write("root.pem", &opened.gateway.pem());
        let platform = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt");
        let bundle = format!("{}\n{}", opened.gateway.pem(), platform.unwrap_or_default());
        let bundle = files.write("bundle.pem", &bundle).display().to_string();

        let mut world = plan.start().await;
        world.may_ask(&["ok.test", "also.test"]);
        let proxy = format!("http://{}", world.proxy);
        let mut environment = vec![("HTTPS_PROXY", proxy.clone()), ("https_proxy", proxy)];
        environment.extend(
            [
                "SSL_CERT_FILE",
                "CURL_CA_BUNDLE",
                "REQUESTS_CA_BUNDLE",
                "NODE_EXTRA_CA_CERTS",
                "GIT_SSL_CAINFO",
                "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
            ]
            .map(|name| (name, bundle.clone())),
        );
        Self {
            world,
            opened,
            files,
            environment,
        }
    }

    /// A file of the scene: `origin.pem`, `origin.key`, `root.pem`, `bundle.pem` and what a test puts beside them.
    pub fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    /// One more variable for every client.
    pub fn variable(&mut self, name: &'static str, value: &str) {
        self.environment.retain(|(other, _)| *other != name);
        self.environment.push((name, value.into()));
    }

    pub async fn run(&self, program: &str, arguments: &[&str]) -> Outcome {
        run_with(program, arguments, &self.environment).await
    }

    /// An origin that is a program: ADDRESS CERTIFICATE KEY and what else it takes.
    pub async fn serve(&self, program: &str, name: &str, more: &[&str]) -> Server {
        let (script, certificate, key) = (
            script(name),
            self.file("origin.pem"),
            self.file("origin.key"),
        );
        let mut arguments = vec![script.as_str(), ORIGIN, &certificate, &key];
        arguments.extend(more);
        Server::start(program, &arguments).await
    }

    /// Stops the gateway; the records, each of which is complete.
    pub async fn records(&mut self) -> Vec<Record> {
        let code = self.world.gateway.stop().await;
        let said = self.world.gateway.diagnostics.all().join("\n");
        assert_eq!(code, Some(0), "the gateway's exit code; it said:\n{said}");
        assert!(!said.contains("panicked"), "the gateway panicked:\n{said}");
        let garbage = self.world.gateway.records.garbage.all();
        assert!(garbage.is_empty(), "lines that are no record: {garbage:?}");
        let records = self.world.gateway.records.log.all();
        for record in &records {
            let problem = record.incomplete();
            assert!(problem.is_none(), "{problem:?}: {record:#?}");
        }
        records
    }

    /// The records of what was asked inside TLS. Nothing else was asked, and nothing was opened that these do not show.
    pub async fn requests(&mut self) -> Vec<Record> {
        let records = self.records().await;
        let (requests, tunnels) = records
            .into_iter()
            .partition::<Vec<_>, _>(|record| record.class() == REQUEST);
        for request in &requests {
            assert!(request.intercepted(), "not opened: {request:#?}");
            assert_eq!(request.assurance(), "Inspected", "{request:#?}");
        }
        for tunnel in &tunnels {
            assert_eq!(tunnel.verdict(), "allow", "{tunnel:#?}");
        }
        requests
    }
}

/// The lines of a client; each is `status|reason|issuer|body`.
pub fn lines(outcome: &Outcome) -> Vec<Line<'_>> {
    let split = |line: &str| line.split('|').count() == 4;
    assert!(
        outcome.code == Some(0) && outcome.stdout.lines().all(split),
        "{:?} {}{}",
        outcome.code,
        outcome.stdout,
        outcome.stderr
    );
    let line = |line| {
        let mut fields = str::split(line, '|');
        let mut next = || fields.next().unwrap_or_default();
        Line {
            status: next(),
            reason: next(),
            issuer: next(),
            body: next(),
        }
    };
    outcome.stdout.lines().map(line).collect()
}
