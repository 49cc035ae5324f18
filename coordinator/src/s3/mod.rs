//! Buckets of S3-compatible storage.
//!
//! Owns how a bucket is addressed and signed in to, the few requests that the farm makes of one, and
//! the probe that shows whether a store keeps two writers apart. It must not know what the objects
//! mean. Files from the top: `open` makes a [`Bucket`] of a [`BucketAddress`] and [`S3Settings`],
//! and runs the probe of `probe`.

mod address;
mod bucket;
mod credentials;
mod open;
mod probe;

pub use address::BucketAddress;
pub use bucket::{Bucket, BucketError, Condition, FoundObject, ObjectVersion};
pub use open::{S3Settings, open};
