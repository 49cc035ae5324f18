//! Throwaway databases: the same store on SQLite and on a PostgreSQL server of the test's own;
//! builds to put into one, and farms around one.

pub mod builds;
pub mod farms;

use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::store::Store;
use rpmfarm_lab::farm::Postgres;

/// Runs a test on both databases.
pub async fn on_both<F>(test: impl Fn(Store) -> F)
where
    F: Future<Output = ()>,
{
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}", dir.path().join("farm.db").display());
    test(Store::open(&url, Bus::default()).await.expect("SQLite opens")).await;
    on_postgres(async |_, store| test(store).await).await;
}

/// Runs a test on PostgreSQL, with the server that it may disturb. The database is `farm`.
pub async fn on_postgres(test: impl AsyncFnOnce(&Postgres, Store)) {
    let postgres = Postgres::start().expect("PostgreSQL starts");
    let url = postgres.database("farm").expect("a database");
    let store = Store::open(&url, Bus::default()).await.expect("PostgreSQL opens");
    test(&postgres, store.clone()).await;
    store.close().await;
}
