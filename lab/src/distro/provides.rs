//! The Provides of a package, from its files.
//!
//! Owns sonames (by rpm's own `elfdeps`), `pkgconfig()`, `perl()`, `python3dist()`. rpm's own
//! generators look at EL's paths, and Debian's files are in others.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use crate::tool::{self, ToolError};

/// rpm's generator of soname dependencies.
const ELFDEPS: &str = "/usr/lib/rpm/elfdeps";

/// Every Provides that the files below the root give, sorted.
pub(super) fn of_files(root: &Path) -> Result<Vec<String>, ToolError> {
    let mut files = Vec::new();
    walk(root, "", &mut files);
    let mut found: Vec<String> = files
        .iter()
        .filter_map(|file| pkgconfig(root, file).or_else(|| perl(file)).or_else(|| python(file)))
        .flatten()
        .collect();
    let libraries: Vec<&String> = files.iter().filter(|file| is_elf(&root.join(file))).collect();
    if !libraries.is_empty() {
        let list: String =
            libraries.iter().map(|file| format!("{}/{file}\n", root.display())).collect();
        let mut command = Command::new(ELFDEPS);
        let output = tool::output_with_input(command.arg("--provides"), list.as_bytes())?;
        found.extend(String::from_utf8_lossy(&output).lines().map(str::to_owned));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Regular files and links below the root, by their path without the first slash.
fn walk(root: &Path, below: &str, files: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(root.join(below)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                files.push(format!("{path}/"));
                walk(root, &path, files);
            }
            _ => files.push(path),
        }
    }
}

/// A shared object that may have a soname: a regular file that begins like ELF.
fn is_elf(path: &Path) -> bool {
    let regular = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    let named = path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so"));
    let mut magic = [0; 4];
    regular
        && named
        && fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && &magic == b"\x7fELF"
}

/// `pkgconfig(NAME) = VERSION` of a `.pc` file.
fn pkgconfig(root: &Path, file: &str) -> Option<Vec<String>> {
    let (directory, name) = file.rsplit_once('/')?;
    let name = name.strip_suffix(".pc")?;
    if !directory.ends_with("/pkgconfig") {
        return None;
    }
    let version = fs::read_to_string(root.join(file)).ok().and_then(|text| pc_version(&text));
    let provide = format!("pkgconfig({name})");
    Some(vec![version.map_or(provide.clone(), |version| format!("{provide} = {version}"))])
}

/// The `Version:` of a `.pc` file, its variables filled in.
fn pc_version(text: &str) -> Option<String> {
    let mut version =
        text.lines().find_map(|line| line.strip_prefix("Version:"))?.trim().to_owned();
    while let Some(start) = version.find("${") {
        let length = version[start..].find('}')?;
        let variable = &version[start + 2..start + length];
        let value = text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == variable).then(|| value.trim())
        })?;
        if value.contains("${") {
            return None;
        }
        version.replace_range(start..=start + length, value);
    }
    // RPM knows no dash in versions.
    Some(version.replace('-', "_")).filter(|version| !version.is_empty())
}

/// `perl(A::B)` of a module below one of Debian's search paths, and `perl-A-B`: EL packages many of
/// them apart, and its specs name the packages.
fn perl(file: &str) -> Option<Vec<String>> {
    let module = file.strip_suffix(".pm")?;
    let rest = module
        .strip_prefix("usr/share/perl5/")
        .or_else(|| versioned(module, "usr/share/perl/"))
        .or_else(|| {
            let (_, rest) = module.strip_prefix("usr/lib/")?.split_once('/')?;
            rest.strip_prefix("perl-base/")
                .or_else(|| versioned(rest, "perl/"))
                .or_else(|| versioned(rest, "perl5/"))
        })?;
    let mut found = vec![format!("perl({})", rest.replace('/', "::"))];
    // Not for pragmas: that of `base` would be `perl-base`, which is another package of Debian.
    if rest.starts_with(|c: char| c.is_ascii_uppercase()) {
        found.push(format!("perl-{}", rest.replace('/', "-")));
    }
    Some(found)
}

/// What follows `PREFIX VERSION/`.
fn versioned<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let (version, rest) = path.strip_prefix(prefix)?.split_once('/')?;
    version.starts_with(|c: char| c.is_ascii_digit()).then_some(rest)
}

/// `python3dist(name) = version` of an installed distribution's metadata.
fn python(file: &str) -> Option<Vec<String>> {
    let name =
        file.strip_suffix('/').unwrap_or(file).strip_prefix("usr/lib/python3/dist-packages/")?;
    let stem = name.strip_suffix(".dist-info").or_else(|| name.strip_suffix(".egg-info"))?;
    let (name, rest) = stem.split_once('-')?;
    let version = rest.split_once('-').map_or(rest, |(version, _)| version);
    let name = normal_python_name(name);
    Some(vec![
        format!("python3dist({name}) = {version}"),
        format!("python3.11dist({name}) = {version}"),
    ])
}

/// A distribution's name as PEP 503 normalises it.
fn normal_python_name(name: &str) -> String {
    let lower = name.to_ascii_lowercase().replace(['_', '.'], "-");
    lower.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perl_modules_by_path() {
        let cases = [
            ("usr/share/perl/5.36.0/File/Find.pm", "perl(File::Find) perl-File-Find"),
            ("usr/share/perl/5.36.0/base.pm", "perl(base)"),
            ("usr/share/perl5/Text/CSV.pm", "perl(Text::CSV) perl-Text-CSV"),
            ("usr/lib/x86_64-linux-gnu/perl-base/re.pm", "perl(re)"),
            ("usr/lib/x86_64-linux-gnu/perl5/5.36/XML/X.pm", "perl(XML::X) perl-XML-X"),
            ("usr/share/autoconf/Autom4te/General.pm", ""),
        ];
        for (file, provides) in cases {
            assert_eq!(perl(file).unwrap_or_default().join(" "), provides, "{file}");
        }
    }

    #[test]
    fn python_distributions_by_metadata() {
        let found = python("usr/lib/python3/dist-packages/flit_core-3.8.0.dist-info/").unwrap();
        assert_eq!(found[0], "python3dist(flit-core) = 3.8.0");
        let found = python("usr/lib/python3/dist-packages/six-1.16.0.egg-info").unwrap();
        assert_eq!(found[0], "python3dist(six) = 1.16.0");
        assert_eq!(python("usr/lib/python3/dist-packages/six-1.dist-info/METADATA"), None);
    }

    #[test]
    fn versions_of_pc_files_are_expanded() {
        assert_eq!(
            pc_version("v=1.2\nName: a\nVersion: ${v}.3-rc1\n").as_deref(),
            Some("1.2.3_rc1")
        );
        assert_eq!(pc_version("Name: a\nVersion:\n"), None);
    }
}
