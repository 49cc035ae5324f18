//! Compiled Python modules in packages whose file times are clamped.
//!
//! A `.pyc` usually records the time of its source. When rpm clamps the times of files to
//! `SOURCE_DATE_EPOCH`, a module that was written during the build gets an older time in the
//! package than its `.pyc` says: Python then compiles it anew, and as root writes over the packaged
//! file. Fedora and Enterprise Linux 10, which clamp, have a tool in their macros that sets the
//! times of sources before they are compiled. A target that asks for clamping on an older
//! distribution has none; so the worker does the same. It must not know what else a build does.

/// Name of the script in the build user's home.
pub(super) const FILE: &str = ".rpmfarm-python-times";

/// Runs after `%install`, before the distribution's own scripts compile what is not compiled yet.
/// Sources get their clamped time, and what is compiled already records it. Needs coreutils and
/// find only. The first two bytes of a `.pyc` are the number of its format: from 3390 on (Python
/// 3.7, PEP 552) flags come before the time, and one of them says that there is no time but a
/// digest.
pub(super) const SCRIPT: &str = r#"#!/bin/sh
if [ "$1" = compiled ]; then
  shift
  head -q -c 16 -- "$@" | od -An -v -tu1 -w16 |
  while read -r a b c d e f g h i j k l rest; do
    file=$1
    shift
    format=$((a + 256 * b))
    [ "$c $d" = '13 10' ] && [ $format -ge 3000 ] || continue
    if [ $format -ge 3390 ] && [ $format -lt 20000 ]; then
      [ "$e $f $g $h" = '0 0 0 0' ] || continue
      at=8
      time=$((i + 256 * (j + 256 * (k + 256 * l))))
    else
      at=4
      time=$((e + 256 * (f + 256 * (g + 256 * h))))
    fi
    [ $time -gt "$SOURCE_DATE_EPOCH" ] || continue
    t=$SOURCE_DATE_EPOCH
    bytes=$(printf '\\0%03o\\0%03o\\0%03o\\0%03o' \
      $((t & 255)) $((t >> 8 & 255)) $((t >> 16 & 255)) $((t >> 24 & 255)))
    mode=$(stat -c %a -- "$file") && chmod u+w -- "$file" || exit 1
    printf %b "$bytes" | dd of="$file" bs=1 seek=$at conv=notrunc status=none || exit 1
    chmod "$mode" -- "$file" || exit 1
  done
  exit
fi
case $SOURCE_DATE_EPOCH in
  '' | *[!0-9]*) exit 0 ;;
esac
[ -d "$RPM_BUILD_ROOT" ] || exit 0
find "$RPM_BUILD_ROOT" -type f -name '*.py' -newermt "@$SOURCE_DATE_EPOCH" \
  -exec touch -d "@$SOURCE_DATE_EPOCH" -- {} + || exit
find "$RPM_BUILD_ROOT" -type f -name '*.py[co]' -size +15c -exec /bin/sh "$0" compiled {} +
"#;

/// Shell code that sets the words `"$@"` of rpmbuild's options so that [`SCRIPT`] runs after
/// `%install`, where file times are clamped. `__arch_install_post` comes before the
/// distribution's own scripts, and is `check-buildroot` or nothing in all of them.
pub(super) const OPTIONS: &str = r#"clamp=$(rpm --eval '%{?build_mtime_policy}/%{?clamp_mtime_to_source_date_epoch}')
case $clamp in
  clamp_to_*/* | /[1-9yY]*)
    post=$(rpm --eval '%{?__arch_install_post}' | sed -e 's/[\\%]/&&/g' -e 's/$/\\/')
    set -- "$@" --define "__arch_install_post $post
/bin/sh /builddir/.rpmfarm-python-times"
    ;;
esac
"#;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, SystemTime};

    use super::*;

    const EPOCH: u32 = 1_704_067_200;

    fn run(root: &Path) {
        let script = root.join("script");
        fs::write(&script, SCRIPT).expect("writes");
        let status = Command::new("/bin/sh")
            .arg(&script)
            .env("RPM_BUILD_ROOT", root)
            .env("SOURCE_DATE_EPOCH", EPOCH.to_string())
            .status();
        assert!(status.expect("runs").success());
    }

    fn time(path: &Path) -> u64 {
        let modified = fs::metadata(path).and_then(|data| data.modified()).expect("has a time");
        modified.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
    }

    /// A compiled module: the number of its format, then these words, then code.
    fn compiled(format: u16, words: &[u32]) -> Vec<u8> {
        let words = words.iter().flat_map(|word| word.to_le_bytes());
        [&format.to_le_bytes()[..], b"\r\n"]
            .concat()
            .into_iter()
            .chain(words)
            .chain([7; 9])
            .collect()
    }

    #[test]
    fn what_was_written_during_the_build_gets_the_time_that_the_package_says() {
        let dir = tempfile::tempdir().expect("a directory");
        let (new, old) = (EPOCH + 86_400, EPOCH - 86_400);
        let at = |name: &str| dir.path().join(name);
        for (name, time) in [("new.py", new), ("old.py", old), ("data", new)] {
            let file = fs::File::create(at(name)).expect("makes");
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time.into());
            file.set_modified(time).expect("sets");
        }
        // Formats of Python 2.7, 3.6 and 3.11, the last with and without a digest, and no module.
        let table: [(&str, Vec<u8>, Vec<u8>); 7] = [
            ("a b.pyc", compiled(3495, &[0, new, 5]), compiled(3495, &[0, EPOCH, 5])),
            ("old.pyc", compiled(3495, &[0, old, 5]), compiled(3495, &[0, old, 5])),
            ("digest.pyc", compiled(3495, &[3, new, new]), compiled(3495, &[3, new, new])),
            ("six.pyc", compiled(3379, &[new, 5]), compiled(3379, &[EPOCH, 5])),
            ("two.pyo", compiled(62211, &[new, 5]), compiled(62211, &[EPOCH, 5])),
            ("short.pyc", vec![1], vec![1]),
            ("text.pyc", vec![b'x'; 40], vec![b'x'; 40]),
        ];
        for (name, before, _) in &table {
            fs::write(at(name), before).expect("writes");
        }
        let mut mode = fs::metadata(at("a b.pyc")).expect("is there").permissions();
        mode.set_readonly(true);
        fs::set_permissions(at("a b.pyc"), mode.clone()).expect("sets");
        run(dir.path());
        for (name, _, after) in &table {
            assert_eq!(fs::read(at(name)).expect("reads"), *after, "{name}");
        }
        assert_eq!(fs::metadata(at("a b.pyc")).expect("is there").permissions(), mode);
        let times = ["new.py", "old.py", "data"].map(|name| time(&at(name)));
        assert_eq!(times, [EPOCH, old, new].map(u64::from));
    }
}
