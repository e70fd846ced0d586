//! Records on a disk that is full, and full no more.

use exitgate_tests::client::Wire;
use exitgate_tests::dns::DnsStub;
use exitgate_tests::documents;
use exitgate_tests::gateway::{Folder, Gateway, Launch};

const REFUSED: &str = "GET http://bad.test/ HTTP/1.1\r\nHost: bad.test\r\n\r\n";

async fn start(overflow: &str, path: &str, disk: Option<&Folder>) -> Gateway {
    let folder = Folder::new();
    folder.write("world.yaml", &documents::policy(documents::NAMES));
    let sink = format!("  records: [{{type: File, path: {path}, overflow: {overflow}}}]\n");
    folder.write("gateway.yaml", &documents::settings(&sink));
    let dns = DnsStub::start().await;
    let mut launch = Launch::new(folder)
        .dns(dns.address)
        .argument("--ready", "127.0.0.1:0");
    launch.own_records = true;
    launch.full_disk = disk.map(|disk| disk.path().to_owned());
    launch.start().await
}

async fn status(gateway: &Gateway) -> u16 {
    Wire::open(gateway.proxy).await.ask(REFUSED).await.status
}

async fn readiness(gateway: &Gateway) -> u16 {
    let ask = "GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    Wire::open(gateway.listener("ready"))
        .await
        .ask(ask)
        .await
        .status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_cannot_be_written() {
    let mut gateway = start("Drop", "/dev/full", None).await;
    assert_eq!(status(&gateway).await, 403);
    gateway.says("records cannot be written").await;
    assert_eq!(
        (status(&gateway).await, readiness(&gateway).await),
        (403, 200)
    );
    assert_eq!(gateway.stop().await, Some(0));

    let mut gateway = start("Refuse", "/dev/full", None).await;
    assert_eq!(status(&gateway).await, 403);
    gateway.says("records cannot be written").await;
    let answer = Wire::open(gateway.proxy).await.ask(REFUSED).await;
    assert_eq!(
        (answer.status, answer.header("exitgate-reason")),
        (503, "not-ready"),
        "{}",
        answer.head
    );
    assert_eq!(readiness(&gateway).await, 503);
    assert_eq!(gateway.stop().await, Some(0));
}

/// A small file system of the gateway's own, so that it can be full and then not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_that_gets_room_again() {
    if !Launch::can_mount() {
        eprintln!("no private mount namespace here: only /dev/full is tried");
        return;
    }
    for (overflow, meanwhile, ready) in [("Drop", 403, 200), ("Refuse", 503, 503)] {
        let disk = Folder::new();
        let path = disk.path().join("records.jsonl");
        let mut gateway = start(overflow, path.to_str().unwrap(), Some(&disk)).await;
        let mut asked = 1;
        assert_eq!(status(&gateway).await, 403);
        gateway.says("records cannot be written").await;
        for _ in 0..3 {
            assert_eq!(status(&gateway).await, meanwhile, "{overflow}");
            asked += 1;
        }
        assert_eq!(readiness(&gateway).await, ready, "{overflow}");
        // Through the process, because only it sees the mount.
        let inside = format!("/proc/{}/root{}", gateway.id(), disk.path().display());
        std::fs::remove_file(format!("{inside}/ballast")).unwrap();
        // Nobody needs to ask for the sink to be tried again.
        gateway.says("records are written again").await;
        assert_eq!(readiness(&gateway).await, 200, "{overflow}");
        assert_eq!(status(&gateway).await, 403, "{overflow}");
        asked += 1;
        let file = std::fs::File::open(format!("{inside}/records.jsonl")).unwrap();
        assert_eq!(gateway.stop().await, Some(0));
        let text = std::io::read_to_string(file).unwrap();
        for line in text.lines() {
            assert!(
                serde_json::from_str::<serde_json::Value>(line).is_ok(),
                "half a record: {line}"
            );
        }
        assert_eq!(
            text.lines().count(),
            asked,
            "{overflow}: nothing is lost while the buffer lasts"
        );
    }
}
