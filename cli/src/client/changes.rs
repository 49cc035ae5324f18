//! The changes of watched builds, from as many calls as are needed.

use rpmfarm_proto::v1::Build;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::{Status, Streaming};

/// How many builds one call may watch.
pub(super) const BUILDS_OF_WATCH: usize = 1000;

/// The changes of several streams as one, which ends when all have ended.
#[derive(Debug)]
pub(crate) struct Changes {
    /// Cloned for each stream; `None` after the last one has begun.
    sender: Option<mpsc::Sender<Result<Build, Status>>>,
    receiver: mpsc::Receiver<Result<Build, Status>>,
    /// The streams end when this is dropped.
    tasks: JoinSet<()>,
}

impl Changes {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(4);
        Self { sender: Some(sender), receiver, tasks: JoinSet::new() }
    }

    pub(super) fn join(&mut self, mut stream: Streaming<Build>) {
        let Some(sender) = self.sender.clone() else { return };
        self.tasks.spawn(async move {
            while let Some(change) = stream.message().await.transpose() {
                let failed = change.is_err();
                if sender.send(change).await.is_err() || failed {
                    return;
                }
            }
        });
    }

    /// No further stream will be added.
    pub(super) fn begun(mut self) -> Self {
        self.sender = None;
        self
    }

    /// The next change; `None` when all builds have ended.
    ///
    /// # Errors
    /// When a stream broke.
    pub(crate) async fn message(&mut self) -> Result<Option<Build>, Status> {
        self.receiver.recv().await.transpose()
    }
}
