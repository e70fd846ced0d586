//! Clients over IPv6, and what the admin port gives out.

use exitgate_tests::client::Wire;
use exitgate_tests::documents;
use exitgate_tests::hello::Hello;
use exitgate_tests::opened::Opened;
use exitgate_tests::origin::Origin;
use exitgate_tests::world::{ORIGIN, Plan, Reached};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_over_ipv6_is_who_its_address_says() {
    let workloads = "  workloads:
  - {namespace: elsewhere, name: four, source: {cidrs: [127.0.0.0/8]}}
  - {namespace: default, name: six, source: {cidrs: [\"::1/128\"]}}\n";
    let plan = Plan::default()
        .settings(workloads)
        .argument("--listen", "[::1]:0");
    let mut world = plan.start().await;
    let origin = world.add(Origin::http(ORIGIN).await, Reached::Times(2));
    let host = format!("ok.test:{}", world.origin(origin).port());
    world.may_ask(&["ok.test"]);
    let proxies = &world.gateway.listeners["proxy"];
    world.proxy = *proxies.iter().find(|proxy| proxy.is_ipv6()).unwrap();

    let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(world.client().await.ask(request).await.status, 200);
    world.allowed().workload("default", "six").host("ok.test");
    let mut tunnel = world.tunnel(&host).await;
    tunnel.send(Hello::for_name("ok.test").bytes()).await;
    drop(tunnel);
    world.allowed().workload("default", "six").host("ok.test");
    let refused = world
        .connect_refused("bad.test:443", 403, &["no-rule"])
        .await;
    refused.workload("default", "six").phase("preDns");
    world.finish().await;
}

/// What clients must trust can be fetched; where TLS is not opened there is nothing to trust.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_port_gives_out_the_roots() {
    let admin = "  listeners: {admin: [\"127.0.0.1:0\"]}\n";
    let opened = Opened::new();
    let on = opened.settings(admin);
    for (settings, status) in [(&*on, 200), (admin, 404)] {
        let world = Plan::rules(documents::NAMES)
            .settings(settings)
            .start()
            .await;
        let mut wire = Wire::open(world.gateway.listeners["admin"][0]).await;
        let answer = wire
            .ask("GET /ca.pem HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(answer.status, status);
        if status == 200 {
            let body = String::from_utf8(answer.body.clone()).unwrap();
            assert_eq!(body.trim(), opened.gateway.pem().trim());
        }
        drop(wire);
        world.finish().await;
    }
}
