//! The folders that become repositories: specs and lists as in git, and the settings in a
//! `lab.toml` beside them. Pure; all of it is compiled in.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// Every file of `lab/distgit`, by its path below it.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/distgit.rs"));

/// The file of a folder that does not go into git.
const SETTINGS: &str = "lab.toml";

/// The prefix of files for a second repository, with the package's modifications.
const MODIFICATIONS: &str = "autopatch/";

/// One package of the lab's dist-git.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) name: &'static str,
    /// Files of the repository, by path.
    pub(super) files: BTreeMap<&'static str, &'static [u8]>,
    /// Files of the modifications, by path.
    pub(super) modifications: BTreeMap<&'static str, &'static [u8]>,
    pub(super) settings: Settings,
}

/// Settings that the files themselves do not contain.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// Look-aside files that come from Debian's pool.
    pub(super) pool: Vec<Pool>,
    /// Look-aside files that do not match their digest.
    pub(super) planted: Vec<PlantedFile>,
    /// Symbolic links of the repository: path, target.
    pub(super) symlinks: BTreeMap<String, String>,
}

/// A tarball of Debian's pool, byte for byte the upstream's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pool {
    /// Its name in the list of sources.
    pub(super) file: String,
    pub(super) source: String,
    /// Its name in the pool.
    pub(super) name: String,
}

/// Content of the look-aside cache in place of the expected one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlantedFile {
    /// Its name in the list of sources.
    pub(super) file: String,
    pub(super) text: String,
}

/// Every folder, by name.
pub(super) fn all() -> Result<Vec<Folder>, toml::de::Error> {
    let names: BTreeSet<&str> =
        FILES.iter().filter_map(|(path, _)| path.split_once('/')).map(|(name, _)| name).collect();
    names.into_iter().map(folder).collect()
}

fn folder(name: &'static str) -> Result<Folder, toml::de::Error> {
    let mut files: BTreeMap<&'static str, &'static [u8]> = FILES
        .iter()
        .filter_map(|(path, content)| {
            let (folder, path) = path.split_once('/')?;
            (folder == name).then_some((path, *content))
        })
        .collect();
    let settings = files.remove(SETTINGS).unwrap_or_default();
    let modifications = files
        .iter()
        .filter_map(|(path, content)| Some((path.strip_prefix(MODIFICATIONS)?, *content)))
        .collect();
    files.retain(|path, _| !path.starts_with(MODIFICATIONS));
    Ok(Folder { name, files, modifications, settings: toml::from_slice(settings)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read() {
        let folders = all().unwrap();
        let hello = folders.iter().find(|folder| folder.name == "hello").unwrap();
        assert!(hello.files.contains_key("hello.spec"));
        assert!(!hello.files.contains_key(SETTINGS));
        assert_eq!(hello.settings.pool[0].source, "hello");
    }
}
