//! Explains errors of opening the database to the operator, with the remedy.
//!
//! Owns the words; an address is shown without its password.

use std::io::Read as _;

use sqlx::migrate::MigrateError;
use url::Url;

use super::{Dialect, StoreError};

/// Why the database at an address cannot be opened, with the remedy.
#[must_use]
pub fn explain(error: &StoreError, url: &str) -> String {
    let place = shown(url);
    match error {
        StoreError::Database(sqlx::Error::Database(refusal))
        | StoreError::Schema(
            MigrateError::Execute(sqlx::Error::Database(refusal))
            | MigrateError::ExecuteMigration(sqlx::Error::Database(refusal), _),
        ) => refused(&refusal.code().unwrap_or_default(), refusal.message(), &place, url),
        StoreError::Schema(MigrateError::VersionMissing(version)) => format!(
            "the database {place} was made by a newer rpmfarm: this one does not know its schema \
             {version}; install the version that made it, or a later one"
        ),
        StoreError::Schema(MigrateError::VersionMismatch(version)) => format!(
            "the database {place} was made by another build of rpmfarm, whose schema {version} \
             differs; install the one that made it"
        ),
        StoreError::Database(sqlx::Error::Configuration(_)) => format!(
            "the address of the database cannot be used ({place}); expected sqlite:///PATH or \
             postgres://USER[:PASSWORD]@HOST[:PORT]/NAME"
        ),
        StoreError::Database(sqlx::Error::Tls(_)) => format!(
            "no TLS connection to the database {place}; the server must have TLS, or the address \
             ends with ?sslmode=disable"
        ),
        error if error.is_outage() && dialect(url) == Dialect::Postgres => format!(
            "the database at {place} does not answer; is PostgreSQL running there, and does it \
             listen on this address (listen_addresses, port, firewall)?"
        ),
        // The pool's error says only that no connection was made in time.
        _ if is_another_file(url) => {
            format!("{place} is not an SQLite database; name another file")
        }
        _ => format!("cannot open the database {place}: {error}"),
    }
}

/// Why a database refuses a connection, by the code and the message of its error.
fn refused(code: &str, message: &str, place: &str, url: &str) -> String {
    let name = Url::parse(url).map(|url| url.path().trim_start_matches('/').to_owned());
    let name = name.unwrap_or_default();
    match code {
        "28P01" | "28000" => format!(
            "the database at {place} refuses the user or the password; correct --database \
             (RPMFARM_DATABASE) postgres://USER:PASSWORD@HOST/NAME, or what pg_hba.conf of the \
             server lets in"
        ),
        "3D000" => format!(
            "there is no database {name} at {place}; make it on the server: createdb --owner USER \
             {name}"
        ),
        "42501" => format!(
            "the user of {place} may not make tables; give it the database: ALTER DATABASE {name} \
             OWNER TO USER"
        ),
        "53300" => format!(
            "the server of {place} has no connection left; raise its max_connections (a \
             coordinator uses about 12)"
        ),
        "14" => format!(
            "the file of {place} cannot be opened; its directory must be there and belong to the \
             coordinator's user"
        ),
        "26" => format!("{place} is not an SQLite database; name another file"),
        "8" => format!("{place} can only be read; it must belong to the coordinator's user"),
        _ => match orphans(message) {
            Some((table, column, owner)) => format!(
                "the database {place} has rows of {table} whose {column} is not in {owner}, which \
                 nothing of rpmfarm writes; remove them, or bring back what they belong to, and \
                 start again (nothing was changed)"
            ),
            None => format!("cannot open the database {place}: {message} ({code})"),
        },
    }
}

/// The table, the column and the owner table, when migration 38 refused rows without an owner: they
/// are in the name of the constraint, `orphans__TABLE__COLUMN__OWNER`.
fn orphans(message: &str) -> Option<(&str, &str, &str)> {
    let (_, names) = message.split_once("orphans__")?;
    let end = names.find(|char: char| !char.is_ascii_lowercase() && char != '_');
    let mut names = names[..end.unwrap_or(names.len())].split("__");
    Some((names.next()?, names.next()?, names.next()?))
}

/// Whether the file of an SQLite address is not a database. A database begins with this text:
/// https://www.sqlite.org/fileformat.html, section 1.3.
fn is_another_file(url: &str) -> bool {
    let Some(path) = url.strip_prefix("sqlite://") else { return false };
    let mut begin = [0; 16];
    let read = std::fs::File::open(path.split('?').next().unwrap_or(path))
        .and_then(|mut file| file.read_exact(&mut begin));
    read.is_ok() && &begin != b"SQLite format 3\0"
}

fn dialect(url: &str) -> Dialect {
    if url.starts_with("postgres") { Dialect::Postgres } else { Dialect::Sqlite }
}

/// An address without its password.
fn shown(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        return url.split_once(':').map_or("?", |(scheme, _)| scheme).to_owned() + ":…";
    };
    if dialect(url) == Dialect::Sqlite {
        return url.to_owned();
    }
    let _ = parsed.set_password(None);
    parsed.set_query(None);
    parsed.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_told() {
        assert_eq!(
            shown("postgres://u:geheim@db:5/farm?password=geheim"),
            "postgres://u@db:5/farm"
        );
        assert_eq!(shown("sqlite:///var/lib/farm.db"), "sqlite:///var/lib/farm.db");
        assert_eq!(shown("postgres://u:geheim@db:port/farm"), "postgres:…");
    }
}
