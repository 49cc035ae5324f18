//! Wakes the other coordinators, and is woken by them, with PostgreSQL's NOTIFY and LISTEN.
//!
//! A message is only a wake-up. A lost one costs some time, because passes and sessions also run
//! periodically.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rpmfarm_core::BuildId;
use sqlx::postgres::PgListener;

use super::Peers;
use crate::bus::{Bus, ChangedBuilds, PeerMessage, PeerMessages};
use crate::fleet::Fleet;
use crate::store::Store;

/// The channel's name in the database.
const CHANNEL: &str = "rpmfarm";

/// How long messages are gathered, so that a burst of commits sends one message.
const GATHER: Duration = Duration::from_millis(20);

/// The pause before the listener connects again.
const PAUSE: Duration = Duration::from_secs(1);

/// How many builds one message names at most: a payload of PostgreSQL has less than 8,000 bytes.
const NAMED: usize = 300;

/// The payload of NOTIFY for a message. Coordinators of an older version do not know the list of
/// builds: they ignore such a message, and read the facts periodically.
fn payload(word: &PeerMessage, me: &str) -> String {
    match word {
        PeerMessage::Facts(changed) => format!("{me} facts {}", builds_text(changed)),
        PeerMessage::WakeSession(worker) => format!("{me} poke {worker}"),
        PeerMessage::WakeSessions => format!("{me} poke-all"),
        PeerMessage::Progress => format!("{me} progress"),
    }
}

/// Builds as `1,2`, or `any`; without one it is `none`.
fn builds_text(changed: &ChangedBuilds) -> String {
    match changed {
        ChangedBuilds::Only(builds) if builds.is_empty() => "none".to_owned(),
        ChangedBuilds::Only(builds) if builds.len() <= NAMED => {
            let ids: Vec<String> = builds.iter().map(|build| build.0.to_string()).collect();
            ids.join(",")
        }
        _ => "any".to_owned(),
    }
}

/// The builds that a message names; a list that cannot be read counts as any build.
fn read_builds(text: &str) -> ChangedBuilds {
    if text == "none" {
        return ChangedBuilds::Only(BTreeSet::new());
    }
    let ids: Result<BTreeSet<BuildId>, _> =
        text.split(',').map(|id| id.parse().map(BuildId)).collect();
    ids.map_or(ChangedBuilds::Any, ChangedBuilds::Only)
}

/// Reads a payload; `None` for this coordinator's own messages and for payloads that are no
/// message.
fn read(payload: &str, me: &str) -> Option<PeerMessage> {
    let mut words = payload.splitn(3, ' ');
    let from = words.next()?;
    let word = match (words.next()?, words.next()) {
        // Of a version before, which names no builds.
        ("facts", None) => PeerMessage::Facts(ChangedBuilds::Any),
        ("facts", Some(builds)) => PeerMessage::Facts(read_builds(builds)),
        ("poke", Some(worker)) => PeerMessage::WakeSession(worker.to_owned()),
        ("poke-all", None) => PeerMessage::WakeSessions,
        ("progress", None) => PeerMessage::Progress,
        _ => return None,
    };
    (from != me).then_some(word)
}

/// Sends messages as long as the coordinator runs.
pub async fn send_messages(peers: Peers, store: Store, mut words: PeerMessages) {
    while let Some(first) = words.next().await {
        tokio::time::sleep(GATHER).await;
        let batch = words.gather(first);
        // There is no other coordinator, or the message cannot be sent: it is dropped.
        if !peers.has_others(Instant::now()) {
            continue;
        }
        if peers.database_down().is_some() {
            words.lose();
            continue;
        }
        for word in batch {
            let text = payload(&word, peers.own_id());
            // The function returns void, a type that not every driver can decode, so a constant is
            // selected.
            let query = "SELECT 1 FROM pg_notify($1, $2)";
            let query = sqlx::query(query).bind(CHANNEL).bind(text);
            if let Err(error) = query.execute(store.read_pool()).await {
                tracing::debug!(%error, "the other coordinators were not notified");
                words.lose();
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
        self.bus.heard(&ChangedBuilds::Any);
        loop {
            let heard = listener.recv().await?;
            match read(heard.payload(), self.peers.own_id()) {
                Some(PeerMessage::Facts(changed)) => self.bus.heard(&changed),
                Some(PeerMessage::WakeSession(worker)) => {
                    self.fleet.wake_local_session(&worker);
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
            PeerMessage::Facts(ChangedBuilds::Any),
            PeerMessage::Facts(ChangedBuilds::Only(BTreeSet::new())),
            PeerMessage::Facts(ChangedBuilds::Only([BuildId(7), BuildId(12)].into())),
            PeerMessage::WakeSession("w 1".into()),
            PeerMessage::WakeSessions,
            PeerMessage::Progress,
        ];
        for word in words {
            let payload = payload(&word, "a");
            assert_eq!(read(&payload, "b"), Some(word));
            assert_eq!(read(&payload, "a"), None);
        }
        for nonsense in ["", "a", "a b", "a poke", "a progress now"] {
            assert_eq!(read(nonsense, "b"), None, "{nonsense}");
        }
        for unknown in ["a facts", "a facts now", "a facts 1,x"] {
            assert_eq!(read(unknown, "b"), Some(PeerMessage::Facts(ChangedBuilds::Any)));
        }
    }

    #[test]
    fn a_word_on_many_builds_fits_into_a_payload() {
        for count in [300, 301, 5000] {
            let builds = (0..count).map(|id| BuildId(i64::MAX - id)).collect();
            let word = PeerMessage::Facts(ChangedBuilds::Only(builds));
            assert!(payload(&word, &"i".repeat(64)).len() < 8000, "{count}");
        }
    }
}
