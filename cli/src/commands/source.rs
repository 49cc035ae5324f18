//! `rpmfarm source`: the sources of a build, and how they differ from those of another.

use clap::{Args, Subcommand};
use rpmfarm_proto::v1::{DiffSourcesRequest, GetSourceRequest, ScriptedBuild, Source, SourceDiff};

use super::Session;
use crate::document::source::{SourceDiffDocument, SourceRecordDocument};
use crate::exit::{Error, Exit};
use crate::out::StandardOutput;
use crate::show::table::{Column, cell, column, number, table};
use crate::show::{escape, size, wrap};

/// The columns of the files of a build.
const COLUMNS: [Column; 4] = [
    column("FILE").cut(20),
    column("SIZE").rank(1),
    column("FROM").rank(2).cut(16),
    column("DIGEST").rank(3).cut(16),
];

/// What to show.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm source show 7            commits, modifications, tarballs with their digests
  rpmfarm source diff 7            what changed since the build before of the same package
  rpmfarm source diff 3 7 | less   what changed from build 3 to build 7")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: SourceCommand,
}

#[derive(Debug, Subcommand)]
enum SourceCommand {
    /// Show the sources of a build, and where each file came from
    #[command(after_help = "Examples:\n  rpmfarm source show 7")]
    Show {
        /// Number of the build
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        build: i64,
    },
    /// Show the differences between two builds: spec, patches, tarballs, changelog
    #[command(after_help = "Examples:\n  rpmfarm source diff 3 7")]
    Diff {
        /// Number of the build, or of the older one of two
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        build: i64,
        /// Number of the newer build
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        newer: Option<i64>,
    },
}

/// Sends the request, and shows the answer.
pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    match options.what {
        SourceCommand::Show { build } => {
            let source = session.client.source(GetSourceRequest { build }).await?;
            if session.out.json {
                session.out.document(&SourceRecordDocument::from(&source))?;
            } else {
                show(&source, &session.out)?;
            }
        }
        SourceCommand::Diff { build, newer } => {
            let request = match newer {
                Some(newer) => DiffSourcesRequest { build: newer, older: build },
                None => DiffSourcesRequest { build, older: 0 },
            };
            let diff = session.client.diff_sources(request).await?;
            if session.out.json {
                session.out.document(&SourceDiffDocument::from(&diff))?;
            } else {
                print(&diff, &session.out)?;
            }
        }
    }
    Ok(Exit::Done)
}

fn show(source: &Source, out: &StandardOutput) -> Result<(), Error> {
    let width = out.width();
    let line =
        |name: &str, text: &str| out.text(&wrap::hanging(&format!("{name:<13} "), text, 14, width));
    line("build", &format!("{} of {} for {}", source.build, source.package, source.target))?;
    line("asked by", &source.submitter)?;
    line("dist-git", &source.url)?;
    let at =
        if source.git_ref.is_empty() { String::new() } else { format!(" ({})", source.git_ref) };
    line("commit", &format!("{}{at}: {}", source.commit, source.subject))?;
    match &source.modification {
        Some(modification) => {
            line("modified by", &format!("{} {}", modification.url, modification.config))?;
            line("commit", &format!("{}: {}", modification.commit, modification.subject))?;
        }
        None => line("modified by", "nothing")?,
    }
    for script in &source.scripts {
        line("script", &format!("{script}, run in the sandbox"))?;
    }
    if source.bump {
        line("release", "raised, for a rebuild without a change")?;
    }
    if !source.srpm.is_empty() {
        line("SRPM", &source.srpm)?;
    }
    let rows = source.files.iter().map(|file| {
        let digest = if file.checksum.is_empty() { &file.digest } else { &file.checksum };
        vec![cell(&file.name), number(size::bytes(file.size)), cell(&file.from), cell(digest)]
    });
    out.text(&table(out, &COLUMNS, &rows.collect::<Vec<_>>()))
}

fn print(diff: &SourceDiff, out: &StandardOutput) -> Result<(), Error> {
    for line in notes(diff) {
        out.line(&format!("# {line}"))?;
    }
    for file in &diff.files {
        out.text(&escape::lines(&file.diff))?;
    }
    Ok(())
}

/// Notes on a diff, which are shown before it.
fn notes(diff: &SourceDiff) -> Vec<String> {
    let mut notes = vec![format!("from build {} to build {}", diff.older, diff.newer)];
    for ScriptedBuild { build, scripts } in &diff.scripted {
        notes.push(format!(
            "build {build} ran scripts on its sources ({}): they are compared as they were before \
             the first of them, and its SRPM has what came out",
            escape::line(&scripts.join(", "))
        ));
    }
    if diff.files.is_empty() {
        let so_far = if diff.scripted.is_empty() { "" } else { " before the scripts" };
        notes.push(format!("nothing differs{so_far}"));
    } else {
        notes.extend(diff.changelog.iter().map(|line| escape::line(line)));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_says_what_it_does_not_show() {
        let mut diff = SourceDiff { older: 1, newer: 2, ..SourceDiff::default() };
        assert_eq!(notes(&diff)[1..], ["nothing differs"]);
        diff.scripted.push(ScriptedBuild { build: 2, scripts: vec!["a.sh".into(), "b.sh".into()] });
        let lines = notes(&diff);
        assert!(
            lines[1].starts_with("build 2 ran scripts on its sources (a.sh, b.sh)"),
            "{lines:?}"
        );
        assert_eq!(lines[2], "nothing differs before the scripts");
        let json = serde_json::to_value(SourceDiffDocument::from(&diff)).unwrap();
        assert_eq!(json["complete"], false);
        assert_eq!(json["scripted"][0]["scripts"][1], "b.sh");
    }
}
