//! What the columns of the databases stand for, so that rows read themselves.
//!
//! Owns the types at the border of the store: booleans, sizes, and text that is something else. It must
//! not know a table but by the name that an error tells.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{StoreError, parsed, unjson};

/// A boolean of the databases, or a count of which matters only whether it is 0. For rows that derive
/// how they are read: `#[sqlx(try_from = "Flag")]`.
#[derive(Debug, Clone, Copy, sqlx::Type)]
#[sqlx(transparent)]
pub(super) struct Flag(i64);

impl From<Flag> for bool {
    fn from(flag: Flag) -> Self {
        flag.0 != 0
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

    /// A size in bytes or MiB.
    pub(super) fn size(&self, column: &str) -> sqlx::Result<u64> {
        Ok(self.number(column)?.unsigned_abs())
    }

    /// Text as what it must be.
    pub(super) fn parsed<T: FromStr>(
        &self,
        column: &str,
        expected: &'static str,
    ) -> sqlx::Result<T> {
        parsed(self.table, expected, &self.string(column)?).map_err(decode_error)
    }

    /// The same where the empty text stands for none.
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

    /// JSON as what it must be.
    pub(super) fn json<T: DeserializeOwned>(
        &self,
        column: &str,
        expected: &'static str,
    ) -> sqlx::Result<T> {
        unjson(self.table, expected, &self.string(column)?).map_err(decode_error)
    }
}

/// The error as a row's reading gives it; [`StoreError`] takes it out again.
fn decode_error(error: StoreError) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
