//! The recipe: which Debian packages become the distribution, and what is changed on the way.
//!
//! Owns the reading of `recipe/recipe.toml`. Must not know how anything is fetched or built.

use std::collections::BTreeMap;

use rpmfarm_core::Arch;
use serde::Deserialize;

/// The text of the recipe; part of the key under which finished work is cached.
pub const TEXT: &str = include_str!("../../recipe/recipe.toml");

/// What becomes the distribution.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Debian packages whose closure is converted for x86_64.
    pub roots: Vec<String>,
    /// Those for the other architectures, of which the lab needs less.
    pub small_roots: Vec<String>,
    /// Debian packages that are neither converted nor required.
    pub drop: Vec<String>,
    /// Paths, relative to the root, that are left out of every package.
    pub prune: Vec<String>,
    /// Names that EL specs ask for, and the Debian package that provides them.
    pub el_names: BTreeMap<String, String>,
    /// What is changed in single packages, by Debian name.
    pub packages: BTreeMap<String, Changes>,
}

/// What is changed in one package. Paths are relative to the root and may hold `{triplet}`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// Files and trees taken out.
    pub remove: Vec<String>,
    /// Symbolic links made: path, target.
    pub links: BTreeMap<String, String>,
    /// Files written: path, content.
    pub write: BTreeMap<String, String>,
    /// Directories made.
    pub directories: Vec<String>,
    /// Text replaced in files; a text that is not found is an error.
    pub replace: Vec<Replace>,
    /// Requires beside those of Debian.
    pub requires: Vec<String>,
    /// Requires of Debian that are left out.
    pub unrequire: Vec<String>,
    /// Provides beside those of Debian.
    pub provides: Vec<String>,
    /// Whether this package's scriptlets call ldconfig for the whole root.
    pub ldconfig: bool,
}

/// A replacement in a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// The file, relative to the root.
    pub file: String,
    /// Text that is there.
    pub find: String,
    /// Text that takes its place, everywhere.
    pub replace: String,
}

impl Recipe {
    /// The packages whose closure is converted for an architecture.
    #[must_use]
    pub fn roots_for(&self, arch: Arch) -> &[String] {
        if arch == Arch::X86_64 { &self.roots } else { &self.small_roots }
    }

    /// Reads the recipe that is compiled in.
    ///
    /// # Errors
    /// When it is not one, which a test rules out.
    pub fn load() -> Result<Self, toml::de::Error> {
        toml::from_str(TEXT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipe_is_sound() {
        let recipe = Recipe::load().unwrap();
        for name in recipe.drop {
            assert!(!recipe.roots.contains(&name), "{name} is a root and dropped");
            assert!(!recipe.small_roots.contains(&name), "{name} is a root and dropped");
            assert!(!recipe.packages.contains_key(&name), "{name} is changed and dropped");
        }
        assert!(recipe.prune.iter().all(|path| !path.starts_with('/')));
    }
}
