//! Types of the databases' columns, by which rows read themselves.
//!
//! Owns the types at the border of the store: booleans, ids, times, sizes, and text with a format.
//! It must not know a table except by the name that an error contains.
//!
//! A row that derives how it is read has `#[sqlx(try_from = "i64")]` at ids and times, for a time
//! under the name of its column (`#[sqlx(rename = "at_us", try_from = "i64")]`): the unit is in the
//! name of the column, and in the type of the field.

use std::str::FromStr;
use std::time::Duration;

use rpmfarm_core::{BatchId, BuildId, PushId, Timestamp, time};
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{StoreError, parsed, unjson};

/// A boolean of the databases, or a count that is only compared with 0. For rows that derive how
/// they are read: `#[sqlx(try_from = "Flag")]`.
#[derive(Debug, Clone, Copy, sqlx::Type)]
#[sqlx(transparent)]
pub(super) struct Flag(i64);

impl From<Flag> for bool {
    fn from(flag: Flag) -> Self {
        flag.0 != 0
    }
}

/// A number that the databases store as 0 when it is absent. For rows that derive how they are
/// read: `#[sqlx(try_from = "OrNone")]`.
#[derive(Debug, Clone, Copy, sqlx::Type)]
#[sqlx(transparent)]
pub(super) struct OrNone(i64);

impl OrNone {
    fn get<T: From<i64>>(self) -> Option<T> {
        (self.0 != 0).then(|| self.0.into())
    }
}

impl From<OrNone> for Option<Timestamp> {
    fn from(number: OrNone) -> Self {
        number.get()
    }
}

impl From<OrNone> for Option<BuildId> {
    fn from(number: OrNone) -> Self {
        number.get()
    }
}

impl From<OrNone> for Option<BatchId> {
    fn from(number: OrNone) -> Self {
        number.get()
    }
}

impl From<OrNone> for Option<PushId> {
    fn from(number: OrNone) -> Self {
        number.get()
    }
}

impl From<OrNone> for Option<Duration> {
    fn from(number: OrNone) -> Self {
        number.get::<Span>().map(Duration::from)
    }
}

/// A span of time in microseconds. For rows that derive how they are read:
/// `#[sqlx(rename = "took_us", try_from = "Span")]`.
#[derive(Debug, Clone, Copy, sqlx::Type)]
#[sqlx(transparent)]
pub(super) struct Span(i64);

impl From<i64> for Span {
    fn from(us: i64) -> Self {
        Self(us)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        time::span(span.0)
    }
}

/// A row, and the table that an error names.
#[derive(Clone, Copy)]
pub(super) struct Columns<'r> {
    table: &'static str,
    row: &'r AnyRow,
}

impl<'r> Columns<'r> {
    pub(super) const fn of(table: &'static str, row: &'r AnyRow) -> Self {
        Self { table, row }
    }

    pub(super) fn number(&self, column: &str) -> sqlx::Result<i64> {
        self.row.try_get(column)
    }

    pub(super) fn string(&self, column: &str) -> sqlx::Result<String> {
        self.row.try_get(column)
    }

    /// A boolean, or whether a count is not 0.
    pub(super) fn flag(&self, column: &str) -> sqlx::Result<bool> {
        Ok(self.number(column)? != 0)
    }

    pub(super) fn id<T: From<i64>>(&self, column: &str) -> sqlx::Result<T> {
        self.number(column).map(T::from)
    }

    /// A point in time.
    pub(super) fn time(&self, column: &str) -> sqlx::Result<Timestamp> {
        self.id(column)
    }

    /// An id or a point in time, which the databases store as 0 when it is absent.
    pub(super) fn or_none<T: From<i64>>(&self, column: &str) -> sqlx::Result<Option<T>> {
        self.number(column).map(|number| OrNone(number).get())
    }

    /// A size in bytes or MiB.
    pub(super) fn size(&self, column: &str) -> sqlx::Result<u64> {
        Ok(self.number(column)?.unsigned_abs())
    }

    /// Parses text.
    pub(super) fn parsed<T: FromStr>(
        &self,
        column: &str,
        expected: &'static str,
    ) -> sqlx::Result<T> {
        parsed(self.table, expected, &self.string(column)?).map_err(decode_error)
    }

    /// The same where the empty text stands for `None`.
    pub(super) fn parsed_or_none<T: FromStr>(
        &self,
        column: &str,
        expected: &'static str,
    ) -> sqlx::Result<Option<T>> {
        match self.string(column)? {
            text if text.is_empty() => Ok(None),
            _ => self.parsed(column, expected).map(Some),
        }
    }

    /// Parses JSON.
    pub(super) fn json<T: DeserializeOwned>(
        &self,
        column: &str,
        expected: &'static str,
    ) -> sqlx::Result<T> {
        unjson(self.table, expected, &self.string(column)?).map_err(decode_error)
    }
}

/// A store error as the error of reading a row; [`StoreError`] converts it back.
fn decode_error(error: StoreError) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
