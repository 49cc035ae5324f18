//! Adding text to a section of the spec: `add_line`.

use super::ApplyError;
use super::edit::{AddLine, Location};
use super::lines::Lines;
use super::nearest;
use super::tree::Tree;
use crate::spec::{SectionHeader, header, is_header};

/// `add_line`.
pub(super) fn add(edit: &AddLine, tree: &mut Tree<'_>) -> Result<(), ApplyError> {
    let path = tree.spec()?;
    let mut file = Lines::read(tree, &path)?;
    let section = edit.section.trim_start_matches('%');
    let at = place(&file.lines, section, edit.subpackage.as_deref(), edit.location);
    let Some(at) = at else { return Err(missing(edit, section, &path, &file.lines)) };
    // The original tool (autopatch) puts a blank line after the text.
    let content = edit.content.strip_suffix('\n').unwrap_or(&edit.content);
    file.lines.insert(at, format!("{content}\n"));
    file.write(tree, &path);
    Ok(())
}

fn missing(edit: &AddLine, section: &str, path: &str, lines: &[String]) -> ApplyError {
    let wanted = match &edit.subpackage {
        Some(package) => format!("%{section} {package}"),
        None => format!("%{section}"),
    };
    let headers: Vec<_> = lines
        .iter()
        .map(|line| if is_header(line) { line.clone() } else { String::new() })
        .collect();
    let nearest = nearest::lines(&wanted, &headers);
    ApplyError::NoMatch { file: path.to_owned(), wanted, nearest }
}

/// The index of the line before which the text is inserted.
fn place(
    lines: &[String],
    section: &str,
    package: Option<&str>,
    location: Location,
) -> Option<usize> {
    let begin = match (section, package) {
        ("global", None) => None,
        ("global", Some(_)) => Some(find(lines, "package", package)?),
        _ => Some(find(lines, section, package)?),
    };
    let body = begin.map_or(0, |begin| begin + 1);
    match location {
        Location::Top => Some(body),
        Location::Bottom => {
            let end = lines[body..].iter().position(|line| is_header(line));
            Some(end.map_or(lines.len(), |end| body + end))
        }
    }
}

/// The index of the line that opens a section.
fn find(lines: &[String], section: &str, package: Option<&str>) -> Option<usize> {
    lines.iter().position(|line| match header(line) {
        Some(SectionHeader { section: found, package: of, of_package }) => {
            // A section of the whole spec belongs to no package, whatever package the edit names.
            found == section && (!of_package || of == package)
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::lines;

    const SPEC: &str = "\
Name: x

%description
text

%package -n libx
Summary: y

%description -n libx
text of libx

%build
make

%post -p /sbin/ldconfig

%files -f x.lang
/usr/bin/x

%files -n libx
/usr/lib64/libx.so
";

    fn added(section: &str, package: Option<&str>, location: Location) -> Option<String> {
        let mut all = lines(SPEC);
        let at = place(&all, section, package, location)?;
        all.insert(at, "NEW".to_owned());
        let context = |at: usize| all.get(at).cloned().unwrap_or_default();
        Some(format!("{}|{}", context(at.wrapping_sub(1)), context(at + 1)))
    }

    #[test]
    fn places() {
        use Location::{Bottom, Top};
        for (section, package, location, around) in [
            ("global", None, Top, "|Name: x"),
            ("global", None, Bottom, "|%description"),
            ("global", Some("libx"), Top, "%package -n libx|Summary: y"),
            ("global", Some("libx"), Bottom, "|%description -n libx"),
            ("description", None, Top, "%description|text"),
            ("description", Some("libx"), Top, "%description -n libx|text of libx"),
            ("build", None, Bottom, "|%post -p /sbin/ldconfig"),
            ("build", Some("libx"), Top, "%build|make"),
            ("files", None, Top, "%files -f x.lang|/usr/bin/x"),
            ("files", Some("libx"), Bottom, "/usr/lib64/libx.so|"),
            ("post", None, Top, "%post -p /sbin/ldconfig|"),
        ] {
            let found = added(section, package, location);
            assert_eq!(found.as_deref(), Some(around), "{section} {package:?} {location:?}");
        }
        assert_eq!(added("pre", None, Top), None);
        assert_eq!(added("files", Some("lib"), Top), None);
    }
}
