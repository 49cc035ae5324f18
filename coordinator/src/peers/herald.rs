//! Wakes the other coordinators, and is woken by them: PostgreSQL's NOTIFY and LISTEN.
//!
//! A word is only a wake-up. What gets lost is made up for by the passes' and sessions' own looks.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sqlx::postgres::PgListener;
use tokio::sync::mpsc;

use super::Peers;
use crate::farm::Farm;
use crate::store::Store;

/// The channel's name in the database.
const CHANNEL: &str = "rpmfarm";

/// Words are gathered for so long, so that a burst of commits is one of them.
const GATHER: Duration = Duration::from_millis(20);

/// Words that wait to be sent; more are dropped.
const WAITING: usize = 256;

/// The pause before the listener connects again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// Something was written.
    Facts,
    /// A worker's session shall look at what the worker should have.
    Poke(String),
    /// All sessions shall.
    PokeAll,
    /// A worker has reported.
    Progress,
}

impl Word {
    fn payload(&self, me: &str) -> String {
        match self {
            Self::Facts => format!("{me} facts"),
            Self::Poke(worker) => format!("{me} poke {worker}"),
            Self::PokeAll => format!("{me} poke-all"),
            Self::Progress => format!("{me} progress"),
        }
    }

    /// Reads what another coordinator sent; `None` for one's own words and for what is none.
    fn read(payload: &str, me: &str) -> Option<Self> {
        let mut words = payload.splitn(3, ' ');
        let from = words.next()?;
        let word = match (words.next()?, words.next()) {
            ("facts", None) => Self::Facts,
            ("poke", Some(worker)) => Self::Poke(worker.to_owned()),
            ("poke-all", None) => Self::PokeAll,
            ("progress", None) => Self::Progress,
            _ => return None,
        };
        (from != me).then_some(word)
    }
}

/// Where words are given. Cheap to clone; without a herald behind it they go nowhere.
#[derive(Debug, Clone, Default)]
pub struct Voice(Option<mpsc::Sender<Word>>);

impl Voice {
    /// A voice and the words that come of it.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Word>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(Some(sender)), receiver)
    }

    /// Says a word, if it can be said now.
    pub fn say(&self, word: Word) {
        if let Some(sender) = &self.0 {
            // A word that does not fit is one of many: the others' own looks come soon.
            let _ = sender.try_send(word);
        }
    }
}

/// Sends words for ever, while there is somebody to hear them.
pub async fn speak(peers: Peers, store: Store, mut words: mpsc::Receiver<Word>) {
    while let Some(first) = words.recv().await {
        let mut batch = BTreeSet::from([first]);
        tokio::time::sleep(GATHER).await;
        while let Ok(word) = words.try_recv() {
            batch.insert(word);
        }
        if !peers.has_others(Instant::now()) || peers.database_down().is_some() {
            continue;
        }
        for word in batch {
            let payload = word.payload(peers.me());
            // The function gives nothing, which is a type that is not portable.
            let query = "SELECT 1 FROM pg_notify($1, $2)";
            let sent = sqlx::query(query).bind(CHANNEL).bind(payload).execute(store.read()).await;
            if let Err(error) = sent {
                tracing::debug!(%error, "the other coordinators were not woken");
                break;
            }
        }
    }
}

/// Hears words for ever, and rings for each.
pub async fn listen(farm: Farm, url: String) {
    loop {
        if let Err(error) = hear(&farm, &url).await {
            tracing::debug!(%error, "nothing is heard from the other coordinators");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(farm: &Farm, url: &str) -> sqlx::Result<()> {
    let mut listener = PgListener::connect(url).await?;
    listener.listen(CHANNEL).await?;
    // Whatever was said before is made up for.
    farm.bus.ring();
    loop {
        let heard = listener.recv().await?;
        match Word::read(heard.payload(), farm.peers.me()) {
            Some(Word::Facts) => farm.bus.ring(),
            Some(Word::Poke(worker)) => drop(farm.fleet.poke_here(&worker)),
            Some(Word::PokeAll) => farm.fleet.poke_all_here(),
            Some(Word::Progress) => farm.progress.ring(),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_by_others_and_not_by_who_said_them() {
        let words = [Word::Facts, Word::Poke("w 1".into()), Word::PokeAll, Word::Progress];
        for word in words {
            let payload = word.payload("a");
            assert_eq!(Word::read(&payload, "b"), Some(word));
            assert_eq!(Word::read(&payload, "a"), None);
        }
        for nonsense in ["", "a", "a b", "a poke", "a facts now"] {
            assert_eq!(Word::read(nonsense, "b"), None, "{nonsense}");
        }
    }
}
