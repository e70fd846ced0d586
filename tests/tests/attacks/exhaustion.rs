//! Section 15: exhaustion and lifecycle.

use exitgate_tests::client::Wire;
use exitgate_tests::deadline::within;
use exitgate_tests::dns::DnsStub;
use exitgate_tests::documents;
use exitgate_tests::gateway::{Folder, Launch};
use exitgate_tests::hello::Hello;
use exitgate_tests::origin::Origin;
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, Plan, Reached, World};

/// A tunnel that has carried a hello, so that it is being relayed.
async fn relayed(world: &World, target: &str) -> Wire {
    let mut tunnel = world.tunnel(target).await;
    let hello = Hello::for_name("ok.test").bytes();
    tunnel.send(&hello).await;
    tunnel.take(hello.len()).await;
    tunnel
}

async fn with_echo(plan: Plan, reached: Reached) -> (World, String) {
    let mut world = plan.start().await;
    let origin = world.add(Origin::echo(ORIGIN).await, reached);
    let target = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);
    (world, target)
}

rows! {
    async fn row_202_oversized_heads() {
        let mut world = World::start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Never);
        let host = format!("ok.test:{}", world.origin(origin).port());
        let start = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n");
        let line = format!("{start}X: {}\r\n\r\n", "a".repeat(64 * 1024));
        world.request_refused(line, 431, &["head-too-large"]).await;
        let many = (0..1000).map(|index| format!("X-{index}: y")).collect::<Vec<_>>().join("\r\n");
        world.request_refused(format!("{start}{many}\r\n\r\n"), 431, &["head-too-large"]).await;
        let uri = format!("GET http://{host}/{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "a".repeat(1 << 20));
        world.request_refused(uri, 414, &["uri-too-long"]).await;
        let target = format!("{}.ok.test", "a".repeat(1 << 20));
        let connect = format!("CONNECT {target}:443 HTTP/1.1\r\nHost: {target}:443\r\n\r\n");
        world.request_refused(connect, 414, &["uri-too-long"]).await;
        world.finish().await;
    }

    async fn row_203_connection_limits() {
        let workloads = "  workloads:
  - {name: local, source: {cidrs: [127.0.0.1/32]}}
  - {name: local, namespace: other, source: {cidrs: [127.3.0.0/16]}}
";
        for (limits, status) in [("connectionsPerWorkload: 5", 429), ("connectionsTotal: 5", 503)] {
            let plan = Plan::default().settings(&format!("{workloads}  limits: {{{limits}}}\n"));
            let (mut world, target) = with_echo(plan, Reached::Times(10)).await;
            for _ in 0..2 {
                let mut open = Vec::new();
                for _ in 0..5 {
                    open.push(relayed(&world, &target).await);
                    world.allowed();
                }
                let mut wire = world.client().await;
                wire.offer(exitgate_tests::client::connect_head(&target)).await;
                let answer = wire.answer().await;
                assert_eq!(answer.status, status, "{}", answer.head);
                assert!(!answer.header("retry-after").is_empty(), "{}", answer.head);
                world.refused(&answer, status, &["limit"]);
                // Released on every exit path: an orderly end, a reset, and a drop.
                for (index, mut tunnel) in open.into_iter().enumerate() {
                    if index % 2 == 0 {
                        tunnel.finish_sending().await;
                        tunnel.closed().await;
                    } else {
                        tunnel.reset();
                    }
                }
                let done = world.gateway.records.log.all().len();
                world.gateway.records.log.wait("the records of the released connections", |all| {
                    let allowed = all.iter().filter(|record| record.verdict() == "allow").count();
                    (allowed % 5 == 0 && allowed > 0 && all.len() >= done.min(6)).then_some(())
                }).await;
            }
            world.finish().await;
        }
    }

    async fn row_205_idle_tunnels_and_descriptors() {
        // Two descriptors for each tunnel in the gateway and in this process: 9 000 fit into the usual limit of 20 000.
        let limit = descriptor_limit();
        let tunnels = if limit >= 19_000 { 9_000 } else { (limit - 500) / 2 };
        let plan = Plan::default().settings("  limits: {connectionsPerWorkload: 20000}\n  timeouts: {idle: 10m}\n");
        let (mut world, target) = with_echo(plan, Reached::Times(tunnels + 1)).await;
        let first = relayed(&world, &target).await;
        let before = world.gateway.memory("VmRSS");
        let mut open = vec![first];
        for _ in 0..tunnels {
            open.push(relayed(&world, &target).await);
        }
        let after = world.gateway.memory("VmRSS");
        let each = (after - before) / tunnels as u64;
        eprintln!("{tunnels} idle tunnels: {before} KiB before, {after} KiB after, {each} KiB each");
        assert!(each <= 16, "{each} KiB resident for each idle tunnel");
        for _ in &open {
            world.allowed();
        }
        drop(open);
        world.finish().await;

        // Without descriptors, accepting pauses and goes on when some are free again.
        let (mut world, target) = with_echo(Plan::default().descriptors(64), Reached::Unchecked).await;
        let mut wires = Vec::new();
        for _ in 0..100 {
            wires.push(world.client().await);
        }
        let mut open = 0;
        for wire in &mut wires {
            // Served, refused, or not accepted yet: none is lost without an end.
            wire.offer(exitgate_tests::client::connect_head(&target)).await;
        }
        if wires[0].take_until("\r\n\r\n").await.starts_with(b"HTTP/1.1 200") {
            open += 1;
        }
        drop(wires);
        let recovered = async {
            loop {
                let mut wire = world.client().await;
                if wire.connect(&target).await.status == 200 {
                    return wire;
                }
                tokio::task::yield_now().await;
            }
        };
        let mut tunnel = within("the gateway to recover", recovered).await;
        let hello = Hello::for_name("ok.test").bytes();
        tunnel.send(&hello).await;
        tunnel.take(hello.len()).await;
        drop(tunnel);
        eprintln!("first of a hundred on 64 descriptors: {open}");
        let code = world.gateway.stop().await;
        assert_eq!(code, Some(0));
        let records = world.gateway.records.log.all();
        assert!(records.iter().any(|record| record.verdict() == "allow"), "{records:#?}");
    }

    async fn row_206_sigterm() {
        let plan = Plan::default().settings("  timeouts: {drain: 2s}\n");
        let (mut world, target) = with_echo(plan, Reached::Times(2)).await;
        let mut finishing = relayed(&world, &target).await;
        let mut staying = relayed(&world, &target).await;
        world.gateway.terminate();
        // No new flows: the listener closes while tunnels are open.
        within("the listener to close", async {
            while tokio::net::TcpStream::connect(world.proxy).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // Existing ones go on.
        finishing.send("one more").await;
        assert_eq!(finishing.take(8).await, b"one more");
        finishing.finish_sending().await;
        finishing.closed().await;
        // The deadline ends the rest.
        staying.rest().await;
        assert_eq!(world.gateway.ended().await, Some(0));
        let records = world.gateway.records.log.all();
        let hosts = records.iter().map(exitgate_tests::records::Record::host).collect::<Vec<_>>();
        assert_eq!(hosts, ["ok.test", "ok.test"], "one record for each tunnel: {records:#?}");
        assert_eq!(records[1].reason(), "draining", "{records:#?}");
    }

    async fn row_208_blocked_record_sink() {
        for (overflow, refuses) in [("Drop", false), ("Refuse", true)] {
            let folder = Folder::new();
            folder.write("internet.yaml", documents::INTERNET);
            folder.write("world.yaml", &documents::policy(documents::NAMES));
            folder.write("gateway.yaml", &documents::settings(&format!("  records: [{{type: Stdout, overflow: {overflow}}}]\n")));
            let dns = DnsStub::start().await;
            let mut launch = Launch::new(folder).dns(dns.address).argument("--metrics", "127.0.0.1:0");
            launch.deaf = true;
            launch.own_records = true;
            let mut gateway = launch.start().await;
            // Nobody reads standard output. Refusals make records until the pipe and every queue are full.
            let mut refused_for_the_sink = 0;
            let agent = "a".repeat(4000);
            for _ in 0..30_000 {
                let mut wire = Wire::open(gateway.proxy).await;
                let request = format!("GET http://bad.test/ HTTP/1.1\r\nHost: bad.test\r\nUser-Agent: {agent}\r\n\r\n");
                wire.offer(request).await;
                let answer = wire.answer().await;
                if answer.status != 403 {
                    assert_eq!(answer.status, 503, "{}", answer.head);
                    refused_for_the_sink += 1;
                    break;
                }
            }
            assert_eq!(refused_for_the_sink > 0, refuses, "overflow: {overflow}");
            if !refuses {
                let metrics = Wire::open(gateway.listener("metrics")).await
                    .ask("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.text();
                let dropped = metrics.lines().filter(|line| !line.starts_with('#') && line.contains("record") && line.contains("dropped"));
                let dropped = dropped.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>();
                assert!(dropped > 0.0, "no counter of dropped records:\n{metrics}");
            }
            gateway.listen_again();
            assert_eq!(gateway.stop().await, Some(0));
            assert!(gateway.records.garbage.all().is_empty(), "half a record was written");
        }
    }

    async fn row_209_control_characters_in_records() {
        let mut world = World::start().await;
        let origin = world.add(Origin::http(ORIGIN).await, Reached::Unchecked);
        let host = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let long = "a".repeat(10 * 1024);
        let requests = [
            format!("GET http://{host}/\u{1b}[31mred HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            format!("GET http://{host}/%0d%0a%1b[31m HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nUser-Agent: \u{1b}]0;title\u{7}\r\n\r\n"),
            format!("GET http://{host}/{long} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {long}\r\n\r\n"),
            format!("GET http://{long}.test/ HTTP/1.1\r\nHost: {long}.test\r\n\r\n"),
            format!("CONNECT {long}:443 HTTP/1.1\r\nHost: {long}:443\r\n\r\n"),
            "CONNECT \u{1b}[31m.test:443 HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nUser-Agent: \"}},{{\"forged\":1}}\u{202e}\u{85}\u{2028}\r\n\r\n"),
        ];
        for request in requests {
            let mut wire = world.client().await;
            wire.offer(&request).await;
            let answer = wire.answer().await;
            assert!([200, 400, 403].contains(&answer.status), "{}", answer.head);
            world.any_record();
        }
        let mut tunnel = world.tunnel(&host).await;
        tunnel.offer(Hello::for_name("ok.test\r\n{\"forged\":1}\u{1b}[31m").bytes()).await;
        tunnel.refused_in_tls().await;
        world.closed(&["bad-hello"]);
        for record in world.finish().await {
            let line = record.1;
            assert!(!line.chars().any(char::is_control), "{line}");
            assert!(line.len() < 8 * 1024, "a record of {} bytes", line.len());
            assert!(record.0.get("forged").is_none(), "{line}");
        }
    }
}

fn descriptor_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    line.split_whitespace()
        .nth(3)
        .unwrap()
        .parse()
        .unwrap_or(usize::MAX)
}
