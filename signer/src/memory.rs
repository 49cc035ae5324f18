//! The signer's memory, as far as it decides what may be signed: which package a target has under a
//! NEVRA, and the last `repomd.xml` of each repository. Decides; writes nothing.
//!
//! At the start the journal is compared with the log, and missing facts are added from it. A
//! request is remembered before it is signed, so that of two requests for one revision only one is
//! signed.

use std::collections::{BTreeMap, HashMap};

use rpmfarm_core::Sha256;
use rpmfarm_core::signing::{RepositoryId, SignedPage, StaleRevisionError, may_follow};

use crate::event::Fact;

/// Why a request is refused because of earlier signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedBeforeError {
    /// The target has another package with that NEVRA.
    #[error(
        "{target} has another package {nevra}: header {signed} was signed already, not {asked}; if \
         the first was taken back on purpose, an operator runs `rpmfarm-signer package forget`"
    )]
    Package {
        /// Name of the target.
        target: String,
        nevra: String,
        /// Digest of the header that was signed before.
        signed: Sha256,
        /// Digest of the header in the request.
        asked: Sha256,
    },
    /// The revision does not follow the last one.
    #[error(
        "repomd.xml of {place}: {source}; if the channel was set back on purpose, an operator runs \
         `rpmfarm-signer revision reset`"
    )]
    Revision { place: Box<RepositoryId>, source: StaleRevisionError },
    /// An operator has reset the channel to a revision, and this is not above it.
    #[error(
        "repomd.xml of {place}: revision {asked} is not above {floor}, which the channel was reset to"
    )]
    Floor {
        place: Box<RepositoryId>,
        /// The revision of the request.
        asked: u64,
        /// The revision of the reset.
        floor: u64,
    },
    /// The same `repomd.xml` was signed for another repository.
    #[error("repomd.xml of {place}: this very page was signed as revision {revision} of {signed}")]
    Elsewhere {
        /// The repository of the request.
        place: Box<RepositoryId>,
        /// The repository for which it was signed.
        signed: Box<RepositoryId>,
        revision: u64,
    },
}

/// The signer's memory. A request is remembered at once: of two concurrent requests for different
/// content only one succeeds.
#[derive(Debug, Default)]
pub struct SigningMemory {
    packages: BTreeMap<String, HashMap<String, Sha256>>,
    newest: BTreeMap<RepositoryId, SignedPage>,
    /// Every `repomd.xml` that a key has signed, with its first repository and revision.
    pages: HashMap<(String, Sha256), (RepositoryId, u64)>,
    floors: BTreeMap<(String, String), u64>,
}

impl SigningMemory {
    /// Applies a fact. Revisions may arrive in another order than they were requested in: for each
    /// repository the highest counts.
    pub fn apply(&mut self, fact: &Fact) {
        match fact.clone() {
            Fact::Package { target, nevra, header } => {
                self.packages.entry(target).or_default().insert(nevra, header);
            }
            Fact::Page { key, place, revision, digest } => {
                let first = (place.clone(), revision);
                self.pages.entry((key, digest)).or_insert(first);
                self.raise(place, SignedPage { revision, digest });
            }
            Fact::Newest { place, revision, digest } => {
                self.raise(place, SignedPage { revision, digest });
            }
            Fact::Floor { target, channel, to } => {
                let of_it =
                    |place: &RepositoryId| place.target == target && place.channel == channel;
                self.newest.retain(|place, _| !of_it(place));
                self.floors.insert((target, channel), to);
            }
            Fact::Forgotten { target, nevra } => {
                self.packages.entry(target).or_default().remove(&nevra);
            }
        }
    }

    fn raise(&mut self, place: RepositoryId, page: SignedPage) {
        if may_follow(self.newest.get(&place), &page).is_ok() {
            self.newest.insert(place, page);
        }
    }

    /// Records a package that is to be signed.
    ///
    /// # Errors
    /// When the target has another one with that NEVRA.
    pub fn take_package(
        &mut self,
        target: &str,
        nevra: &str,
        asked: Sha256,
    ) -> Result<(), SignedBeforeError> {
        if let Some(signed) = self.package(target, nevra).filter(|signed| *signed != asked) {
            let (target, nevra) = (target.to_owned(), nevra.to_owned());
            return Err(SignedBeforeError::Package { target, nevra, signed, asked });
        }
        let (target, nevra) = (target.to_owned(), nevra.to_owned());
        self.apply(&Fact::Package { target, nevra, header: asked });
        Ok(())
    }

    /// Records a `repomd.xml` that is to be signed.
    ///
    /// # Errors
    /// When its revision is lower than the last one of its repository, or it was signed for another
    /// repository.
    pub fn take_page(
        &mut self,
        key: &str,
        place: &RepositoryId,
        asked: SignedPage,
    ) -> Result<(), SignedBeforeError> {
        // A repeated request changes nothing.
        if self.newest.get(place) != Some(&asked) {
            self.check_page(key, place, &asked)?;
        }
        let (key, place) = (key.to_owned(), place.clone());
        let SignedPage { revision, digest } = asked;
        self.apply(&Fact::Page { key, place, revision, digest });
        Ok(())
    }

    fn check_page(
        &self,
        key: &str,
        place: &RepositoryId,
        asked: &SignedPage,
    ) -> Result<(), SignedBeforeError> {
        let boxed = || Box::new(place.clone());
        let last = self.newest.get(place);
        may_follow(last, asked)
            .map_err(|source| SignedBeforeError::Revision { place: boxed(), source })?;
        let floor = self.floors.get(&(place.target.clone(), place.channel.clone()));
        if let Some(floor) = floor.copied().filter(|floor| asked.revision <= *floor) {
            return Err(SignedBeforeError::Floor { place: boxed(), asked: asked.revision, floor });
        }
        if let Some((signed, revision)) = self.pages.get(&(key.to_owned(), asked.digest))
            && !self.is_same_state(signed, place, *revision)
        {
            let (signed, revision) = (Box::new(signed.clone()), *revision);
            return Err(SignedBeforeError::Elsewhere { place: boxed(), signed, revision });
        }
        Ok(())
    }

    /// Whether a `repomd.xml` that was signed for one repository may be signed for another: empty
    /// repositories of a channel have the same `repomd.xml`, as long as it is the newest.
    fn is_same_state(&self, signed: &RepositoryId, asked: &RepositoryId, revision: u64) -> bool {
        signed == asked
            || signed.shares_channel(asked)
                && self.newest.get(signed).is_some_and(|newest| newest.revision == revision)
    }

    /// The header that a target has under a NEVRA.
    #[must_use]
    pub fn package(&self, target: &str, nevra: &str) -> Option<Sha256> {
        self.packages.get(target)?.get(nevra).copied()
    }

    /// The last `repomd.xml` of each repository.
    pub fn newest(&self) -> impl Iterator<Item = (&RepositoryId, &SignedPage)> {
        self.newest.iter()
    }

    /// The revisions that operators have reset channels to: target, channel, revision.
    pub fn floors(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.floors.iter().map(|((target, channel), to)| (target.as_str(), channel.as_str(), *to))
    }

    /// The highest revision of a channel; 0 when there is none.
    #[must_use]
    pub fn revision(&self, target: &str, channel: &str) -> u64 {
        let of_it = |place: &RepositoryId| place.target == target && place.channel == channel;
        let pages = self.newest.iter().filter(|(place, _)| of_it(place));
        let floor = self.floors.get(&(target.to_owned(), channel.to_owned())).copied();
        pages.map(|(_, page)| page.revision).chain(floor).max().unwrap_or(0)
    }

    /// Facts that make the same memory.
    pub fn facts(&self) -> impl Iterator<Item = Fact> {
        let packages = self.packages.iter().flat_map(|(target, packages)| {
            packages.iter().map(|(nevra, header)| {
                let (target, nevra) = (target.clone(), nevra.clone());
                Fact::Package { target, nevra, header: *header }
            })
        });
        let pages = self.pages.iter().map(|((key, digest), (place, revision))| {
            let (key, place) = (key.clone(), place.clone());
            Fact::Page { key, place, revision: *revision, digest: *digest }
        });
        let floors = self.floors().map(|(target, channel, to)| {
            let (target, channel) = (target.to_owned(), channel.to_owned());
            Fact::Floor { target, channel, to }
        });
        // A floor removes the newest one, so the newest ones follow after the floors. Empty
        // repositories share a `repomd.xml`.
        let newest = self.newest.iter().map(|(place, page)| {
            let SignedPage { revision, digest } = *page;
            Fact::Newest { place: place.clone(), revision, digest }
        });
        packages.chain(pages).chain(floors).chain(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(revision: u64, text: &str) -> SignedPage {
        SignedPage { revision, digest: Sha256::compute(text.as_bytes()) }
    }

    fn place(channel: &str, path: &str) -> RepositoryId {
        RepositoryId::new("lab", channel, path).unwrap()
    }

    /// The state after writing all and reading it again.
    fn again(memory: &SigningMemory) -> SigningMemory {
        let mut read = SigningMemory::default();
        for fact in memory.facts() {
            let text = serde_json::to_string(&fact).unwrap();
            read.apply(&serde_json::from_str(&text).unwrap());
        }
        read
    }

    #[test]
    fn one_header_for_each_nevra_of_a_target() {
        let mut memory = SigningMemory::default();
        let (one, other) = (Sha256::compute(b"1"), Sha256::compute(b"2"));
        memory.take_package("lab", "a-1-1.noarch", one).unwrap();
        for mut memory in [again(&memory), memory] {
            memory.take_package("lab", "a-1-1.noarch", one).unwrap();
            memory.take_package("prod", "a-1-1.noarch", other).unwrap();
            let error = memory.take_package("lab", "a-1-1.noarch", other).unwrap_err().to_string();
            assert!(error.contains("lab has another package a-1-1.noarch"), "{error}");
            let (target, nevra) = ("lab".to_owned(), "a-1-1.noarch".to_owned());
            memory.apply(&Fact::Forgotten { target, nevra });
            memory.take_package("lab", "a-1-1.noarch", other).unwrap();
        }
    }

    #[test]
    fn revisions_rise() {
        let mut memory = SigningMemory::default();
        let os = place("testing", "x86_64/os");
        memory.take_page("k", &os, page(5, "five")).unwrap();
        memory.take_page("k", &os, page(7, "seven")).unwrap();
        for mut memory in [again(&memory), memory] {
            assert_eq!(memory.revision("lab", "testing"), 7);
            assert_eq!(memory.revision("lab", "stable"), 0);
            memory.take_page("k", &os, page(7, "seven")).unwrap();
            for stale in [page(7, "other"), page(5, "five"), page(6, "new")] {
                let error = memory.take_page("k", &os, stale).unwrap_err();
                assert!(matches!(error, SignedBeforeError::Revision { .. }), "{error}");
            }
            // Under another name it is what it was.
            for other in [place("stable", "x86_64/os"), place("testing", "aarch64/os")] {
                let error = memory.take_page("k", &other, page(5, "five")).unwrap_err();
                assert!(matches!(error, SignedBeforeError::Elsewhere { .. }), "{error}");
            }
            // Two empty repositories of one state have one page.
            let aarch64 = place("testing", "aarch64/os");
            memory.take_page("k", &aarch64, page(7, "seven")).unwrap();
            memory.take_page("k", &os, page(8, "eight")).unwrap();
            let mut memory = again(&memory);
            memory.take_page("k", &aarch64, page(7, "seven")).unwrap();
            assert!(memory.take_page("k", &aarch64, page(6, "six")).is_err());
            let late = memory.take_page("k", &place("testing", "ppc64le/os"), page(7, "seven"));
            assert!(matches!(late, Err(SignedBeforeError::Elsewhere { .. })), "{late:?}");
        }
    }

    #[test]
    fn an_operator_sets_a_channel_back() {
        let mut memory = SigningMemory::default();
        let (os, debug) = (place("testing", "x86_64/os"), place("testing", "x86_64/debug"));
        let stable = place("stable", "x86_64/os");
        memory.take_page("k", &os, page(9, "nine")).unwrap();
        memory.take_page("k", &stable, page(4, "four")).unwrap();
        let (target, channel) = ("lab".to_owned(), "testing".to_owned());
        memory.apply(&Fact::Floor { target, channel, to: 3 });
        for mut memory in [again(&memory), memory] {
            assert_eq!(memory.revision("lab", "testing"), 3);
            for place in [&os, &debug] {
                let error = memory.take_page("k", place, page(3, "three")).unwrap_err();
                assert!(matches!(error, SignedBeforeError::Floor { .. }), "{error}");
                memory.take_page("k", place, page(4, place.path.as_str())).unwrap();
            }
            assert!(memory.take_page("k", &stable, page(3, "x")).is_err(), "another channel");
            let read = again(&memory);
            assert_eq!(read.newest, memory.newest);
            assert_eq!(read.revision("lab", "testing"), 4);
        }
    }
}
