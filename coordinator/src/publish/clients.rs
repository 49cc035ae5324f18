//! The files that a client needs to use a channel: the `.repo` file and the public key, at paths
//! that never change.

use std::path::Path;

use rpmfarm_core::published_repositories::PublishedRepository;
use rpmfarm_core::snapshot::RepositoryKind;

use super::disk;
use super::error::Result;
use super::layout::{ChannelLayout, key_name};

/// Writes both files, unless they exist with the right content.
pub(super) fn write(
    layout: &ChannelLayout,
    base_url: &str,
    public_key: &str,
    repositories: &[PublishedRepository],
) -> Result<()> {
    disk::replace(&layout.key(), public_key.as_bytes())?;
    let file = repo_file(&layout.target, &layout.channel, base_url, repositories);
    disk::replace(&layout.repo_file(), file.as_bytes())
}

/// Whether both files exist with the right content.
pub(super) fn are_right(
    layout: &ChannelLayout,
    base_url: &str,
    public_key: &str,
    repositories: &[PublishedRepository],
) -> bool {
    let file = repo_file(&layout.target, &layout.channel, base_url, repositories);
    let has = |path: &Path, text: &str| std::fs::read(path).is_ok_and(|is| is == text.as_bytes());
    has(&layout.repo_file(), &file) && has(&layout.key(), public_key)
}

/// The text for `/etc/yum.repos.d`, with a section for each repository. Debug and source
/// repositories are listed and disabled.
fn repo_file(
    target: &str,
    channel: &str,
    base_url: &str,
    repositories: &[PublishedRepository],
) -> String {
    if repositories.is_empty() {
        return sections((target, channel, None), base_url);
    }
    let each = repositories.iter();
    let each = each.map(|one| sections((target, channel, Some(&one.name)), base_url));
    each.collect::<Vec<_>>().join("\n")
}

/// The sections of a channel, or of one of its repositories.
fn sections((target, channel, name): (&str, &str, Option<&str>), base_url: &str) -> String {
    let (id, label_of, directory) = match name {
        Some(name) => (format!("-{name}"), format!(" {name}"), format!("{name}/")),
        None => Default::default(),
    };
    let base = base_url.trim_end_matches('/');
    let key = key_name(target);
    let section = |kind: RepositoryKind| {
        let (suffix, label, enabled) = match kind {
            RepositoryKind::Binary => ("", "", 1),
            RepositoryKind::Debug => ("-debug", " (debug)", 0),
            RepositoryKind::Source => ("-source", " (source)", 0),
        };
        let dir = kind.dir();
        format!(
            "[{target}-{channel}{id}{suffix}]
name={target} {channel}{label_of}{label}
baseurl={base}/{target}/{channel}/{directory}$basearch/{dir}/
enabled={enabled}
gpgcheck=1
repo_gpgcheck=1
gpgkey={base}/{target}/{key}
"
        )
    };
    RepositoryKind::ALL.map(section).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repo_file_checks_everything() {
        let file = repo_file("lab", "testing", "https://farm.example/repo/", &[]);
        assert!(file.starts_with("[lab-testing]\nname=lab testing\n"));
        assert!(file.contains("\nbaseurl=https://farm.example/repo/lab/testing/$basearch/os/\n"));
        assert!(file.contains("\ngpgkey=https://farm.example/repo/lab/RPM-GPG-KEY-lab\n"));
        assert_eq!(file.matches("\ngpgcheck=1\nrepo_gpgcheck=1\n").count(), 3);
        assert_eq!(file.matches("\nenabled=1\n").count(), 1);
    }

    #[test]
    fn each_repository_of_a_channel_has_its_sections() {
        let named = ["BaseOS", "CRB"].map(|name| PublishedRepository {
            name: name.into(),
            ..PublishedRepository::default()
        });
        let file = repo_file("lab", "testing", "https://farm.example/repo", &named);
        let ids: Vec<&str> = file.lines().filter(|line| line.starts_with('[')).collect();
        let expected = [
            "[lab-testing-BaseOS]",
            "[lab-testing-BaseOS-debug]",
            "[lab-testing-BaseOS-source]",
            "[lab-testing-CRB]",
            "[lab-testing-CRB-debug]",
            "[lab-testing-CRB-source]",
        ];
        assert_eq!(ids, expected);
        let crb = "\nname=lab testing CRB\n\
                   baseurl=https://farm.example/repo/lab/testing/CRB/$basearch/os/\nenabled=1\n";
        assert!(file.contains(crb), "{file}");
        assert_eq!(file.matches("/RPM-GPG-KEY-lab\n").count(), 6);
    }
}
