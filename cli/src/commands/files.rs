//! `rpmfarm files`: the kept files of failed attempts, as config.log.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use rpmfarm_core::kept_files::check_path;
use rpmfarm_proto::v1::{BuildFile, ReadFileRequest};
use serde::Serialize;

use super::Session;
use crate::exit::{Error, Exit};
use crate::show::table::{Column, cell, column, number, table};
use crate::show::{escape, size};

/// The columns of the list; a path is never cut, so that it can be copied.
const COLUMNS: [Column; 4] = [
    column("ATTEMPT").rank(1),
    column("ARCH").rank(2),
    column("SIZE").rank(3),
    column("PATH").wrapped(),
];

/// Which files, and what to do with them.
#[derive(Debug, Args)]
#[command(after_help = "\
The target's `keep_on_failure` selects the files that are kept. With --get the file is written byte
by byte to standard output; with --out all files, or those that --get names, are written below a
directory, those of each attempt in one of its own.

Examples:
  rpmfarm files 7
  rpmfarm files 7 --get config.log | less
  rpmfarm files 7 --out failed-7
  rpmfarm files 7 --json")]
pub(crate) struct Options {
    /// Number of the build
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    build: i64,
    /// A file, by its path or the end of that; of several the one of the newest attempt
    #[arg(long, value_name = "PATH")]
    get: Option<String>,
    /// Write files below this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The files of a build as JSON.
#[derive(Debug, Serialize)]
struct FilesDocument {
    build: i64,
    files: Vec<FileDocument>,
}

/// A file.
#[derive(Debug, Serialize)]
struct FileDocument {
    /// The attempt that left it.
    attempt: i64,
    /// srpm or build.
    kind: String,
    arch: String,
    /// Below rpm's build directory.
    path: String,
    size: u64,
    /// SHA-256.
    digest: String,
}

pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let build = options.build;
    let mut files = session.client.files(build).await?;
    if let Some(wanted) = &options.get {
        files.retain(|file| is_meant(wanted, &file.path));
        if files.is_empty() {
            return Err(Error::NotFound(format!(
                "build {build} has no kept file {wanted} (rpmfarm files {build})"
            )));
        }
        if options.out.is_none() {
            files.truncate(1);
        }
    }
    match (&options.out, &options.get) {
        (Some(directory), _) => {
            for file in &files {
                let to = place(directory, file)?;
                fetch(&mut session, build, file, &mut create(&to)?).await?;
                session.out.line(&escape::line(&to.display().to_string()))?;
            }
        }
        (None, Some(_)) => {
            if session.out.tty {
                // On a terminal, control characters are escaped.
                let mut bytes = Vec::new();
                fetch(&mut session, build, &files[0], &mut bytes).await?;
                for line in String::from_utf8_lossy(&bytes).lines() {
                    session.out.line(&escape::line(line))?;
                }
            } else {
                fetch(&mut session, build, &files[0], &mut std::io::stdout()).await?;
            }
        }
        (None, None) => list(build, &files, &session)?,
    }
    Ok(Exit::Done)
}

/// Whether a file has this path, or a path with this end.
fn is_meant(wanted: &str, path: &str) -> bool {
    path == wanted || path.strip_suffix(wanted).is_some_and(|rest| rest.ends_with('/'))
}

fn list(build: i64, files: &[BuildFile], session: &Session) -> Result<(), Error> {
    let out = &session.out;
    if out.json {
        let file = |file: &BuildFile| FileDocument {
            attempt: file.attempt,
            kind: file.kind.clone(),
            arch: file.arch.clone(),
            path: file.path.clone(),
            size: file.size,
            digest: file.digest.clone(),
        };
        return out.document(&FilesDocument { build, files: files.iter().map(file).collect() });
    }
    if files.is_empty() {
        return out.line(&format!(
            "no files were kept of build {build}: none of its attempts failed while building, or \
             none left what `keep_on_failure` of the target names"
        ));
    }
    let row = |file: &BuildFile| {
        vec![
            number(file.attempt),
            cell(&file.arch),
            number(size::bytes(file.size)),
            cell(&file.path),
        ]
    };
    let rows: Vec<_> = files.iter().map(row).collect();
    out.text(&table(out, &COLUMNS, &rows))
}

/// The path of a written file: always below the directory, whatever path the farm sends.
fn place(directory: &Path, file: &BuildFile) -> Result<PathBuf, Error> {
    let arch = file.arch.as_str();
    check_path(&file.path)
        .and_then(|()| check_path(arch))
        .map_err(|error| Error::Farm(error.to_string()))?;
    Ok(directory.join(format!("{arch}-{}", file.attempt)).join(&file.path))
}

fn create(path: &Path) -> Result<fs::File, Error> {
    let failed = |error| Error::Usage(format!("cannot write {}: {error}", path.display()));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::File::create(path).map_err(failed)
}

async fn fetch(
    session: &mut Session,
    build: i64,
    file: &BuildFile,
    to: &mut impl std::io::Write,
) -> Result<(), Error> {
    let request = ReadFileRequest { build, attempt: file.attempt, path: file.path.clone() };
    let mut stream = session.client.read_file(request).await?;
    let mut left = file.size;
    loop {
        let piece = stream.message().await.map_err(|status| session.client.explain(&status))?;
        let Some(piece) = piece else { break };
        left = left.saturating_sub(piece.data.len() as u64);
        to.write_all(&piece.data).map_err(Error::Output)?;
    }
    to.flush().map_err(Error::Output)?;
    if left > 0 {
        return Err(Error::Farm(format!(
            "{} was received without its last {left} bytes",
            file.path
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_the_end_of_its_path_and_stays_below_the_directory() {
        assert!(is_meant("config.log", "x-1/config.log"));
        assert!(is_meant("x-1/config.log", "x-1/config.log"));
        assert!(!is_meant("config.log", "x-1/myconfig.log"));
        let file = |arch: &str, path: &str| BuildFile {
            attempt: 3,
            arch: arch.into(),
            path: path.into(),
            ..BuildFile::default()
        };
        let at = place(Path::new("out"), &file("x86_64", "x-1/config.log")).expect("is good");
        assert_eq!(at, Path::new("out/x86_64-3/x-1/config.log"));
        for (arch, path) in [("x86_64", "../x"), ("x86_64", "/x"), ("..", "x")] {
            assert!(place(Path::new("out"), &file(arch, path)).is_err(), "{arch} {path}");
        }
    }
}
