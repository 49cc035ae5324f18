//! The secrets of webhooks, from a file that only its owner can read. They are written nowhere
//! else, and read again when the file changes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use parking_lot::Mutex;
use rpmfarm_core::track::Forge;
use serde::Deserialize;

/// The shortest secret, in characters; a shorter one could be guessed.
const SHORTEST: usize = 16;

/// The content of the file: target → forge → secrets. Several secrets are valid while one replaces
/// another.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
struct SecretsFile(BTreeMap<String, BTreeMap<Forge, Vec<String>>>);

/// Size and times of a file, to find out whether it has changed.
type FileStamp = Option<(u64, i64, i64)>;

pub(super) struct HookSecrets {
    path: PathBuf,
    kept: Mutex<(FileStamp, SecretsFile)>,
}

impl fmt::Debug for HookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("path", &self.path).finish_non_exhaustive()
    }
}

impl HookSecrets {
    /// Reads a file; the default one may be missing.
    ///
    /// # Errors
    /// When it cannot be read, others can read it, too, or it holds no secrets.
    pub(super) fn open(path: Option<&Path>, default: &Path) -> anyhow::Result<Self> {
        let wanted = path.is_some();
        let path = path.unwrap_or(default).to_owned();
        let stamp = stamp(&path);
        let content = if wanted || stamp.is_some() { read(&path)? } else { SecretsFile::default() };
        Ok(Self { path, kept: Mutex::new((stamp, content)) })
    }

    /// The secrets of a target's forge; empty when no webhooks are set up.
    pub(super) fn for_forge(&self, target: &str, forge: Forge) -> Vec<String> {
        let mut kept = self.kept.lock();
        let now = stamp(&self.path);
        if now != kept.0 {
            match if now.is_some() { read(&self.path) } else { Ok(SecretsFile::default()) } {
                Ok(content) => kept.1 = content,
                Err(error) => tracing::error!(
                    error = format!("{error:#}"),
                    "the secrets of webhooks stay as they were"
                ),
            }
            kept.0 = now;
        }
        let of_target = kept.1.0.get(target);
        of_target.and_then(|forges| forges.get(&forge)).cloned().unwrap_or_default()
    }
}

fn stamp(path: &Path) -> FileStamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

fn read(path: &Path) -> anyhow::Result<SecretsFile> {
    let name = path.display();
    let metadata =
        fs::metadata(path).with_context(|| format!("cannot read the webhooks' secrets {name}"))?;
    ensure!(
        metadata.mode() & 0o077 == 0,
        "others can read the webhooks' secrets {name}; chmod 600 it"
    );
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the webhooks' secrets {name}"))?;
    // The parser's message would quote the line, and so a secret.
    let content: SecretsFile = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
        anyhow::anyhow!("{name}, line {line}: expected [TARGET] and FORGE = [\"SECRET\"]")
    })?;
    for (target, forges) in &content.0 {
        for (forge, secrets) in forges {
            ensure!(
                !secrets.is_empty() && secrets.iter().all(|secret| secret.len() >= SHORTEST),
                "{name}: {target}.{forge} needs secrets of at least {SHORTEST} characters each"
            );
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const LONG: &str = "0123456789abcdef";

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn read_again_when_changed_and_never_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hooks.toml");
        let secrets = HookSecrets::open(None, &path).unwrap();
        assert!(secrets.for_forge("lab", Forge::Github).is_empty());
        write(&path, &format!("[lab]\ngithub = [\"{LONG}\"]\nforgejo = [\"{LONG}2\"]\n"), 0o600);
        assert_eq!(secrets.for_forge("lab", Forge::Github), [LONG]);
        assert_eq!(secrets.for_forge("lab", Forge::Gitea), [format!("{LONG}2")]);
        assert!(secrets.for_forge("other", Forge::Github).is_empty());
        assert!(!format!("{secrets:?}").contains(LONG));
        // A broken file changes nothing.
        write(&path, "rubbish", 0o600);
        assert_eq!(secrets.for_forge("lab", Forge::Github), [LONG]);
        fs::remove_file(&path).unwrap();
        assert!(secrets.for_forge("lab", Forge::Github).is_empty());
    }

    #[test]
    fn refusals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hooks.toml");
        let refusal = |text: &str, mode| {
            write(&path, text, mode);
            format!("{:#}", HookSecrets::open(Some(&path), &path).unwrap_err())
        };
        let good = format!("[lab]\ngithub = [\"{LONG}\"]\n");
        assert!(refusal(&good, 0o640).contains("chmod 600"));
        assert!(refusal("[lab]\ngithub = [\"short\"]\n", 0o600).contains("lab.github needs"));
        let message = refusal(&format!("[lab]\nsvn = [\"{LONG}\"]\n"), 0o600);
        assert!(message.contains(", line ") && !message.contains(LONG), "{message}");
        let missing = dir.path().join("missing");
        assert!(HookSecrets::open(Some(&missing), &missing).is_err());
    }
}
