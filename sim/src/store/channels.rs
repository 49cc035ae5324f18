//! Channels: their revisions, and which builds they hold.

use rpmfarm_core::BuildId;

use super::{Publication, Revision, Store};
use crate::planted::PlantedBug;

impl Store {
    /// The newest revision of one channel.
    #[must_use]
    pub fn channel_fetch(&self, target: &str, channel: &str) -> Option<&Revision> {
        let key = |revision| (target.to_owned(), channel.to_owned(), revision);
        self.revisions.range(key(i64::MIN)..=key(i64::MAX)).next_back().map(|(_, row)| row)
    }

    /// Records a revision that is visible, and the builds that it holds; these end with it. The
    /// newest revision may be recorded again, for builds that brought nothing new. False when the
    /// channel is beyond that revision, or one of the builds has ended otherwise: then nothing
    /// changed.
    pub fn revision_insert(&mut self, revision: &Revision, builds: &[BuildId]) -> bool {
        let Revision { target, channel, .. } = revision;
        let newest = self.channel_fetch(target, channel).map_or(0, |row| row.revision);
        if newest > revision.revision && !self.planted(PlantedBug::RevisionBack) {
            return false;
        }
        let excused = |build: &BuildId| match self.publication_fetch(*build) {
            Some(_) => self.planted(PlantedBug::RevisionBack),
            None => self.planted(PlantedBug::PublishCancelled),
        };
        if builds.iter().any(|build| !self.build_is_open(*build) && !excused(build)) {
            return false;
        }
        let key = (target.clone(), channel.clone(), revision.revision);
        self.revisions.entry(key).or_insert_with(|| revision.clone());
        for build in builds {
            self.build_close(*build);
            let publication = Publication {
                build: build.0,
                channel: channel.clone(),
                revision: revision.revision,
                at_us: revision.at_us,
            };
            self.publications.entry((build.0, channel.clone())).or_insert(publication);
        }
        self.version += 1;
        true
    }

    /// Where a build was published first.
    #[must_use]
    pub fn publication_fetch(&self, build: BuildId) -> Option<&Publication> {
        let of = self.publications.iter().filter(|((id, _), _)| *id == build.0);
        of.map(|(_, row)| row).min_by_key(|row| row.at_us)
    }
}
