//! The published tree as a client finds it on the disk. Everything here is read from files that the
//! coordinator's own publisher wrote.

use std::fs;
use std::path::{Path, PathBuf};

use rpmfarm_core::{Nevra, Sha256};

use crate::scenario::{CHANNEL, TARGET};

/// How many generations stay readable, as the publisher promises it.
pub(crate) const KEEP: usize = 5;

/// The one channel.
#[derive(Debug, Clone)]
pub(crate) struct PublishedTree {
    channel: PathBuf,
}

impl PublishedTree {
    pub(crate) fn new(repos: &Path) -> Self {
        Self { channel: repos.join(TARGET).join(CHANNEL) }
    }

    /// The generation that clients see.
    pub(crate) fn shown_generation(&self) -> Option<u64> {
        let to = fs::read_link(self.channel.join("current")).ok()?;
        to.file_name()?.to_str()?.parse().ok()
    }

    fn generation(&self, number: u64) -> PathBuf {
        self.channel.join(".generations").join(number.to_string())
    }

    /// Whether a generation exists at its path.
    pub(crate) fn has_generation(&self, number: u64) -> bool {
        self.generation(number).is_dir()
    }

    /// The packages of a generation, with the digests of their files; `None` when the list is
    /// incomplete.
    pub(crate) fn packages(&self, number: u64) -> Option<Vec<(Nevra, Sha256)>> {
        let text = fs::read_to_string(self.generation(number).join("packages")).ok()?;
        let package = |line: &str| {
            let mut words = line.split(' ');
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        };
        text.lines().map(package).collect()
    }

    /// Damage of the generation that clients see, if any.
    pub(crate) fn find_damage(&self) -> Option<String> {
        let number = self.shown_generation()?;
        let place = self.generation(number);
        if self.packages(number).is_none() {
            return Some(format!("generation {number} is shown and does not lie in its place"));
        }
        let arches = names(&place).into_iter().filter(|name| place.join(name).is_dir());
        for arch in arches {
            for kind in ["os", "debug", "source"] {
                let repodata = place.join(&arch).join(kind).join("repodata");
                for page in ["repomd.xml", "repomd.xml.asc"] {
                    if fs::metadata(repodata.join(page)).map_or(0, |file| file.len()) == 0 {
                        return Some(format!("generation {number} has no {arch}/{kind}/{page}"));
                    }
                }
            }
        }
        None
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}
