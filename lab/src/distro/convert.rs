//! From one Debian package to one RPM.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rpmfarm_core::Arch;

use super::control::{Control, Evr, Relation};
use super::recipe::{Changes, Recipe};
use super::spec::Spec;
use super::{DistroError, arch, build, provides, tree};
use crate::{parallel, tool};

/// A Debian package that is to be converted.
#[derive(Debug, Clone)]
pub(super) struct Deb {
    pub(super) path: PathBuf,
    pub(super) sha256: String,
    pub(super) control: Control,
}

impl Deb {
    pub(super) fn name(&self) -> &str {
        self.control.get("Package")
    }

    fn evr(&self) -> Evr {
        Evr::parse(self.control.get("Version"))
    }
}

/// Reads the control fields of downloaded packages; those that the recipe drops are left out.
pub(super) fn read(recipe: &Recipe, files: &[(PathBuf, String)]) -> Result<Vec<Deb>, DistroError> {
    let mut debs = parallel::map(files, |(path, sha256)| {
        let fields = tool::output(Command::new("dpkg-deb").arg("--field").arg(path))?;
        let control = Control::parse(&String::from_utf8_lossy(&fields));
        Ok::<_, DistroError>(Deb { path: path.clone(), sha256: sha256.clone(), control })
    })?;
    debs.retain(|deb| !recipe.drop.iter().any(|name| name == deb.name()));
    Ok(debs)
}

/// Facts of the whole set that the conversion of each package needs.
#[derive(Debug)]
pub(super) struct Converter<'a> {
    arch: Arch,
    recipe: &'a Recipe,
    /// Names of the set's packages.
    names: BTreeSet<String>,
    /// The same, and what they provide.
    available: BTreeSet<String>,
    /// Debian package → its names in EL.
    el_names: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Converter<'a> {
    pub(super) fn new(arch: Arch, recipe: &'a Recipe, debs: &[Deb]) -> Self {
        let names: BTreeSet<String> = debs.iter().map(|deb| deb.name().to_owned()).collect();
        let mut available = names.clone();
        for deb in debs {
            let provided = deb.control.relations("Provides").into_iter().flatten();
            available.extend(provided.map(|relation| relation.name));
        }
        let mut el_names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (el, debian) in &recipe.el_names {
            el_names.entry(debian).or_default().push(el);
        }
        Self { arch, recipe, names, available, el_names }
    }

    /// The spec of the package, except for what its files give.
    pub(super) fn spec(&self, deb: &Deb) -> Spec {
        let changes = self.changes(deb);
        let mut requires = self.requires(deb);
        let mut provides = self.provides(deb);
        if let Some(changes) = changes {
            requires.retain(|name| !changes.unrequire.contains(name));
            requires.extend(changes.requires.iter().cloned());
            provides.extend(changes.provides.iter().cloned());
        }
        requires.sort();
        requires.dedup();
        Spec {
            name: deb.name().to_owned(),
            evr: deb.control.get("Version").to_owned(),
            summary: deb.control.get("Description").lines().next().unwrap_or_default().to_owned(),
            url: deb.control.get("Homepage").to_owned(),
            noarch: deb.control.get("Architecture") == "all",
            requires,
            provides,
            ldconfig: changes.is_some_and(|changes| changes.ldconfig),
            files: Vec::new(),
        }
    }

    /// Makes the RPM below `work`, a directory of this conversion alone.
    pub(super) fn convert(&self, deb: &Deb, work: &Path) -> Result<PathBuf, DistroError> {
        let root = work.join("root");
        fs::create_dir_all(&root)?;
        tool::output(Command::new("dpkg-deb").arg("--extract").arg(&deb.path).arg(&root))?;
        let mut spec = self.spec(deb);
        tree::prune(&root, &self.recipe.prune)?;
        spec.provides.extend(tree::merge_usr(&root)?);
        if let Some(changes) = self.changes(deb) {
            tree::change(&root, changes, arch::triplet(self.arch))?;
        }
        spec.provides.extend(provides::of_files(&root)?);
        build::build(self.arch, spec, &root, work)
    }

    fn changes(&self, deb: &Deb) -> Option<&'a Changes> {
        self.recipe.packages.get(deb.name())
    }

    /// The first alternative of each relation that the set has.
    fn requires(&self, deb: &Deb) -> Vec<String> {
        let relations =
            ["Pre-Depends", "Depends"].into_iter().flat_map(|field| deb.control.relations(field));
        relations
            .filter_map(|alternatives| {
                alternatives.into_iter().find(|one| self.available.contains(&one.name))
            })
            .map(|relation| relation.name)
            .filter(|name| name != deb.name())
            .collect()
    }

    fn provides(&self, deb: &Deb) -> Vec<String> {
        let name = deb.name();
        let evr = deb.evr();
        let debian = deb.control.relations("Provides").into_iter().flatten();
        let mut found: Vec<String> = debian
            .map(|Relation { name, exact }| match exact {
                Some(exact) => format!("{name} = {exact}"),
                None => name,
            })
            .collect();
        // A name that the recipe gives to one package belongs to it alone: `python3-devel` is not
        // `libpython3-dev`, which lacks the interpreter.
        let given = |el: &String| {
            self.el_names.iter().any(|(deb, names)| *deb != name && names.contains(&el.as_str()))
        };
        let mut el: Vec<String> =
            devel_names(name).into_iter().filter(|name| !given(name)).collect();
        el.extend(self.el_names.get(name).into_iter().flatten().map(|name| (*name).to_owned()));
        // A package that provides the name of another one would be installed instead of it.
        el.retain(|name| !self.names.contains(name));
        el.sort();
        el.dedup();
        for name in el {
            found.push(format!("{name} = {evr}"));
            found.push(format!("{name}{} = {evr}", arch::isa(self.arch)));
        }
        found
    }
}

/// `libfoo-dev` is `libfoo-devel` and `foo-devel`.
fn devel_names(name: &str) -> Vec<String> {
    let Some(stem) = name.strip_suffix("-dev") else { return Vec::new() };
    let short = stem.strip_prefix("lib").filter(|short| !short.is_empty());
    [Some(stem), short].into_iter().flatten().map(|stem| format!("{stem}-devel")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deb(text: &str) -> Deb {
        Deb { path: PathBuf::new(), sha256: String::new(), control: Control::parse(text) }
    }

    #[test]
    fn relations_follow_the_set() {
        let recipe = Recipe::load(crate::distro::Size::Lab).unwrap();
        let debs = [
            deb(
                "Package: libpopt-dev\nVersion: 1.19-2\nDepends: gone | other:any, libpopt-dev, nowhere\n",
            ),
            deb("Package: other\nVersion: 1\nProvides: virtual (= 1:2-3)\n"),
        ];
        let converter = Converter::new(Arch::X86_64, &recipe, &debs);
        let spec = converter.spec(&debs[0]);
        assert_eq!(spec.requires, ["other"]);
        assert!(spec.provides.contains(&"popt-devel = 1.19-2".to_owned()), "{:?}", spec.provides);
        assert!(spec.provides.contains(&"popt-devel(x86-64) = 1.19-2".to_owned()));
        assert_eq!(converter.spec(&debs[1]).provides, ["virtual = 1:2-3"]);
    }
}
