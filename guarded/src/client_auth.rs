//! Which users may connect: by the peer's user id, which the kernel reports for the socket.

use std::collections::BTreeSet;
use std::io;

use tokio::net::{UnixListener, UnixStream};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;

/// The allowed user ids.
#[derive(Debug, Clone)]
pub struct AllowedUsers(BTreeSet<u32>);

impl AllowedUsers {
    /// Root, the user of this process, and these.
    #[must_use]
    pub fn with(uids: &[u32]) -> Self {
        let own = nix::unistd::geteuid().as_raw();
        Self(uids.iter().copied().chain([0, own]).collect())
    }

    /// Whether this user is allowed.
    #[must_use]
    pub fn contains(&self, uid: u32) -> bool {
        self.0.contains(&uid)
    }

    fn admits(&self, stream: &UnixStream) -> bool {
        match stream.peer_cred() {
            Ok(peer) if self.contains(peer.uid()) => true,
            Ok(peer) => {
                tracing::warn!(
                    uid = peer.uid(),
                    pid = peer.pid(),
                    "connection refused: this user may not use the socket"
                );
                false
            }
            Err(error) => {
                tracing::warn!(%error, "connection refused: the kernel does not report its user");
                false
            }
        }
    }
}

/// The connections of allowed users; others are closed at once.
pub fn admitted(
    listener: UnixListener,
    allowed: AllowedUsers,
) -> impl tokio_stream::Stream<Item = io::Result<UnixStream>> {
    UnixListenerStream::new(listener)
        .filter(move |stream| stream.as_ref().map_or(true, |stream| allowed.admits(stream)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_own_user_and_the_listed_may_ask() {
        let own = nix::unistd::geteuid().as_raw();
        let allowed = AllowedUsers::with(&[990]);
        assert!(allowed.contains(0) && allowed.contains(own) && allowed.contains(990));
        assert!(!allowed.contains(991));
    }
}
