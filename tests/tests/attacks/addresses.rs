//! Section 1: addresses and server-side request forgery.

use std::time::Duration;

use exitgate_tests::dns::Answer;
use exitgate_tests::hello::Hello;
use exitgate_tests::origin::{Origin, Reply};
use exitgate_tests::rows;
use exitgate_tests::world::{ORIGIN, PRIVATE, Plan, Reached, World};
use hickory_proto::rr::RecordType;

/// Every target is refused by the floor before any name is resolved, although the policy allows everything.
async fn floor(plan: Plan, targets: &[&str], reasons: &[&str]) {
    let mut world = plan.start().await;
    for target in targets {
        world
            .connect_refused(&format!("{target}:80"), 403, reasons)
            .await
            .phase("preDns");
        world
            .request_refused(
                format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n"),
                403,
                reasons,
            )
            .await;
    }
    world.finish().await;
}

/// Every target is no target at all.
async fn not_a_target(targets: &[&str]) {
    let mut world = Plan::everything().start().await;
    for target in targets {
        world
            .connect_refused(&format!("{target}:80"), 400, &["bad-target"])
            .await;
        let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n");
        world.request_refused(request, 400, &["bad-target"]).await;
    }
    world.finish().await;
}

rows! {
    async fn row_001_metadata_by_connect() {
        floor(Plan::everything(), &["169.254.169.254"], &["metadata"]).await;
    }

    async fn row_002_every_metadata_address() {
        let targets = [
            "169.254.170.2", "169.254.170.23", "[fd00:ec2::254]", "[fd00:ec2::23]", "100.100.100.200", "192.0.0.192",
            "168.63.129.16",
        ];
        floor(Plan::everything(), &targets, &["metadata"]).await;
    }

    async fn row_004_loopback_and_unspecified() {
        // Listeners on the very addresses: a dial would be seen.
        let mut world = Plan::everything().start().await;
        let local = world.add(Origin::sink("127.0.0.1").await, Reached::Never);
        let port = world.origin(local).port();
        let last = world.add(world.origin(local).twin("127.255.255.254").await, Reached::Never);
        let v6 = world.add(world.origin(local).twin("::1").await, Reached::Never);
        assert_eq!(world.origin(last).port(), world.origin(v6).port());
        for (target, reason) in [
            ("127.0.0.1", "loopback"), ("127.255.255.254", "loopback"), ("[::1]", "loopback"),
            ("0.0.0.0", "unspecified"), ("[::]", "unspecified"),
        ] {
            world.connect_refused(&format!("{target}:{port}"), 403, &[reason]).await.phase("preDns");
        }
        world.finish().await;
    }

    async fn row_005_short_forms() {
        not_a_target(&["127.1", "127.0.1", "0", "10.1", "2130706433"]).await;
    }

    async fn row_007_octal_forms() {
        not_a_target(&["0251.0376.0251.0376", "010.0.0.1", "127.0.0.01", "0x7f.0.0.1", "0x7f000001"]).await;
    }

    async fn row_008_overflow_and_mixed_forms() {
        not_a_target(&["425.510.425.510", "169.254.43518", "256.1.1.1", "1.2.3.4.5"]).await;
    }

    async fn row_010_mapped_addresses() {
        let targets = ["[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]"];
        floor(Plan::everything(), &targets, &["metadata"]).await;
    }

    async fn row_011_embedded_addresses() {
        let targets = [
            "[::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a9fe:a9fe]", "[2002:a9fe:a9fe::1]",
            // Teredo: the client's address 169.254.169.254 with its bits inverted.
            "[2001:0:4136:e378:8000:63bf:5601:5601]",
        ];
        floor(Plan::everything(), &targets, &["embedded-ipv4"]).await;
    }

    async fn row_013_edges_of_non_public_ranges() {
        // Names only: what the floor leaves open is then refused as `no-rule`, and nothing is dialled.
        let inside = [
            "10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255",
            "100.64.0.0", "100.127.255.255", "198.18.0.0", "198.19.255.255", "192.0.0.0", "192.0.0.255", "192.0.2.0",
            "192.0.2.255", "198.51.100.0", "198.51.100.255", "203.0.113.0", "203.0.113.255", "240.0.0.0",
            "255.255.255.254", "[fc00::]", "[fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]", "[fec0::]",
            "[feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]", "[2001:db8::]", "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]",
        ];
        let multicast = ["224.0.0.0", "239.255.255.255", "[ff02::1]", "[ff00::]"];
        // Beside fc00::/7 nothing is public either: only 2000::/3 is.
        let beside = [
            "9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0",
            "100.63.255.255", "100.128.0.0", "198.17.255.255", "198.20.0.0", "191.255.255.255", "192.0.1.0",
            "192.0.1.255", "192.0.3.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0",
            "223.255.255.255", "[2001:db7:ffff::1]", "[2001:db9::]",
        ];
        let nothing = "  - name: nowhere\n    action: Allow\n    to: {cidrs: [8.8.8.8/32]}\n";
        let mut world = Plan::rules(nothing).start().await;
        for target in inside {
            world.connect_refused(&format!("{target}:80"), 403, &["non-public"]).await.phase("preDns");
        }
        world.connect_refused("255.255.255.255:80", 403, &["non-public", "multicast"]).await.phase("preDns");
        for target in multicast {
            world.connect_refused(&format!("{target}:80"), 403, &["multicast", "non-public"]).await.phase("preDns");
        }
        for target in beside {
            world.connect_refused(&format!("{target}:80"), 403, &["no-rule"]).await.phase("preDns");
        }
        world.finish().await;

        // An Admin rule's CIDR opens what lies in it, and not its neighbours.
        let opening = "apiVersion: exitgate.dev/v1alpha1
kind: ClusterEgressPolicy
metadata: {name: opening}
spec:
  tier: Admin
  rules:
  - {name: benchmarks, action: Pass, to: {cidrs: [198.18.1.0/24, \"fc00:1::/32\"]}}
  - {name: everything, action: Pass, to: {cidrs: [0.0.0.0/0, \"::/0\"]}}
";
        let mut world = Plan::rules(nothing).document(opening).start().await;
        for target in ["198.18.1.0", "198.18.1.255", "[fc00:1::]", "[fc00:1:ffff::1]"] {
            world.connect_refused(&format!("{target}:80"), 403, &["no-rule"]).await;
        }
        for target in ["198.18.0.255", "198.18.2.0", "[fc00:0:ffff::1]", "[fc00:2::]", "10.0.0.1"] {
            world.connect_refused(&format!("{target}:80"), 403, &["non-public"]).await;
        }
        world.finish().await;
    }

    async fn row_014_cluster_ranges() {
        let ranges = "  ranges: {pods: [44.10.0.0/16], services: [10.96.0.0/12, \"2600:aaaa::/64\"], nodes: [52.0.0.0/24]}\n";
        let plan = Plan::everything().settings(ranges);
        let targets = ["44.10.0.0", "44.10.255.255", "10.96.0.1", "[2600:aaaa::1]", "52.0.0.255"];
        floor(plan, &targets, &["cluster-internal"]).await;
    }

    async fn row_016_private_answer_beside_a_public_one() {
        let mut world = World::start().await;
        let private = world.add(Origin::sink(PRIVATE).await, Reached::Never);
        let port = world.origin(private).port();
        // Nobody listens on the public one at this port: the dial is refused, and that is the end.
        world.dns.set("mix.test", Answer::addresses(&[PRIVATE, "127.1.0.9"]));
        world.may_ask(&["mix.test"]);
        world.connect_refused(&format!("mix.test:{port}"), 502, &["dial-failed"]).await;
        world.finish().await;

        let mut world = Plan::default().settings("  dns: {strictAnswers: true}\n").start().await;
        let private = world.add(Origin::sink(PRIVATE).await, Reached::Never);
        let public = world.origin(private).twin(ORIGIN).await;
        let port = public.port();
        world.add(public, Reached::Never);
        world.dns.set("mix.test", Answer::addresses(&[ORIGIN, PRIVATE]));
        world.may_ask(&["mix.test"]);
        world.connect_refused(&format!("mix.test:{port}"), 403, &["loopback"]).await.phase("preRequest");
        world.finish().await;
    }

    async fn row_017_private_aaaa_is_never_raced() {
        let mut world = World::start().await;
        let public = world.add(Origin::sink(ORIGIN).await, Reached::Silently);
        let port = world.origin(public).port();
        let private = world.origin(public).twin("::1").await;
        world.add(private, Reached::Never);
        // The public address comes late, so that a race would be lost to the private one.
        let answer = Answer::addresses(&[ORIGIN, "::1"]).late(RecordType::A, Duration::from_millis(150));
        world.dns.set("ok.test", answer);
        world.may_ask(&["ok.test"]);
        let mut tunnel = world.tunnel(&format!("ok.test:{port}")).await;
        tunnel.finish_sending().await;
        tunnel.rest().await;
        drop(tunnel);
        let visited = world.origin(public).visits().await;
        assert_eq!(visited.len(), 1, "{visited:?}");
        // An empty tunnel ends as whatever the policy makes of silence; this row is about the dial.
        world.any_record();
        world.finish().await;
    }

    async fn row_019_dialled_address_is_the_judged_one() {
        let forgetful = "  dns: {minTtlSeconds: 0, maxTtlSeconds: 0}\n";
        let mut world = Plan::default().settings(forgetful).start().await;
        let private = world.add(Origin::sink(PRIVATE).await, Reached::Never);
        let port = world.origin(private).port();
        let public = world.origin(private).twin(ORIGIN).await;
        world.add(public, Reached::Unchecked);
        let rounds: &[&[&str]] = &[&[ORIGIN], &[PRIVATE], &[ORIGIN], &[PRIVATE], &[PRIVATE]];
        world.dns.set("flip.test", Answer::rounds(rounds));
        world.may_ask(&["flip.test"]);
        for _ in 0..6 {
            let mut wire = world.client().await;
            let answer = wire.connect(&format!("flip.test:{port}")).await;
            if answer.status == 200 {
                drop(wire);
                world.any_record();
            } else {
                world.refused(&answer, 403, &["loopback"]);
            }
        }
        for record in world.finish().await {
            assert_ne!(record.0.pointer("/dst_endpoint/ip"), Some(&serde_json::json!(PRIVATE)), "{record:?}");
        }
    }

    async fn row_020_alias_into_the_cluster() {
        let mut world = Plan::default().settings("  ranges: {services: [10.96.0.0/12]}\n").start().await;
        let alias = "kubernetes.default.svc.cluster.local";
        world.dns.set("ok.test", Answer::addresses(&["10.96.0.1"]).through("front.example").through(alias));
        world.may_ask(&["ok.test", "front.example", alias]);
        world.connect_refused("ok.test:443", 403, &["cluster-internal"]).await.phase("preRequest");
        let records = world.finish().await;
        let chain = serde_json::json!(["front.example", alias]);
        assert_eq!(records[0].0.pointer("/exitgate/cname_chain"), Some(&chain), "{records:#?}");
    }

    async fn row_022_literal_on_one_port() {
        let origin = Origin::echo("127.1.0.3").await;
        let other = Origin::sink("127.1.0.3").await;
        let rule = format!(
            "  - name: literal\n    action: Allow\n    to: {{cidrs: [127.1.0.3/32], ports: [{}]}}\n",
            origin.port()
        );
        let mut world = Plan::rules(&rule).start().await;
        let (open, closed) = (origin.address, other.address);
        world.add(origin, Reached::Times(1));
        world.add(other, Reached::Never);
        let mut tunnel = world.tunnel(&open.to_string()).await;
        let hello = Hello::nameless().bytes();
        tunnel.send(&hello).await;
        assert_eq!(tunnel.take(hello.len()).await, hello);
        tunnel.finish_sending().await;
        tunnel.closed().await;
        world.allowed().rule("literal");
        world.connect_refused(&closed.to_string(), 403, &["no-rule"]).await.phase("preDns");
        let records = world.finish().await;
        let allowed = records.iter().find(|record| record.verdict() == "allow").unwrap();
        assert_eq!(allowed.assurance(), "AddressOnly");
    }

    async fn row_023_narrower_denial_wins() {
        let rules = "  - name: range
    action: Allow
    to: {cidrs: [127.1.0.0/24]}
  - name: one
    action: Deny
    to: {cidrs: [127.1.0.5/32]}
";
        let mut world = Plan::rules(rules).start().await;
        let denied = world.add(Origin::sink("127.1.0.5").await, Reached::Never);
        let target = world.origin(denied).address.to_string();
        world.connect_refused(&target, 403, &["rule-denied"]).await.phase("preDns").rule("one");
        let open = world.add(Origin::echo("127.1.0.6").await, Reached::Times(1));
        let mut tunnel = world.tunnel(&world.origin(open).address.to_string()).await;
        let hello = Hello::nameless().bytes();
        tunnel.send(&hello).await;
        tunnel.take(hello.len()).await;
        tunnel.finish_sending().await;
        tunnel.closed().await;
        world.allowed().rule("range");
        world.finish().await;
    }

    async fn row_025_names_of_the_local_host() {
        floor(
            Plan::everything(),
            &["localhost", "localhost.", "LOCALHOST", "x.localhost", "ip6-localhost"],
            &["loopback"],
        ).await;
    }

    async fn row_026_the_gateway_itself() {
        let plan = Plan::everything()
            .with_v6()
            .argument("--listen", "127.1.0.8:0")
            .argument("--listen", "[::1]:0")
            .argument("--listen", "0.0.0.0:0")
            .argument("--metrics", "127.1.0.8:0")
            .argument("--ready", "127.1.0.8:0")
            .argument("--admin", "127.1.0.8:0");
        let mut world = plan.start().await;
        world.dns.point("self.test", "127.1.0.8");
        world.dns.point("any.test", "127.1.0.77");
        world.dns.set("six.test", Answer::addresses(&["::1"]));
        world.may_ask(&["self.test", "any.test", "six.test"]);
        let proxies = world.gateway.listeners["proxy"].clone();
        assert_eq!(proxies.len(), 4, "{proxies:?}");
        let mut targets = vec![
            (format!("127.1.0.8:{}", proxies[1].port()), "preDns"),
            (format!("self.test:{}", proxies[1].port()), "preRequest"),
            (format!("[::ffff:127.1.0.8]:{}", proxies[1].port()), "preDns"),
            (format!("[::1]:{}", proxies[2].port()), "preDns"),
            (format!("six.test:{}", proxies[2].port()), "preRequest"),
            // A wildcard listener is every address of this machine.
            (format!("127.1.0.77:{}", proxies[3].port()), "preDns"),
            (format!("any.test:{}", proxies[3].port()), "preRequest"),
        ];
        for role in ["metrics", "ready", "admin"] {
            targets.push((world.gateway.listener(role).to_string(), "preDns"));
        }
        for (target, phase) in targets {
            world.connect_refused(&target, 403, &["self"]).await.phase(phase);
        }
        world.finish().await;
    }

    async fn row_028_redirects_are_relayed_and_never_followed() {
        let mut world = Plan::everything().start().await;
        let metadata = "http://169.254.169.254/latest/";
        let reply = move |_: &exitgate_tests::origin::Request| {
            Reply::raw(format!("HTTP/1.1 302 Found\r\nLocation: {metadata}\r\nContent-Length: 0\r\n\r\n"))
        };
        let origin = world.add(Origin::http_with(ORIGIN, reply).await, Reached::Times(1));
        let host = format!("ok.test:{}", world.origin(origin).port());
        world.may_ask(&["ok.test"]);
        let mut wire = world.client().await;
        let answer = wire.ask(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!((answer.status, answer.header("location")), (302, metadata));
        world.allowed();
        let answer = wire.ask(format!("GET {metadata} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")).await;
        wire.closed().await;
        world.refused(&answer, 403, &["metadata"]).phase("preDns");
        world.finish().await;
    }

    async fn row_029_parent_proxy_gets_the_judged_address() {
        let parent = Origin::scripted("127.0.0.1", |mut wire| async move {
            wire.take_until("\r\n\r\n").await;
            wire.send("HTTP/1.1 200 OK\r\n\r\n").await;
            drop(wire.drain().await);
        }).await;
        let settings = format!("  parent: {{address: \"{}\"}}\n", parent.address);
        let mut world = Plan::default().settings(&settings).start().await;
        let parent = world.add(parent, Reached::Times(1));
        world.may_ask(&["ok.test"]);
        let mut tunnel = world.tunnel("ok.test:443").await;
        let hello = Hello::for_name("ok.test").bytes();
        tunnel.send(&hello).await;
        tunnel.finish_sending().await;
        tunnel.rest().await;
        world.allowed();
        let seen = world.origin(parent).visits().await.remove(0).bytes;
        let head = seen.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let (head, rest) = seen.split_at(head);
        let head = String::from_utf8_lossy(head);
        assert!(head.starts_with(&format!("CONNECT {ORIGIN}:443 HTTP/1.1\r\n")), "{head}");
        assert!(!head.to_lowercase().contains("ok.test"), "{head}");
        assert_eq!(rest, hello);
        world.finish().await;
    }
}
