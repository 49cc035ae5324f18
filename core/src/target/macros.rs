//! The rpm macro file of a build. Owns the farm's own macros and how bodies are escaped (the rules
//! of rpm's macro files: `rdcl` and `doDefine` in its rpmio/macro.c).

use std::collections::BTreeMap;

use super::Target;

/// Macros that the target's own fields set and that its `macros` may therefore not name.
pub(super) const OF_FIELDS: [(&str, &str); 4] = [
    ("dist", "dist"),
    ("vendor", "vendor"),
    ("packager", "packager"),
    ("_buildhost", "build_host"),
];

/// Macros of rpmbuild's directories. Workers set them, so a target's would have no effect.
pub(super) const OF_WORKERS: [&str; 2] = ["_topdir", "_rpmfilename"];

/// The macro file of a package's builds. In rpm later lines override earlier ones, so each name
/// comes once. The times in packages are not set here: unless the target does, the macros of its
/// distribution (`redhat-rpm-config`) do, which differ between distributions.
pub(super) fn render(target: &Target, package: &str) -> String {
    let mut macros: BTreeMap<&str, String> = BTreeMap::new();
    let of_package = target.packages.get(package).map(|p| &p.macros);
    for (name, body) in target.macros.iter().chain(of_package.into_iter().flatten()) {
        macros.retain(|known, _| name_of(known) != name_of(name));
        macros.insert(name, escaped(body));
    }
    let bconds = bconds(target, package);
    for (name, body) in &bconds {
        macros.insert(name, body.clone());
    }
    let fields = [&target.dist, &target.vendor, &target.packager, &target.build_host];
    for ((name, _), text) in OF_FIELDS.into_iter().zip(fields) {
        if !text.is_empty() {
            macros.insert(name, escaped(&text.replace('%', "%%")));
        }
    }
    let mut file = format!("# Macros of {package} in target {}\n", target.name);
    for (name, body) in macros {
        file.push_str(&format!("%{name} {body}\n"));
    }
    file
}

/// The macros by which a spec's `%bcond` is switched on and off, as rpmbuild's `--with` and
/// `--without` define them.
pub(super) fn bconds(target: &Target, package: &str) -> Vec<(String, String)> {
    let Some(of_package) = target.packages.get(package) else { return Vec::new() };
    let of = |word: &str, names: &[String]| -> Vec<(String, String)> {
        names.iter().map(|name| (format!("_{word}_{name}"), format!("--{word}-{name}"))).collect()
    };
    [of("with", &of_package.with), of("without", &of_package.without)].concat()
}

/// A line of a macro file.
pub(crate) fn line(name: &str, body: &str) -> String {
    format!("%{name} {}\n", escaped(body))
}

/// Why a macro of the target, of a package or of one build is invalid.
pub(crate) fn problem(name: &str, body: &str) -> Option<&'static str> {
    if OF_WORKERS.contains(&name_of(name)) {
        Some("is set by the worker, which runs rpmbuild; leave it out")
    } else if !is_name(name) {
        Some(
            "rpm has no such macro name (at least three letters, digits or `_`, not \
             starting with a digit; options in parentheses)",
        )
    } else if body.contains(|c: char| c.is_control() && !"\n\r\t".contains(c)) {
        Some("holds a control character")
    } else if !is_closed(body) {
        Some("has a `%{`, `%(` or `%[` that is not closed")
    } else {
        None
    }
}

/// A macro's name without its options.
pub(super) fn name_of(name: &str) -> &str {
    name.split_once('(').map_or(name, |(name, _)| name)
}

/// A body in the syntax of a macro file: a backslash before each backslash, each line end, and a
/// brace at the beginning (which would be taken for a delimiter). An empty one is `%{nil}`.
fn escaped(body: &str) -> String {
    let body = body.trim();
    if body.is_empty() {
        return "%{nil}".to_owned();
    }
    let escaped = body.replace("\r\n", "\n").replace('\\', "\\\\").replace('\n', "\\\n");
    if escaped.starts_with('{') { format!("\\{escaped}") } else { escaped }
}

/// Whether every `%{`, `%(` and `%[` is closed. An open one would include the lines after it.
pub(super) fn is_closed(body: &str) -> bool {
    let mut depth = [0_u32; 3];
    let mut chars = body.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '%' {
            match chars.peek() {
                Some('%') => {
                    chars.next();
                }
                Some(open) => {
                    if let Some(kind) = "{([".find(*open) {
                        depth[kind] += 1;
                        chars.next();
                    }
                }
                None => {}
            }
        } else if let Some(kind) = "{([".find(c).filter(|kind| depth[*kind] > 0) {
            depth[kind] += 1;
        } else if let Some(kind) = "})]".find(c) {
            depth[kind] = depth[kind].saturating_sub(1);
        }
    }
    depth == [0; 3]
}

/// Whether rpm accepts this as a macro's name, with or without options: at least three characters.
pub(super) fn is_name(text: &str) -> bool {
    let (name, options) = match text.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')')),
        None => (text, Some("")),
    };
    name.len() > 2
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && options
            .is_some_and(|o| o.bytes().all(|b| b.is_ascii_alphanumeric() || b":-".contains(&b)))
}
