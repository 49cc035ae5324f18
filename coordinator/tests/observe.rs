//! Metrics, health and readiness of a running coordinator, over HTTP.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

use std::path::Path;
use std::time::Duration;

use clap::Parser as _;
use rpmfarm_coordinator::config::Config;
use rpmfarm_coordinator::start::start;
use rpmfarm_lab::farm::Postgres;
use serde_json::Value;
use tokio::sync::oneshot;

/// A target whose key no signer has, because there is no signer.
const TARGET: &str = include_str!("../../deploy/targets/almalinux-9.toml");

/// A coordinator in this process.
struct Running {
    url: String,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn start(directory: &Path, arguments: &[&str]) -> Self {
        let targets = directory.join("targets");
        std::fs::create_dir_all(&targets).unwrap();
        std::fs::write(targets.join("almalinux-9.toml"), TARGET).unwrap();
        let address = directory.join("address");
        let path = |path: &Path| path.display().to_string();
        let own = [
            "rpmfarm-coordinator",
            "--data",
            &path(&directory.join("data")),
            "--targets",
            &path(&targets),
            "--listen",
            "127.0.0.1:0",
            "--address-file",
            &path(&address),
        ]
        .map(str::to_owned);
        let arguments = own.into_iter().chain(arguments.iter().map(|text| (*text).to_owned()));
        let config = Config::try_parse_from(arguments).unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(start(config, async move { drop(stopped.await) }));
        let url = loop {
            match std::fs::read_to_string(&address) {
                Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
                _ if ended.is_finished() => panic!("{:?}", ended.await),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        Self { url, stop: Some(stop), ended }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn reasons(&self) -> Vec<String> {
        let (status, body) = self.get("/readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status == 200, body["ready"] == true, "{status} {body}");
        let reasons = body["reasons"].as_array().unwrap();
        assert_eq!(status == 200, reasons.is_empty(), "{status} {body}");
        reasons.iter().map(|reason| reason.as_str().unwrap().to_owned()).collect()
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.ended.await.unwrap().unwrap();
    }
}

/// The value of a metric with all of its labels.
fn value(text: &str, metric: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {metric} in\n{text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_tells_how_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(directory.path(), &[]).await;
    assert_eq!(running.get("/healthz").await, (200, "ok\n".into()));

    let reasons = running.reasons().await;
    assert!(reasons.len() == 1 && reasons[0].contains("signer"), "{reasons:?}");
    let incoming = directory.path().join("data/blobs/incoming");
    std::fs::remove_dir_all(&incoming).unwrap();
    let reasons = running.reasons().await;
    assert!(reasons.len() == 2 && reasons[0].contains("blob store"), "{reasons:?}");

    let (status, text) = running.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(value(&text, "rpmfarm_database_up"), 1.0);
    assert_eq!(value(&text, "rpmfarm_coordinators{state=\"alive\"}"), 1.0);
    assert_eq!(value(&text, "rpmfarm_builds{state=\"published\"}"), 0.0);
    assert_eq!(value(&text, "rpmfarm_stage_held{stage=\"publish\"}"), 1.0);
    assert!(value(&text, "rpmfarm_data_free_bytes") > 0.0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_said_and_survived() {
    let directory = tempfile::tempdir().unwrap();
    let mut postgres = Postgres::start().unwrap();
    let url = postgres.database("farm").unwrap();
    let running = Running::start(directory.path(), &["--database", &url]).await;
    let says = |reasons: &[String]| reasons.iter().any(|reason| reason.starts_with("database"));
    assert!(!says(&running.reasons().await));

    postgres.stop().unwrap();
    assert!(says(&running.reasons().await), "it is not ready without its database");
    assert_eq!(running.get("/healthz").await.0, 200, "and lives");
    let (status, text) = running.get("/metrics").await;
    assert_eq!((status, value(&text, "rpmfarm_database_up")), (200, 0.0));

    postgres.restart().unwrap();
    let mut tries = 0;
    while says(&running.reasons().await) {
        tries += 1;
        assert!(tries < 100, "it finds its database again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (_, text) = running.get("/metrics").await;
    assert_eq!(value(&text, "rpmfarm_stage_held{stage=\"publish\"}"), 1.0, "it works again");
    running.stop().await;
}
