//! Section 2: names.

use std::time::{Duration, Instant};

use exitgate_tests::client::Wire;
use exitgate_tests::hello::{Hello, SERVER_NAME, server_name};
use exitgate_tests::origin::Origin;
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, Plan, Reached, World};

/// An allowed tunnel to the origin with this spelling of a name; `canonical` is how records and SNI show it.
async fn lets_through(world: &mut World, origin: usize, target: &str, canonical: &str) {
    let port = world.origin(origin).port();
    let mut tunnel = world.tunnel(&format!("{target}:{port}")).await;
    carries_hello(&mut tunnel, canonical).await;
    world.allowed().host(canonical);
}

async fn carries_hello(tunnel: &mut Wire, name: &str) {
    let hello = Hello::for_name(name).bytes();
    tunnel.send(&hello).await;
    assert_eq!(tunnel.take(hello.len()).await, hello);
    tunnel.finish_sending().await;
    tunnel.closed().await;
}

rows! {
    async fn row_031_case_and_root_dot() {
        let mut world = World::start().await;
        let origin = world.add(Origin::echo(ORIGIN).await, Reached::Times(3));
        world.may_ask(&["ok.test"]);
        for spelling in ["OK.TEST", "ok.test.", "Ok.Test."] {
            lets_through(&mut world, origin, spelling, "ok.test").await;
        }
        for spelling in ["ok.test..", ".ok.test", ".", "ok..test"] {
            world.connect_refused(&format!("{spelling}:443"), 400, &["bad-target"]).await;
        }
        world.finish().await;
    }

    async fn row_032_nul_in_a_name() {
        let mut world = World::start().await;
        let origin = world.add(Origin::sink(ORIGIN).await, Reached::Silently);
        let port = world.origin(origin).port();
        world.may_ask(&["ok.test"]);
        let bad = &["bad-target", "bad-request"];
        world.request_refused(format!("CONNECT ok.test\0.wild.test:{port} HTTP/1.1\r\nHost: x.wild.test\r\n\r\n"), 400, bad).await;
        world.request_refused(format!("GET http://ok.test\0.wild.test:{port}/ HTTP/1.1\r\nHost: x.wild.test\r\n\r\n"), 400, bad).await;
        world.request_refused(format!("GET http://ok.test:{port}/ HTTP/1.1\r\nHost: ok.test\0.wild.test:{port}\r\n\r\n"), 400, bad).await;
        for control in ["ok.test%00.wild.test", "ok.test\u{1}.wild.test", "ok.test\u{7f}.wild.test"] {
            world.request_refused(format!("CONNECT {control}:{port} HTTP/1.1\r\nHost: {control}\r\n\r\n"), 400, bad).await;
        }
        let mut tunnel = world.tunnel(&format!("ok.test:{port}")).await;
        let hello = Hello::nameless().with(SERVER_NAME, server_name(&[(0, b"ok.test\0.wild.test")]));
        tunnel.send(hello.bytes()).await;
        tunnel.refused_in_tls().await;
        world.closed(&["bad-hello"]);
        world.finish().await;
    }

    async fn row_034_user_information() {
        let mut world = World::start().await;
        let bad = &["bad-target", "bad-request"];
        for target in ["ok.test@bad.test:443", "ok.test:80@bad.test:443", "user@ok.test:443", "@ok.test:443"] {
            world.connect_refused(target, 400, bad).await;
        }
        for uri in ["http://ok.test:80@bad.test/", "http://user:secret@ok.test/", "http://@ok.test/"] {
            world.request_refused(format!("GET {uri} HTTP/1.1\r\nHost: ok.test\r\n\r\n"), 400, bad).await;
        }
        world.finish().await;
    }

    async fn row_035_marks_before_an_at_sign() {
        let mut world = World::start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Unchecked);
        let port = world.origin(origin).port();
        let host = format!("ok.test:{port}");
        world.may_ask(&["ok.test"]);
        for mark in ["#", "\\", "?"] {
            let mut wire = world.client().await;
            let request = format!("GET http://{host}{mark}@bad.test/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let answer = wire.ask(request).await;
            if answer.status == 400 {
                world.refused(&answer, 400, &["bad-target", "bad-request"]);
            } else {
                assert_eq!(answer.status, 200, "{mark}: {}", answer.head);
                world.allowed().host("ok.test");
            }
        }
        for request in world.origin(origin).seen.requests.all() {
            assert_eq!(request.headers("host"), [host.as_str()], "{request:?}");
            assert!(!request.line().starts_with("GET http"), "{request:?}");
        }
        world.finish().await;
    }

    async fn row_037_look_alikes_of_a_wildcard() {
        let mut world = World::start().await;
        let names = ["evil-wild.test", "wild.test.bad.test", "xwild.test", "a.xwild.test", "wild.testx", "a.wild.test.x"];
        for name in names {
            world.connect_refused(&format!("{name}:443"), 403, &["no-rule"]).await.phase("preDns").host(name);
        }
        world.finish().await;
    }

    /// `*.wild.test` is every name below it at any depth, and not the apex.
    async fn row_038_apex_and_depth() {
        let mut world = World::start().await;
        let origin = world.add(Origin::echo(ORIGIN).await, Reached::Times(3));
        world.may_ask(&["a.wild.test", "a.b.wild.test", "a.b.c.d.wild.test"]);
        world.connect_refused("wild.test:443", 403, &["no-rule"]).await.phase("preDns");
        world.connect_refused(".wild.test:443", 400, &["bad-target"]).await;
        for name in ["a.wild.test", "a.b.wild.test", "a.b.c.d.wild.test"] {
            lets_through(&mut world, origin, name, name).await;
        }
        world.finish().await;
    }

    async fn row_040_both_spellings_of_an_idn() {
        let rule = "  - name: idn\n    action: Allow\n    to: {hosts: [\"b\u{fc}cher.test\", \"*.xn--bcher-kva.test\"]}\n";
        let mut world = Plan::rules(rule).start().await;
        let origin = world.add(Origin::echo(ORIGIN).await, Reached::Times(4));
        world.dns.point("xn--bcher-kva.test", ORIGIN);
        world.dns.point("a.xn--bcher-kva.test", ORIGIN);
        world.may_ask(&["xn--bcher-kva.test", "a.xn--bcher-kva.test"]);
        for spelling in ["xn--bcher-kva.test", "b\u{fc}cher.test", "B\u{dc}CHER.test"] {
            lets_through(&mut world, origin, spelling, "xn--bcher-kva.test").await;
        }
        lets_through(&mut world, origin, "a.b\u{fc}cher.test", "a.xn--bcher-kva.test").await;
        world.finish().await;
    }

    async fn row_041_confusable_letters() {
        let mut world = World::start().await;
        // Cyrillic о: another name, shown as its A-label.
        world.connect_refused("\u{43e}k.test:443", 403, &["no-rule"]).await.phase("preDns").host("xn--k-0tb.test");
        world.connect_refused("xn--k-0tb.test:443", 403, &["no-rule"]).await.phase("preDns").host("xn--k-0tb.test");
        world.finish().await;
    }

    async fn row_043_length_limits() {
        let mut world = Plan::everything().start().await;
        let label = "a".repeat(63);
        let names = [
            format!("{}.test", "a".repeat(64)),
            // 254 octets without the root dot.
            format!("{label}.{label}.{label}.{}", "a".repeat(62)),
            vec!["a"; 128].join("."),
            "a..test".into(),
        ];
        assert_eq!(names[1].len(), 254);
        for name in names {
            world.connect_refused(&format!("{name}:443"), 400, &["bad-target"]).await;
        }
        world.finish().await;
    }

    async fn row_044_underscores_and_digits() {
        let mut world = World::start().await;
        let origin = world.add(Origin::echo(ORIGIN).await, Reached::Times(2));
        world.may_ask(&["_x.ok.test", "1x.ok.test"]);
        for name in ["_x.ok.test", "1x.ok.test"] {
            lets_through(&mut world, origin, name, name).await;
        }
        world.connect_refused("ok.1:443", 400, &["bad-target"]).await;
        world.connect_refused("ok.0x1:443", 400, &["bad-target"]).await;
        world.finish().await;
    }

    async fn row_046_no_search_list() {
        let mut world = Plan::everything().start().await;
        world.may_ask(&["kubernetes", "ok"]);
        for name in ["kubernetes", "ok"] {
            world.connect_refused(&format!("{name}:443"), 502, &["resolve-failed", "no-address"]).await;
        }
        world.finish().await;
    }

    async fn row_047_ten_thousand_rules_in_any_order() {
        // Nested wildcards, and a denial below each allowed zone.
        let rule = |index: usize| match index % 2 {
            0 => format!("  - {{name: r{index}, action: Allow, to: {{hosts: [\"*.z{index}.test\", \"z{index}.test\"]}}}}\n"),
            _ => format!("  - {{name: r{index}, action: Deny, to: {{hosts: [\"*.deep.z{}.test\"]}}}}\n", index - 1),
        };
        let forward = (0..10_000).map(rule).collect::<String>();
        let backward = (0..10_000).rev().map(rule).collect::<String>();
        // A permutation that puts neighbours far apart.
        let mixed = (0..10_000).map(|index| rule(index * 7919 % 10_000)).collect::<String>();
        let mut verdicts = Vec::new();
        for rules in [forward, backward, mixed] {
            let mut world = Plan::rules(&rules).start().await;
            let mut seen = Vec::new();
            let mut times = Vec::new();
            for zone in (0..10_000).step_by(400) {
                for name in [format!("z{zone}.test"), format!("a.z{zone}.test"), format!("a.deep.z{zone}.test"), format!("z{zone}.test.bad")] {
                    let mut wire = world.client().await;
                    let started = Instant::now();
                    let answer = wire.connect(&format!("{name}:443")).await;
                    times.push(started.elapsed());
                    let reason = answer.header("exitgate-reason").to_owned();
                    // Allowed names do not exist at the name server: they come as far as that.
                    let status = if reason.starts_with("resolve") || reason == "no-address" { 502 } else { 403 };
                    world.refused(&answer, status, &[reason.as_str()]);
                    seen.push((name, reason));
                }
            }
            times.sort();
            let median = times[times.len() / 2];
            assert!(median < Duration::from_millis(20), "a CONNECT under 10 000 rules took {median:?} at the median");
            let asked = seen.iter().filter(|(_, reason)| reason != "rule-denied" && reason != "no-rule");
            let asked = asked.map(|(name, _)| name.as_str()).collect::<Vec<_>>();
            assert_eq!(asked.len(), seen.len() / 2, "{seen:?}");
            world.may_ask(&asked);
            world.finish().await;
            verdicts.push(seen);
        }
        assert_eq!(verdicts[0], verdicts[1]);
        assert_eq!(verdicts[0], verdicts[2]);
    }
}
