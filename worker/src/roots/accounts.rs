//! What the farm itself puts into a base root: the build user, its home, and names that test
//! suites expect to resolve.

use std::io;
use std::path::Path;

use crate::sandbox::beneath::Beneath;
use crate::sandbox::cage::BUILDER_ID;

/// Name of the build user and its group.
pub(super) const BUILDER: &str = "builder";
/// Home of the build user.
pub(super) const HOME: &str = "builddir";

/// No account file of a root is longer.
const MAX_ACCOUNTS: u64 = 1 << 20;

const HOSTS: &str = "127.0.0.1 localhost localhost.localdomain rpmfarm\n::1 localhost rpmfarm\n";

/// Adds them to a tree whose root is `uid_base`. Nothing in the tree is trusted: scriptlets of
/// packages have run in it.
///
/// # Errors
/// When the tree is not what a base root looks like.
pub(super) fn add(tree: &Path, uid_base: u32) -> io::Result<()> {
    let root = Beneath::open(tree)?;
    let etc = root.make_directory("etc", 0o755, uid_base)?;
    let id = BUILDER_ID;
    add_line(&etc, "passwd", &format!("{BUILDER}:x:{id}:{id}::/{HOME}:/bin/sh"), uid_base)?;
    add_line(&etc, "group", &format!("{BUILDER}:x:{id}:"), uid_base)?;
    if etc.file("hosts").is_err() {
        etc.write("hosts", HOSTS, 0o644, uid_base)?;
    }
    root.make_directory(HOME, 0o755, uid_base + BUILDER_ID)?;
    for name in ["tmp", "var"] {
        root.make_directory(name, if name == "tmp" { 0o1777 } else { 0o755 }, uid_base)?;
    }
    root.directory("var")?.make_directory("tmp", 0o1777, uid_base)?;
    Ok(())
}

/// Adds a line to an account file, in place of one with the same name or id.
fn add_line(etc: &Beneath, file: &str, line: &str, owner: u32) -> io::Result<()> {
    let old = match etc.text(file, MAX_ACCOUNTS) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => minimal(file).to_owned(),
        Err(error) => return Err(error),
    };
    etc.write(file, &with_account(&old, line), 0o644, owner)
}

/// For roots whose packages bring no account files.
fn minimal(file: &str) -> &'static str {
    match file {
        "passwd" => "root:x:0:0:root:/root:/bin/sh\n",
        _ => "root:x:0:\ntty:x:5:\n",
    }
}

fn with_account(old: &str, line: &str) -> String {
    let key = |line: &str| {
        let mut fields = line.split(':');
        (fields.next().map(str::to_owned), fields.nth(1).map(str::to_owned))
    };
    let (name, id) = key(line);
    let kept = old.lines().filter(|old| {
        let (old_name, old_id) = key(old);
        old_name != name && old_id != id
    });
    kept.chain([line]).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_replaces_those_with_its_name_or_id() {
        let old = "root:x:0:0:root:/root:/bin/sh\nbuilder:x:7:7::/:/bin/sh\nme:x:1000:1::/:/b";
        assert_eq!(
            with_account(old, "builder:x:1000:1000::/builddir:/bin/sh"),
            "root:x:0:0:root:/root:/bin/sh\nbuilder:x:1000:1000::/builddir:/bin/sh\n"
        );
    }
}
