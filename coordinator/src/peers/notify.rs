//! Wakes the other coordinators, and is woken by them, with PostgreSQL's NOTIFY and LISTEN.
//!
//! A message is only a wake-up. A lost one costs some time, because passes and sessions also run
//! periodically.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sqlx::postgres::PgListener;
use tokio::sync::mpsc;

use super::Peers;
use crate::bus::{Bus, PeerMessage};
use crate::fleet::Fleet;
use crate::store::Store;

/// The channel's name in the database.
const CHANNEL: &str = "rpmfarm";

/// How long messages are gathered, so that a burst of commits sends one message.
const GATHER: Duration = Duration::from_millis(20);

/// The pause before the listener connects again.
const PAUSE: Duration = Duration::from_secs(1);

/// The payload of NOTIFY for a message.
fn payload(word: &PeerMessage, me: &str) -> String {
    match word {
        PeerMessage::Facts => format!("{me} facts"),
        PeerMessage::WakeSession(worker) => format!("{me} poke {worker}"),
        PeerMessage::WakeSessions => format!("{me} poke-all"),
        PeerMessage::Progress => format!("{me} progress"),
    }
}

/// Reads a payload; `None` for this coordinator's own messages and for payloads that are no
/// message.
fn read(payload: &str, me: &str) -> Option<PeerMessage> {
    let mut words = payload.splitn(3, ' ');
    let from = words.next()?;
    let word = match (words.next()?, words.next()) {
        ("facts", None) => PeerMessage::Facts,
        ("poke", Some(worker)) => PeerMessage::WakeSession(worker.to_owned()),
        ("poke-all", None) => PeerMessage::WakeSessions,
        ("progress", None) => PeerMessage::Progress,
        _ => return None,
    };
    (from != me).then_some(word)
}

/// Sends messages as long as the coordinator runs.
pub async fn send_messages(peers: Peers, store: Store, mut words: mpsc::Receiver<PeerMessage>) {
    while let Some(first) = words.recv().await {
        let mut batch = BTreeSet::from([first]);
        tokio::time::sleep(GATHER).await;
        while let Ok(word) = words.try_recv() {
            batch.insert(word);
        }
        // Nobody is there to be woken, or the message cannot be sent: it is dropped.
        if !peers.has_others(Instant::now()) || peers.database_down().is_some() {
            continue;
        }
        for word in batch {
            let text = payload(&word, peers.own_id());
            // The function returns void, a type that not every driver can decode, so a constant is
            // selected.
            let query = "SELECT 1 FROM pg_notify($1, $2)";
            let sent = sqlx::query(query).bind(CHANNEL).bind(text).execute(store.read_pool()).await;
            if let Err(error) = sent {
                tracing::debug!(%error, "the other coordinators were not notified");
                break;
            }
        }
    }
}

/// Wakes passes, sessions and watchers when messages of other coordinators arrive.
pub struct PeerListener {
    /// This coordinator, whose own messages are ignored.
    pub peers: Peers,
    pub bus: Bus,
    pub fleet: Fleet,
    /// Wakes the watchers of builds.
    pub progress: Bus,
}

impl PeerListener {
    /// Receives messages until the task is dropped, and wakes for each.
    pub async fn run(self, url: String) {
        loop {
            if let Err(error) = self.receive(&url).await {
                tracing::debug!(%error, "no notifications arrive from the other coordinators");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn receive(&self, url: &str) -> sqlx::Result<()> {
        let mut listener = PgListener::connect(url).await?;
        listener.listen(CHANNEL).await?;
        // Messages may have been missed before this, so everything is woken.
        self.bus.wake();
        loop {
            let heard = listener.recv().await?;
            match read(heard.payload(), self.peers.own_id()) {
                Some(PeerMessage::Facts) => self.bus.wake(),
                Some(PeerMessage::WakeSession(worker)) => {
                    drop(self.fleet.wake_local_session(&worker));
                }
                Some(PeerMessage::WakeSessions) => self.fleet.wake_local_sessions(),
                Some(PeerMessage::Progress) => self.progress.wake(),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_by_others_and_not_by_who_said_them() {
        let words = [
            PeerMessage::Facts,
            PeerMessage::WakeSession("w 1".into()),
            PeerMessage::WakeSessions,
            PeerMessage::Progress,
        ];
        for word in words {
            let payload = payload(&word, "a");
            assert_eq!(read(&payload, "b"), Some(word));
            assert_eq!(read(&payload, "a"), None);
        }
        for nonsense in ["", "a", "a b", "a poke", "a facts now"] {
            assert_eq!(read(nonsense, "b"), None, "{nonsense}");
        }
    }
}
