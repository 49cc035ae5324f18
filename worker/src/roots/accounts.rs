//! The files that the farm itself puts into a base root, as mock does: the build user and its home,
//! and files that every machine has although no package contains them.

use std::io;
use std::path::Path;

use crate::cages::cage::BUILDER_ID;
use crate::cages::confined_dir::ConfinedDir;

/// Name of the build user, and that of its group, as under mock.
pub(super) const BUILDER: &str = "mockbuild";
const GROUP: &str = "mock";
/// Home of the build user.
pub(super) const HOME: &str = "builddir";

/// No account file of a root is longer.
const MAX_ACCOUNTS: u64 = 1 << 20;

/// The names that mock's has, and the cage's own.
const HOSTS: &str = "127.0.0.1 localhost localhost.localdomain rpmfarm\n\
    ::1       localhost localhost.localdomain localhost6 localhost6.localdomain6 rpmfarm\n";

/// The same in all roots, so that a package that has it in does not depend on where it was built.
const MACHINE_ID: &str = "72706d6661724d008000000000000001\n";

/// A zone without transitions (RFC 8536, version 2): the content of
/// /usr/share/zoneinfo/UTC, for roots that do not have that.
const UTC: &str = concat!(
    "TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\0\0\0\0\0\0UTC\0",
    "TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\0\0\0\0\0\0UTC\0\nUTC0\n",
);
const ZONES: &str = "usr/share/zoneinfo";

/// Puts files that scriptlets may need into the empty tree of a base root. Packages replace them.
pub(super) fn prepare(tree: &Path, uid_base: u32) -> io::Result<()> {
    let root = ConfinedDir::open(tree)?;
    for (name, mode) in [("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("tmp", 0o1777)] {
        root.make_directory(name, mode, uid_base)?;
    }
    let etc = root.make_directory("etc", 0o755, uid_base)?;
    etc.write("fstab", "", 0o644, uid_base)?;
    etc.write("hosts", HOSTS, 0o644, uid_base)?;
    etc.write("localtime", UTC, 0o644, uid_base)?;
    etc.write("machine-id", MACHINE_ID, 0o644, uid_base)?;
    etc.link("mtab", "../proc/self/mounts", uid_base)?;
    etc.write("resolv.conf", "", 0o644, uid_base)?;
    let mut var = root.make_directory("var", 0o755, uid_base)?;
    var.make_directory("tmp", 0o1777, uid_base)?;
    for name in ["lib", "dbus"] {
        var = var.make_directory(name, 0o755, uid_base)?;
    }
    var.link("machine-id", "../../../etc/machine-id", uid_base)
}

/// Adds what a build needs to a tree whose root is `uid_base`, and repairs what packages have
/// broken. Nothing in the tree is trusted: scriptlets of packages have run in it.
///
/// # Errors
/// When the tree is not one of a base root.
pub(super) fn add(tree: &Path, uid_base: u32) -> io::Result<()> {
    let root = ConfinedDir::open(tree)?;
    let etc = root.make_directory("etc", 0o755, uid_base)?;
    let id = BUILDER_ID;
    add_line(&etc, "passwd", &format!("{BUILDER}:x:{id}:{id}::/{HOME}:/bin/bash"), uid_base)?;
    add_line(&etc, "group", &format!("{GROUP}:x:{id}:"), uid_base)?;
    // The file of a package lacks the name of the cage.
    etc.write("hosts", HOSTS, 0o644, uid_base)?;
    for (name, text) in [("fstab", ""), ("localtime", UTC)] {
        if !etc.has(name) {
            etc.write(name, text, 0o644, uid_base)?;
        }
    }
    // A link to a file of a service, or no file, would make every look-up of a name wait.
    etc.write("resolv.conf", "", 0o644, uid_base)?;
    etc.link("mtab", "../proc/self/mounts", uid_base)?;
    if !etc.text("machine-id", 64).is_ok_and(|text| is_machine_id(&text)) {
        etc.write("machine-id", MACHINE_ID, 0o644, uid_base)?;
    }
    if root.directory(ZONES).and_then(|zones| zones.file("UTC")).is_ok() {
        etc.link("localtime", &format!("../{ZONES}/UTC"), uid_base)?;
    }
    root.make_directory(HOME, 0o755, uid_base + BUILDER_ID)?;
    for name in ["tmp", "var"] {
        root.make_directory(name, if name == "tmp" { 0o1777 } else { 0o755 }, uid_base)?;
    }
    root.directory("var")?.make_directory("tmp", 0o1777, uid_base)?;
    Ok(())
}

/// systemd writes `uninitialized`, or nothing, for a machine that is yet to start.
fn is_machine_id(text: &str) -> bool {
    let id = text.trim_end();
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Adds a line to an account file, in place of one with the same name or id.
fn add_line(etc: &ConfinedDir, file: &str, line: &str, owner: u32) -> io::Result<()> {
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
        let old = "root:x:0:0:root:/root:/bin/sh\nmockbuild:x:7:7::/:/bin/sh\nme:x:1000:1::/:/b";
        assert_eq!(
            with_account(old, "mockbuild:x:1000:1000::/builddir:/bin/bash"),
            "root:x:0:0:root:/root:/bin/sh\nmockbuild:x:1000:1000::/builddir:/bin/bash\n"
        );
    }

    #[test]
    fn a_root_gets_what_a_machine_has() {
        let dir = tempfile::tempdir().expect("a directory");
        prepare(dir.path(), 7).expect("prepares it");
        let etc = dir.path().join("etc");
        // As packages leave them: systemd's machine-id, a resolver of a service.
        std::fs::remove_file(etc.join("machine-id")).expect("removes");
        std::fs::write(etc.join("machine-id"), "uninitialized\n").expect("writes");
        std::fs::remove_file(etc.join("resolv.conf")).expect("removes");
        std::os::unix::fs::symlink("/run/resolve/stub", etc.join("resolv.conf")).expect("links");
        std::fs::create_dir_all(dir.path().join(ZONES)).expect("a directory");
        std::fs::write(dir.path().join(ZONES).join("UTC"), UTC).expect("writes");
        add(dir.path(), 7).expect("adds");
        let text = |name: &str| std::fs::read_to_string(etc.join(name)).expect(name);
        assert_eq!(text("machine-id"), MACHINE_ID);
        assert!(is_machine_id(MACHINE_ID) && !is_machine_id("uninitialized\n"));
        assert_eq!(text("resolv.conf"), "");
        assert!(std::fs::symlink_metadata(etc.join("resolv.conf")).expect("is there").is_file());
        assert_eq!(text("localtime"), UTC);
        assert_eq!(UTC.len(), 114);
        let link = |name: &str| std::fs::read_link(etc.join(name)).expect(name);
        assert_eq!(link("mtab"), Path::new("../proc/self/mounts"));
        assert_eq!(link("localtime"), Path::new("../usr/share/zoneinfo/UTC"));
        assert!(text("passwd").contains("mockbuild:x:1000:1000::/builddir:/bin/bash\n"));
    }
}
