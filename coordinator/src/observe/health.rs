//! Readiness: whether this coordinator can do its work, and why not.

use std::io::Write as _;
use std::time::Duration;

use super::Operations;

/// How long each part may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The reasons why the coordinator is not ready, in a line each; empty when it is ready.
pub(super) async fn reasons(operations: &Operations) -> Vec<String> {
    let (database, signer) = tokio::join!(database(operations), signer(operations));
    let parts = [database, blobs(operations).await, signer];
    parts.into_iter().filter_map(Result::err).collect()
}

async fn database(operations: &Operations) -> Result<(), String> {
    if let Some(down) = operations.peers.database_down() {
        return Err(down);
    }
    // A task of its own: a query that is dropped half way would break its connection.
    let store = operations.store.clone();
    let ping = tokio::spawn(async move { store.ping().await });
    match tokio::time::timeout(PATIENCE, ping).await {
        Ok(Ok(pinged)) => pinged.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(format!("database: {error}")),
        Err(_) => Err(format!("database: no answer for {} s", PATIENCE.as_secs())),
    }
}

async fn blobs(operations: &Operations) -> Result<(), String> {
    let blobs = operations.blobs.clone();
    let written = tokio::task::spawn_blocking(move || {
        let scratch = blobs.scratch().map_err(|error| error.to_string())?;
        let path = scratch.path().join("ready");
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&path)?;
            file.write_all(b"ready")?;
            file.sync_all()
        };
        write().map_err(|error| format!("blob store {}: {error}", path.display()))
    });
    match tokio::time::timeout(PATIENCE, written).await {
        Ok(Ok(written)) => written,
        Ok(Err(error)) => Err(format!("blob store: {error}")),
        Err(_) => Err(format!("blob store: no answer for {} s", PATIENCE.as_secs())),
    }
}

async fn signer(operations: &Operations) -> Result<(), String> {
    for target in operations.targets.all().into_values().flatten() {
        let keys = operations.signer.public_keys(&target);
        match tokio::time::timeout(PATIENCE, keys).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("{error:#}")),
            Err(_) => return Err(format!("signer: no answer for {} s", PATIENCE.as_secs())),
        }
    }
    Ok(())
}
