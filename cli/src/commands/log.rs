//! `rpmfarm log`: the log of a build, from the start, and on while it is written.

use std::time::Duration;

use clap::{Args, ValueEnum};
use rpmfarm_core::task::{LogName, TaskKind};
use rpmfarm_proto::v1::ReadLogRequest;

use super::Session;
use crate::client::Client;
use crate::config::Settings;
use crate::document::LogLineDocument;
use crate::exit::{Error, Exit};
use crate::out::{self, StandardOutput};
use crate::show::escape;

/// The pause before a coordinator that was lost while a log is followed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Which log.
#[derive(Debug, Args)]
#[command(after_help = "\
Into a file or a pipe the log is written byte by byte as it is; on a terminal its control
characters are shown, not obeyed. With --json each line is an object.

Examples:
  rpmfarm log 7
  rpmfarm log 7 -f --arch aarch64
  rpmfarm log 7 --root              how the root was made
  rpmfarm log 7 --kind srpm > srpm.log")]
pub(crate) struct Options {
    /// Number of the build
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    build: i64,
    /// Follow the log until it ends
    #[arg(short, long)]
    follow: bool,
    /// Kind of the task [default: the newest that has a log]
    #[arg(long)]
    kind: Option<TaskKindFilter>,
    /// Architecture [default: the first that has a log]
    #[arg(long)]
    arch: Option<String>,
    /// The log of making the root, instead of that of the build
    #[arg(long)]
    root: bool,
}

/// The kinds of tasks: the one that makes the SRPM, and those that build the packages from it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum TaskKindFilter {
    Srpm,
    Build,
    /// The pass with rpm's target `noarch`, of packages that have one.
    Noarch,
}

impl TaskKindFilter {
    /// The word on the wire.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Srpm => TaskKind::Srpm.as_str(),
            Self::Build => TaskKind::Build.as_str(),
            Self::Noarch => TaskKind::Noarch.as_str(),
        }
    }
}

pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let mut request = ReadLogRequest {
        build: options.build,
        kind: options.kind.map(TaskKindFilter::word).unwrap_or_default().into(),
        arch: options.arch.unwrap_or_default(),
        log: if options.root { LogName::Root } else { LogName::Build }.to_string(),
        offset: 0,
        follow: options.follow,
    };
    let mut printer = Printer::new(session.out);
    loop {
        match pieces(&mut session.client, &mut request, &mut printer).await {
            Err(Error::Unreachable(_)) if request.follow => {
                let server = &session.settings.server;
                out::note(&format!(
                    "rpmfarm: lost the coordinator at {server}; trying again until it is back"
                ));
                session.client = reconnect(&session.settings).await?;
            }
            result => {
                result?;
                printer.finish()?;
                return Ok(Exit::Done);
            }
        }
    }
}

/// Prints the pieces, and keeps in the request how far it got.
async fn pieces(
    client: &mut Client,
    request: &mut ReadLogRequest,
    printer: &mut Printer,
) -> Result<(), Error> {
    let mut stream = client.log(request.clone()).await?;
    loop {
        let piece = stream.message().await.map_err(|status| client.explain(&status))?;
        let Some(piece) = piece else { return Ok(()) };
        if piece.offset != request.offset {
            return Err(Error::Farm(format!(
                "the coordinator sent the log from byte {} where {} was next; try again",
                piece.offset, request.offset
            )));
        }
        request.offset += piece.data.len() as u64;
        printer.print(&piece.data)?;
    }
}

async fn reconnect(settings: &Settings) -> Result<Client, Error> {
    loop {
        tokio::time::sleep(PAUSE).await;
        match Client::connect(settings).await {
            Err(Error::Unreachable(_)) => {}
            result => return result,
        }
    }
}

/// Prints the bytes of a log in the form that suits the output.
enum Printer {
    /// Unchanged.
    Raw(StandardOutput),
    /// Escaped for a terminal.
    Terminal(StandardOutput, escape::StreamEscaper),
    /// As JSON objects, one for each line: the offset that was printed, and the incomplete last
    /// line.
    Objects(StandardOutput, u64, Vec<u8>),
}

impl Printer {
    fn new(out: StandardOutput) -> Self {
        match out {
            StandardOutput { json: true, .. } => Self::Objects(out, 0, Vec::new()),
            StandardOutput { tty: true, .. } => {
                Self::Terminal(out, escape::StreamEscaper::default())
            }
            _ => Self::Raw(out),
        }
    }

    fn print(&mut self, data: &[u8]) -> Result<(), Error> {
        match self {
            Self::Raw(out) => out.bytes(data),
            Self::Terminal(out, stream) => out.text(&stream.push(data)),
            Self::Objects(out, offset, rest) => {
                rest.extend_from_slice(data);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    object(out, *offset, &line[..end])?;
                    *offset += line.len() as u64;
                }
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        match self {
            Self::Terminal(out, stream) => out.text(&stream.finish()),
            Self::Objects(out, offset, rest) if !rest.is_empty() => object(out, *offset, rest),
            _ => Ok(()),
        }
    }
}

fn object(out: &StandardOutput, offset: u64, line: &[u8]) -> Result<(), Error> {
    out.object(&LogLineDocument { offset, line: String::from_utf8_lossy(line).into_owned() })
}
