//! The operator's switch: a file beside the keys. While it exists nothing is signed. It is read
//! before each signature, so it works whether or not a signer runs.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::event::Event;

const NAME: &str = "paused.json";

/// Why and since when nothing is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseState {
    /// Since when, as RFC 3339 in UTC.
    pub since: String,
    /// Why, in an operator's words.
    pub reason: String,
    /// User id of the operator.
    pub uid: u32,
}

impl std::fmt::Display for PauseState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "since {}: {}", self.since, rpmfarm_core::name::shown(&self.reason))
    }
}

/// The switch, and how it was when it was last read.
#[derive(Debug)]
pub struct PauseSwitch {
    path: PathBuf,
    seen: Mutex<Option<PauseState>>,
}

impl PauseSwitch {
    /// The switch in a directory.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { path: state.join(NAME), seen: Mutex::default() }
    }

    /// How it is. A file that cannot be read holds like one that can.
    #[must_use]
    pub fn read(&self) -> Option<PauseState> {
        let read = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        };
        Some(read.unwrap_or_else(|error| PauseState {
            since: "some time".to_owned(),
            reason: format!("{} cannot be read: {error}", self.path.display()),
            uid: 0,
        }))
    }

    /// The state, and the event to log if it has changed.
    #[must_use]
    pub fn reread(&self) -> (Option<PauseState>, Option<Event>) {
        let now = self.read();
        let mut seen = self.seen.lock();
        if *seen == now {
            return (now, None);
        }
        seen.clone_from(&now);
        let event = match &now {
            Some(PauseState { reason, uid, .. }) => {
                Event::Paused { reason: reason.clone(), uid: *uid }
            }
            None => Event::Resumed,
        };
        (now, Some(event))
    }

    pub fn pause(&self, paused: &PauseState) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(paused)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        self.sync()
    }

    /// Turns it back. Answers whether it was turned.
    pub fn resume(&self) -> io::Result<bool> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => {
                removed?;
                self.sync()?;
                Ok(true)
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_until_it_is_turned_back() {
        let dir = tempfile::tempdir().unwrap();
        let switch = PauseSwitch::new(dir.path());
        assert_eq!(switch.reread().0, None);
        let paused = PauseState { since: "t".into(), reason: "a key moves".into(), uid: 7 };
        switch.pause(&paused).unwrap();
        assert_eq!(PauseSwitch::new(dir.path()).read(), Some(paused.clone()));
        let (now, event) = switch.reread();
        assert_eq!(now, Some(paused));
        assert!(matches!(event, Some(Event::Paused { uid: 7, .. })), "{event:?}");
        assert!(switch.reread().1.is_none(), "once");
        fs::write(dir.path().join(NAME), "{").unwrap();
        assert!(switch.read().unwrap().to_string().contains("cannot be read"));
        assert!(switch.resume().unwrap() && !switch.resume().unwrap());
        assert!(matches!(switch.reread(), (None, Some(Event::Resumed))));
    }
}
