//! A reader of the coordinator goes forward: no two of its folders need each other, be it through
//! others, and no two of its files do. A folder's `mod.rs` counts like any file: it may use its own
//! files or be used by them, but not both in a circle. Read from the paths in the sources.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rpmfarm_coordinator::peers::STAGES;

/// A module, as the parts of its path below the crate.
type Module = Vec<String>;

/// The other modules that each module names.
type Needs = BTreeMap<Module, BTreeSet<Module>>;

/// All modules of the coordinator, with their text.
fn sources() -> BTreeMap<Module, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut all, mut dirs) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let below = path.strip_prefix(&root).unwrap().with_extension("");
            let mut module: Module =
                below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            // The crate's list of modules, the program and tests need everything.
            if module != ["lib"] && module != ["main"] && module.last().unwrap() != "tests" {
                all.insert(module, code(&std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(all.len() > 100, "these are not the coordinator's sources");
    all
}

/// A file's text without comments and without its tests, which may use anything.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// How a text names a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// In `use`.
    Used,
    /// In `pub use`: nothing of it is needed here.
    Reexported,
    /// In an expression or a type.
    Inline,
}

/// The paths that a text names: those of `use`, and others from `crate`, `super`, `self` or a
/// module of its own.
fn paths(text: &str, own: &[&str]) -> Vec<(How, Vec<String>)> {
    let (mut all, mut rest) = (Vec::new(), String::new());
    for statement in text.split_inclusive(';') {
        let used = statement.trim_end_matches(';').rsplit_once("use ").filter(|(before, tree)| {
            let before = before.trim_end_matches(' ');
            let is_first = before.is_empty() || before.ends_with(['\n', ')']);
            (is_first || before.ends_with("pub")) && !tree.contains(['(', '=', '"'])
        });
        match used {
            Some((before, tree)) => {
                rest += before;
                let is_shown = before.trim_end_matches(' ').ends_with(['b', ')']);
                let how = if is_shown { How::Reexported } else { How::Used };
                all.extend(expanded(tree).into_iter().map(|path| (how, path)));
            }
            None => rest += statement,
        }
    }
    for start in ["crate", "super", "self"].iter().chain(own) {
        for (at, _) in rest.match_indices(&format!("{start}::")) {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            // `pub(in crate::folder)` says who may see an item, which is not a need.
            if rest[..at].ends_with(|c: char| is_word(c) || c == ':')
                || rest[..at].ends_with("(in ")
            {
                continue;
            }
            let end = rest[at..].find(|c: char| !is_word(c) && c != ':').unwrap_or(0);
            let path = rest[at..at + end].split("::").map(str::to_owned).collect();
            all.push((How::Inline, path));
        }
    }
    all
}

/// The paths of a tree of `use`. A renamed item keeps its new name, after the old one.
fn expanded(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((before, inside)) = tree.split_once('{') else {
        let path = tree.split("::").flat_map(|part| part.split(" as "));
        return vec![path.map(|part| part.trim().to_owned()).collect()];
    };
    let Some((inside, _)) = inside.rsplit_once('}') else { return Vec::new() };
    let before: Vec<String> = before
        .split("::")
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect();
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in inside.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(c);
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    let whole = |rest: Vec<String>| before.iter().cloned().chain(rest).collect();
    parts.flat_map(|part| expanded(part)).map(whole).collect()
}

/// The names of a folder's own files and folders.
fn children<'a>(sources: &'a BTreeMap<Module, String>, of: &Module) -> Vec<&'a str> {
    let is_child = |module: &&Module| module.len() == of.len() + 1 && module.starts_with(of);
    let children = sources.keys().filter(is_child);
    children.filter_map(|module| module.last()).map(String::as_str).collect()
}

/// The names in modules, and the items that they re-export from their own files.
struct Names {
    paths: BTreeMap<Module, Vec<Vec<String>>>,
    facades: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Names {
    fn new(sources: &BTreeMap<Module, String>) -> Self {
        let (mut all, mut facades) = (BTreeMap::new(), BTreeMap::new());
        for (module, text) in sources {
            let (mut named, mut facade) = (Vec::new(), BTreeMap::new());
            for (how, path) in paths(text, &children(sources, module)) {
                let own = path.strip_prefix(&["self".to_owned()][..]).unwrap_or(&path);
                let child: Module = module.iter().chain(own.first()).cloned().collect();
                if own.len() < 2 || !sources.contains_key(&child) {
                    named.push(path);
                    continue;
                }
                if how != How::Inline {
                    facade.insert(own[own.len() - 1].clone(), child);
                }
                if how != How::Reexported {
                    named.push(["self".to_owned()].iter().chain(own).cloned().collect());
                }
            }
            all.insert(module.clone(), named);
            facades.insert(module.clone(), facade);
        }
        Self { paths: all, facades }
    }

    /// The module of the coordinator that a path leads to; `None` for paths into other crates.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut path = path.iter();
        let mut at: Module = match path.next()?.as_str() {
            "crate" => Vec::new(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            _ => return None,
        };
        for part in path {
            if part == "super" {
                at.pop();
                continue;
            }
            let below: Module = at.iter().chain([part]).cloned().collect();
            let facade = self.facades.get(&at).and_then(|facade| facade.get(part));
            match facade {
                _ if self.paths.contains_key(&below) => at = below,
                Some(module) => at.clone_from(module),
                None => break,
            }
        }
        (!at.is_empty()).then_some(at)
    }

    fn needs(&self) -> Needs {
        let of = |(module, paths): (&Module, &Vec<Vec<String>>)| {
            let found = paths.iter().filter_map(|path| self.resolve(module, path));
            (module.clone(), found.filter(|found| found != module).collect())
        };
        self.paths.iter().map(of).collect()
    }
}

fn needs() -> Needs {
    Names::new(&sources()).needs()
}

/// A circle, from a module back to itself.
fn circle(needs: &Needs) -> Option<Vec<Module>> {
    fn walk(
        needs: &Needs,
        way: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
    ) -> Option<Vec<Module>> {
        let at = way.last()?.clone();
        for next in needs.get(&at).into_iter().flatten() {
            if let Some(start) = way.iter().position(|module| module == next) {
                let mut circle = way[start..].to_vec();
                circle.push(next.clone());
                return Some(circle);
            }
            if !done.contains(next) {
                way.push(next.clone());
                if let Some(circle) = walk(needs, way, done) {
                    return Some(circle);
                }
                way.pop();
            }
        }
        done.insert(at);
        None
    }
    let mut done = BTreeSet::new();
    needs.keys().find_map(|module| walk(needs, &mut vec![module.clone()], &mut done))
}

fn shown(circle: &[Module]) -> String {
    let names: Vec<String> = circle.iter().map(|module| module.join("/")).collect();
    names.join(" → ")
}

#[test]
fn no_folder_needs_another_that_needs_it() {
    let (mut folders, mut files) = (Needs::new(), BTreeMap::new());
    for (module, needed) in needs() {
        for other in needed.into_iter().filter(|other| other[0] != module[0]) {
            let (from, to) = (vec![module[0].clone()], vec![other[0].clone()]);
            files.insert(
                (from.clone(), to.clone()),
                format!("{} → {}", module.join("/"), other.join("/")),
            );
            folders.entry(from).or_default().insert(to);
        }
    }
    if let Some(circle) = circle(&folders) {
        let steps = circle.windows(2).map(|pair| &files[&(pair[0].clone(), pair[1].clone())]);
        let steps: Vec<&str> = steps.map(String::as_str).collect();
        panic!("{}: move what they share ({})", shown(&circle), steps.join(", "));
    }
}

#[test]
fn no_file_needs_another_that_needs_it() {
    if let Some(circle) = circle(&needs()) {
        panic!("{}: join them, or move what they share", shown(&circle));
    }
}

#[test]
fn only_what_starts_a_coordinator_knows_all_its_parts() {
    let all = needs();
    let knows = all.iter().filter(|(_, needed)| needed.contains(&vec!["parts".to_owned()]));
    let knows: Vec<&str> = knows.map(|(module, _)| module[0].as_str()).collect();
    assert_eq!(knows, ["server", "start"]);
}

/// The writes of a stage go through the fenced store that its pass gets.
#[test]
fn no_stage_has_a_store_of_its_own() {
    let sources = sources();
    let stages = sources.iter().filter(|(_, text)| text.contains("impl work::Stage for"));
    let stages: Vec<_> = stages.collect();
    assert_eq!(stages.len(), STAGES.len(), "each stage is in a file of its own");
    for (module, text) in stages {
        assert!(!text.contains(": Store,"), "{} has a store", module.join("/"));
    }
}

#[test]
fn a_circle_is_found_through_trees_and_facades() {
    let source = |module: &str, text: &str| -> (Module, String) {
        (module.split('/').map(str::to_owned).collect(), code(text))
    };
    let files = [
        source("a", "mod part;\npub use part::{Deep as Shown, Other};\n"),
        source("a/part", "use crate::{b::{self, Thing}, c};\n"),
        source("b", "// use crate::c;\nfn f() -> crate::c::Answer { 1 }\n"),
        source("c", "use std::fmt;\npub(crate) use crate::a::Shown;\n"),
        source("d", "use super::a;\n#[cfg(test)]\nmod tests {\n    use crate::d;\n}\n"),
    ];
    let needs = Names::new(&BTreeMap::from(files)).needs();
    let of = |module: &str| -> Vec<String> {
        let module: Module = module.split('/').map(str::to_owned).collect();
        needs[&module].iter().map(|other| other.join("/")).collect()
    };
    assert_eq!(of("a/part"), ["b", "c"]);
    assert_eq!(
        (of("b"), of("c"), of("d")),
        (vec!["c".into()], vec!["a/part".into()], vec!["a".into()])
    );
    assert_eq!(shown(&circle(&needs).unwrap()), "a/part → b → c → a/part");
}

#[test]
fn a_folder_and_a_file_of_it_are_a_circle() {
    let source = |module: &str, text: &str| -> (Module, String) {
        (module.split('/').map(str::to_owned).collect(), text.to_owned())
    };
    let circle_of = |folder: &str, part: &str| {
        let sources = BTreeMap::from([source("a", folder), source("a/part", part)]);
        circle(&Names::new(&sources).needs()).map(|circle| shown(&circle))
    };
    let whole = Some("a → a/part → a".to_owned());
    for uses in ["use part::Thing;\n", "use self::part::Thing;\n", "fn f() { part::run() }\n"] {
        assert_eq!(circle_of(uses, "use super::Shared;\n"), whole, "{uses}");
        assert_eq!(circle_of(uses, "fn f() -> crate::a::Shared {}\n"), whole, "{uses}");
        assert_eq!(circle_of(uses, "pub(in crate::a) struct Thing;\n"), None, "{uses}");
    }
    assert_eq!(circle_of("pub use part::Thing;\n", "use super::Shared;\n"), None);
}
