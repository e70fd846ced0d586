//! How long a decision takes as policies grow, and what a set of a million names costs.
#![allow(
    clippy::semicolon_if_nothing_returned,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "benchmarks"
)]

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use exitgate_policy::{
    Action, Attr, ClusterEgressPolicySpec, EgressPolicySpec, Entry, Evidence, Hello, Name,
    PolicyResource, Protocol, Rule, SetContent, SetResource, Snapshot, TlsVersion, To, Verdict,
    View, Workload, compile, index::NameSet,
};

const NOW: u64 = 1_800_000_000;
const MILLION: usize = 1_000_000;

fn workload() -> Workload {
    Workload {
        namespace: "pay".to_owned(),
        name: "billing".to_owned(),
        ..Workload::default()
    }
}

fn rule(index: usize, to: To) -> Rule {
    Rule {
        name: format!("r{index}"),
        action: Action::Allow,
        to: Some(to),
        from: None,
        tls: None,
        http: None,
        response: None,
        when: None,
        not: None,
        inject: None,
        expires_at: None,
        reason: None,
    }
}

fn spec(rules: Vec<Rule>) -> EgressPolicySpec {
    EgressPolicySpec {
        rules,
        ..EgressPolicySpec::default()
    }
}

/// Half of the rules name a host, half everything below one; a hundred rules a policy.
fn policies(rules: usize) -> Snapshot {
    let all: Vec<Rule> = (0..rules)
        .map(|index| {
            let host = if index % 2 == 0 {
                format!("h{index}.shop.example")
            } else {
                format!("*.w{index}.shop.example")
            };
            rule(
                index,
                To {
                    hosts: vec![host],
                    ..To::default()
                },
            )
        })
        .collect();
    let policies = all
        .chunks(100)
        .enumerate()
        .map(|(index, chunk)| PolicyResource::Namespaced {
            namespace: "pay".to_owned(),
            name: format!("p{index}"),
            spec: spec(chunk.to_vec()),
        })
        .collect();
    Snapshot {
        gateway: "default".to_owned(),
        policies,
        workloads: vec![workload()],
        ..Snapshot::default()
    }
}

fn view(snapshot: &Snapshot) -> Arc<View> {
    let (set, problems) = compile(snapshot);
    set.unwrap_or_else(|| unreachable!("{problems:?}"))
        .view(&workload())
}

/// A TLS flow after its ClientHello: the last question of a tunnel that is passed through.
fn evidence<'a>(name: &'a Name, hello: &'a Hello) -> Evidence<'a> {
    Evidence {
        entry: Entry::Connect,
        port: 443,
        source: None,
        name: Attr::Known(name),
        literal: None,
        address: Attr::Known([93, 184, 216, 34].into()),
        protocol: Attr::Known(Protocol::Tls),
        hello: Attr::Known(hello),
        request: Attr::Hidden,
        response: Attr::Hidden,
        inspected: false,
    }
}

fn hello(name: &Name) -> Hello {
    Hello {
        sni: Some(name.clone()),
        alpn: Vec::new(),
        version: TlsVersion::Tls13,
        ech: false,
        ja4: String::new(),
    }
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn rules(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    for count in [10_usize, 1_000, 100_000] {
        let view = view(&policies(count));
        let cases = [
            (
                "host",
                name(&format!("h{}.shop.example", (count / 2) & !1)),
                Verdict::Allow,
            ),
            (
                "wildcard",
                name(&format!("a.b.w{}.shop.example", (count / 2) | 1)),
                Verdict::Allow,
            ),
            ("refused", name("unlisted.other.example"), Verdict::Deny),
        ];
        for (what, name, verdict) in cases {
            let hello = hello(&name);
            let evidence = evidence(&name, &hello);
            assert_eq!(
                view.decide(&evidence, NOW).verdict,
                verdict,
                "{what} of {count}"
            );
            group.bench_function(BenchmarkId::new(what, count), |bencher| {
                bencher.iter(|| view.decide(black_box(&evidence), NOW));
            });
        }
    }
    group.finish();
}

/// All that a CONNECT through a tunnel asks: by name, with its address, with its ClientHello.
fn phases(criterion: &mut Criterion) {
    let view = view(&policies(1_000));
    let name = name("h500.shop.example");
    let hello = hello(&name);
    let last = evidence(&name, &hello);
    let pending = Evidence {
        protocol: Attr::Pending,
        hello: Attr::Pending,
        request: Attr::Pending,
        response: Attr::Pending,
        ..last.clone()
    };
    let first = Evidence {
        address: Attr::Pending,
        ..pending.clone()
    };
    criterion.bench_function("three phases of a tunnel, 1000 rules", |bencher| {
        bencher.iter(|| {
            for evidence in [&first, &pending, &last] {
                black_box(view.decide(black_box(evidence), NOW));
            }
        });
    });
}

fn compiling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    for count in [1_000_usize, 100_000] {
        let snapshot = policies(count);
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| view(&snapshot))
        });
    }
    group.finish();
}

/// Names as block lists have them: few parents, many children, a tenth of them wildcards.
fn million() -> Vec<u8> {
    use std::fmt::Write as _;
    let mut text = String::new();
    for index in 0..MILLION {
        let wild = if index % 10 == 0 { "*." } else { "" };
        // Spread, so that neighbours in the list are not neighbours in the set.
        let number = index.wrapping_mul(0x9E37_79B9) % 0xFFFF_FFFB;
        writeln!(text, "{wild}track{number:x}.ads{}.example", index % 5_003).unwrap();
    }
    text.into_bytes()
}

fn set_of_a_million(criterion: &mut Criterion) {
    let lines = million();
    let set = NameSet::from_lines(&lines).unwrap_or_else(|error| unreachable!("{error}"));
    println!(
        "a set of {} names takes {:.1} MiB",
        set.len(),
        f64::from(u32::try_from(set.as_bytes().len()).unwrap()) / 1_048_576.0
    );
    let bytes = set.as_bytes().to_vec();

    let mut group = criterion.benchmark_group("a million names");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(10));
    group.bench_function("build", |bencher| {
        bencher.iter(|| NameSet::from_lines(black_box(&lines)).map(|set| set.len()))
    });
    group.bench_function("load", |bencher| {
        bencher.iter_batched(
            || bytes.clone(),
            |bytes| NameSet::from_bytes(bytes).map(|set| set.len()),
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();

    let listed = name(&format!(
        "track{:x}.ads{}.example",
        777_777_usize.wrapping_mul(0x9E37_79B9) % 0xFFFF_FFFB,
        777_777 % 5_003
    ));
    let below = name(&format!(
        "a.b.track{:x}.ads{}.example",
        777_770_usize.wrapping_mul(0x9E37_79B9) % 0xFFFF_FFFB,
        777_770 % 5_003
    ));
    let unlisted = name("www.unlisted.example");
    assert!(set.contains(&listed) && set.contains(&below) && !set.contains(&unlisted));
    let mut group = criterion.benchmark_group("look-up in a million names");
    for (what, name) in [
        ("listed", &listed),
        ("below a wildcard", &below),
        ("unlisted", &unlisted),
    ] {
        group.bench_function(what, |bencher| {
            bencher.iter(|| set.contains(black_box(name)))
        });
    }
    group.finish();

    let snapshot = Snapshot {
        gateway: "default".to_owned(),
        policies: vec![PolicyResource::Cluster {
            name: "blocked".to_owned(),
            spec: ClusterEgressPolicySpec {
                tier: exitgate_policy::PolicyTier::Admin,
                priority: 100,
                mode: exitgate_policy::Mode::Enforce,
                replaces: None,
                subject: exitgate_policy::ClusterSubject::default(),
                rules: vec![rule(
                    0,
                    To {
                        host_sets: vec!["million".to_owned()],
                        ..To::default()
                    },
                )],
            },
        }],
        sets: vec![SetResource {
            namespace: None,
            name: "million".to_owned(),
            content: SetContent::Artifact {
                names: Arc::new(set),
                cidrs: Vec::new(),
            },
        }],
        workloads: vec![workload()],
        ..Snapshot::default()
    };
    let view = view(&snapshot);
    let hello = hello(&listed);
    let evidence = evidence(&listed, &hello);
    assert_eq!(view.decide(&evidence, NOW).verdict, Verdict::Allow);
    criterion.bench_function("decide by a set of a million names", |bencher| {
        bencher.iter(|| view.decide(black_box(&evidence), NOW));
    });
}

criterion_group!(benches, rules, phases, compiling, set_of_a_million);
criterion_main!(benches);
