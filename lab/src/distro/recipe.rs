//! The recipe: which Debian packages become the distribution, and how they are changed.
//!
//! Owns the parsing of `recipe/recipe.toml`. Must not know how anything is fetched or built.

use std::collections::BTreeMap;

use rpmfarm_core::Arch;
use serde::Deserialize;

/// The text of the recipe; part of the key under which finished work is cached.
pub const TEXT: &str = include_str!("../../recipe/recipe.toml");

/// The text of the additions for real packages.
const MORE: &str = include_str!("../../recipe/real.toml");

/// Which recipe: the lab's own, or one with more packages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Size {
    /// The packages that the lab's packages need.
    #[default]
    Lab,
    /// Also the packages that real packages of other distributions need (`rpmfarm-lab real`).
    Real,
}

impl Size {
    /// Its texts; part of the key under which finished work is cached.
    #[must_use]
    pub const fn texts(self) -> &'static [&'static str] {
        match self {
            Self::Lab => &[TEXT],
            Self::Real => &[TEXT, MORE],
        }
    }
}

/// The additions of a larger recipe.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeAdditions {
    roots: Vec<String>,
    drop: Vec<String>,
    el_names: BTreeMap<String, String>,
    packages: BTreeMap<String, Changes>,
    macros: BTreeMap<String, String>,
}

/// Macros for the targets of real packages: what specs expect, fitted to where Debian's tools have
/// things.
///
/// # Errors
/// When the recipe is broken, which a test rules out.
pub fn real_macros() -> Result<BTreeMap<String, String>, toml::de::Error> {
    Ok(toml::from_str::<RecipeAdditions>(MORE)?.macros)
}

/// The content of the distribution.
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
    /// The changes of single packages, by Debian name.
    pub packages: BTreeMap<String, Changes>,
}

/// The changes of one package. Paths are relative to the root and may hold `{triplet}`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// Files and trees taken out.
    pub remove: Vec<String>,
    /// Symbolic links made: path, target.
    pub links: BTreeMap<String, String>,
    /// Files written: path, content.
    pub write: BTreeMap<String, String>,
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
    /// The text to replace.
    pub find: String,
    /// The text that replaces it, everywhere.
    pub replace: String,
}

impl Recipe {
    /// The packages whose closure is converted for an architecture.
    #[must_use]
    pub fn roots_for(&self, arch: Arch) -> &[String] {
        if arch == Arch::X86_64 { &self.roots } else { &self.small_roots }
    }

    /// Reads a recipe that is compiled in.
    ///
    /// # Errors
    /// When it is not one, which a test rules out.
    pub fn load(size: Size) -> Result<Self, toml::de::Error> {
        let mut recipe: Self = toml::from_str(TEXT)?;
        if size == Size::Real {
            let more: RecipeAdditions = toml::from_str(MORE)?;
            recipe.roots.extend(more.roots);
            recipe.drop.extend(more.drop);
            recipe.el_names.extend(more.el_names);
            recipe.packages.extend(more.packages);
        }
        Ok(recipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_sound() {
        for size in [Size::Lab, Size::Real] {
            let recipe = Recipe::load(size).unwrap();
            for name in recipe.drop {
                assert!(!recipe.roots.contains(&name), "{name} is a root and dropped");
                assert!(!recipe.small_roots.contains(&name), "{name} is a root and dropped");
                assert!(!recipe.packages.contains_key(&name), "{name} is changed and dropped");
            }
            assert!(recipe.prune.iter().all(|path| !path.starts_with('/')));
        }
    }

    #[test]
    fn the_larger_recipe_takes_nothing_away() {
        let (lab, real) = (Recipe::load(Size::Lab).unwrap(), Recipe::load(Size::Real).unwrap());
        assert!(lab.roots.iter().all(|root| real.roots.contains(root)));
        for (el, debian) in &lab.el_names {
            assert_eq!(real.el_names.get(el), Some(debian), "{el}");
        }
        assert!(real.roots.len() > lab.roots.len() && !real_macros().unwrap().is_empty());
    }
}
