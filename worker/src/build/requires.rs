//! The requirements that `%generate_buildrequires` found, as rpmbuild writes them into a source
//! package without sources.

use std::io;

use rpm::DependencyFlags;
use rpmfarm_rpmfile::Headers;

use crate::cages::confined_dir::ConfinedDir;

/// The longest list that is accepted.
const MAX_REQUIRES: usize = 10_000;

/// The requirements in `*.buildreqs.nosrc.rpm`, as rpm prints them, if there is such a file.
/// rpm's own (`rpmlib(…)`) are left out: no package provides them.
///
/// # Errors
/// When the file is not what rpmbuild writes.
pub(super) fn read(srpms: &ConfinedDir) -> io::Result<Option<Vec<String>>> {
    let Some(entry) =
        srpms.list(100)?.into_iter().find(|entry| entry.name.ends_with(".buildreqs.nosrc.rpm"))
    else {
        return Ok(None);
    };
    let file = srpms.file(&entry.name)?;
    let headers = Headers::read(&mut io::BufReader::new(file)).map_err(io::Error::other)?;
    let requires = headers.metadata.get_requires().map_err(io::Error::other)?;
    if requires.len() > MAX_REQUIRES {
        let message = format!("{} build requirements, at most {MAX_REQUIRES}", requires.len());
        return Err(io::Error::other(message));
    }
    let mut texts: Vec<String> = requires
        .iter()
        .filter(|requirement| !requirement.flags.contains(DependencyFlags::RPMLIB))
        .map(|requirement| text(&requirement.name, requirement.flags, &requirement.version))
        .collect();
    texts.sort();
    texts.dedup();
    Ok(Some(texts))
}

fn text(name: &str, flags: DependencyFlags, version: &str) -> String {
    let sign: String = [
        (DependencyFlags::LESS, '<'),
        (DependencyFlags::GREATER, '>'),
        (DependencyFlags::EQUAL, '='),
    ]
    .into_iter()
    .filter_map(|(flag, sign)| flags.contains(flag).then_some(sign))
    .collect();
    if sign.is_empty() || version.is_empty() {
        name.to_owned()
    } else {
        format!("{name} {sign} {version}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_printed_as_rpm_prints_them() {
        let (less, greater, equal) =
            (DependencyFlags::LESS, DependencyFlags::GREATER, DependencyFlags::EQUAL);
        assert_eq!(text("a", DependencyFlags::empty(), ""), "a");
        assert_eq!(text("a", less | equal, "1:2"), "a <= 1:2");
        assert_eq!(text("a", greater, "2"), "a > 2");
        assert_eq!(text("(a or b)", DependencyFlags::empty(), ""), "(a or b)");
    }
}
