//! The requests that the farm makes of a bucket. Keys are relative to the bucket's address.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3;
use object_store::buffered::BufWriter;
use object_store::path::Path as ObjectPath;
use object_store::signer::{Method, Signer as _};
use object_store::{
    Error, GetOptions, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion,
};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use url::Url;

use super::address::BucketAddress;

/// The size of the parts in which a large file is uploaded, in bytes, and so what an upload takes of
/// memory. S3 allows 10,000 parts, so a file may have 160 GB.
const PART: usize = 16 << 20;

/// A bucket. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<AmazonS3>,
    address: BucketAddress,
    /// Whether the store honours preconditions.
    conditional: bool,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.address.to_string()).finish()
    }
}

/// The version of an object's content (its `ETag`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion(UpdateVersion);

/// When an object is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Whatever there is.
    Always,
    /// When there is no such object.
    Absent,
    /// When the object has this version still.
    Unchanged(ObjectVersion),
}

impl Condition {
    /// The object must be as it was found: absent, or of that version.
    #[must_use]
    pub fn as_found(version: Option<ObjectVersion>) -> Self {
        version.map_or(Self::Absent, Self::Unchanged)
    }
}

/// An object as a listing has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundObject {
    /// Its key, relative to the bucket's address.
    pub key: String,
    /// In bytes.
    pub size: u64,
    pub modified: SystemTime,
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The object is not as the writer found it.
    #[error("{object}: another writer has changed it meanwhile")]
    Changed { object: String },
    /// There is no such object.
    #[error("{object}: there is no such object")]
    Missing { object: String },
    /// It has more bytes than its reader takes.
    #[error("{object}: longer than {limit} bytes")]
    TooLong { object: String, limit: u64 },
    /// A key that no object can have.
    #[error("`{0}` cannot be the key of an object")]
    Key(String),
    /// The store, or the way to it, failed.
    #[error("{object}: {source}")]
    Store { object: String, source: Box<Error> },
    /// An upload broke off.
    #[error("{object}: {source}")]
    Upload { object: String, source: io::Error },
    /// The file to upload cannot be read.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The threads for requests have ended.
    #[error("the request was interrupted")]
    Interrupted,
}

type Result<T, E = BucketError> = std::result::Result<T, E>;

impl Bucket {
    pub(super) const fn new(store: Arc<AmazonS3>, address: BucketAddress) -> Self {
        Self { store, address, conditional: true }
    }

    /// The same bucket in a store that ignores preconditions: they are compared before the request.
    pub(super) fn unconditional(self) -> Self {
        Self { conditional: false, ..self }
    }

    #[must_use]
    pub const fn address(&self) -> &BucketAddress {
        &self.address
    }

    /// Writes a small object. Returns its version.
    ///
    /// # Errors
    /// [`BucketError::Changed`] when the condition does not hold.
    pub async fn put(
        &self,
        key: &str,
        bytes: impl Into<Bytes>,
        condition: &Condition,
    ) -> Result<ObjectVersion> {
        let mode = match condition {
            Condition::Always => PutMode::Overwrite,
            _ if !self.conditional => {
                self.compare(key, condition).await?;
                PutMode::Overwrite
            }
            Condition::Absent => PutMode::Create,
            Condition::Unchanged(version) => PutMode::Update(version.0.clone()),
        };
        let is_update = matches!(mode, PutMode::Update(_));
        let path = self.path(key)?;
        let bytes: Bytes = bytes.into();
        match self.store.put_opts(&path, bytes.into(), PutOptions::from(mode)).await {
            Ok(put) => Ok(ObjectVersion(put.into())),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                Err(BucketError::Changed { object: self.name(key) })
            }
            // The object that was to be replaced is gone.
            Err(Error::NotFound { .. }) if is_update => {
                Err(BucketError::Changed { object: self.name(key) })
            }
            Err(error) => Err(self.failed(key, error)),
        }
    }

    /// Compares an object with what its writer found, where the store does not.
    async fn compare(&self, key: &str, condition: &Condition) -> Result<()> {
        let found = self.head(key).await?.map(|(_, version)| version);
        if Condition::as_found(found) == *condition {
            Ok(())
        } else {
            Err(BucketError::Changed { object: self.name(key) })
        }
    }

    /// Uploads a file, in parts when it is large: it appears whole or not at all. Returns its size.
    ///
    /// # Errors
    /// When the file cannot be read, or the store fails.
    pub async fn upload(&self, key: &str, file: &Path) -> Result<u64> {
        let of_file = |source| BucketError::File { path: file.to_owned(), source };
        let mut source = File::open(file).await.map_err(of_file)?;
        let broken = |source| BucketError::Upload { object: self.name(key), source };
        let mut writer = BufWriter::with_capacity(self.store.clone(), self.path(key)?, PART)
            .with_max_concurrency(1);
        match tokio::io::copy(&mut source, &mut writer).await {
            Ok(size) => writer.shutdown().await.map_err(broken).map(|()| size),
            Err(error) => {
                // Best effort: a store removes unfinished uploads by a rule of the bucket, too.
                let _ = writer.abort().await;
                Err(broken(error))
            }
        }
    }

    /// Reads a small object whole; `None` when the object does not exist.
    ///
    /// # Errors
    /// [`BucketError::TooLong`] over `limit` bytes.
    pub async fn get_small(&self, key: &str, limit: u64) -> Result<Option<(Bytes, ObjectVersion)>> {
        let found = match self.store.get_opts(&self.path(key)?, GetOptions::default()).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed(key, error)),
        };
        if found.meta.size > limit {
            return Err(BucketError::TooLong { object: self.name(key), limit });
        }
        let (e_tag, version) = (found.meta.e_tag.clone(), found.meta.version.clone());
        let bytes = found.bytes().await.map_err(|error| self.failed(key, error))?;
        Ok(Some((bytes, ObjectVersion(UpdateVersion { e_tag, version }))))
    }

    /// The size and version of an object; `None` when it does not exist.
    pub async fn head(&self, key: &str) -> Result<Option<(u64, ObjectVersion)>> {
        match self.store.head(&self.path(key)?).await {
            Ok(meta) => {
                let version = UpdateVersion { e_tag: meta.e_tag, version: meta.version };
                Ok(Some((meta.size, ObjectVersion(version))))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(key, error)),
        }
    }

    /// Reads an object piece by piece.
    ///
    /// # Errors
    /// [`BucketError::Missing`] when the object does not exist.
    pub async fn download(&self, key: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        let object = self.name(key);
        match self.store.get_opts(&self.path(key)?, GetOptions::default()).await {
            Ok(found) => {
                let failed = move |source: Error| BucketError::Store {
                    object: object.clone(),
                    source: Box::new(source),
                };
                Ok(found.into_stream().map_err(failed).boxed())
            }
            Err(Error::NotFound { .. }) => Err(BucketError::Missing { object }),
            Err(error) => Err(self.failed(key, error)),
        }
    }

    /// All objects below a folder of keys.
    ///
    /// # Errors
    /// As items of the stream.
    pub fn list(&self, folder: &str) -> Result<BoxStream<'static, Result<FoundObject>>> {
        let object = self.name(folder);
        let prefix = self.address.prefix.clone();
        let found = self.store.list(Some(&self.path(folder)?)).map(move |found| {
            let meta = found.map_err(|source| BucketError::Store {
                object: object.clone(),
                source: Box::new(source),
            })?;
            let key = meta.location.as_ref();
            let key = key.strip_prefix(prefix.as_str()).unwrap_or(key).trim_start_matches('/');
            Ok(FoundObject {
                key: key.to_owned(),
                size: meta.size,
                modified: meta.last_modified.into(),
            })
        });
        Ok(found.boxed())
    }

    /// Deletes an object, if there is one.
    pub async fn delete(&self, key: &str) -> Result<()> {
        match self.store.delete(&self.path(key)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(key, error)),
        }
    }

    /// The address at which anybody may read an object for some time.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub async fn address_to_read(&self, key: &str, lasts: Duration) -> Result<Url> {
        self.presigned(Method::GET, key, lasts).await
    }

    /// The address at which anybody may write an object for some time, as often as they like.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub async fn address_to_write(&self, key: &str, lasts: Duration) -> Result<Url> {
        self.presigned(Method::PUT, key, lasts).await
    }

    async fn presigned(&self, method: Method, key: &str, lasts: Duration) -> Result<Url> {
        let signed = self.store.signed_url(method, &self.path(key)?, lasts).await;
        signed.map_err(|error| self.failed(key, error))
    }

    fn path(&self, key: &str) -> Result<ObjectPath> {
        let whole = match self.address.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        };
        ObjectPath::parse(&whole).map_err(|_| BucketError::Key(rpmfarm_core::name::shown(key)))
    }

    fn name(&self, key: &str) -> String {
        format!("{}/{key}", self.address)
    }

    fn failed(&self, key: &str, error: Error) -> BucketError {
        BucketError::Store { object: self.name(key), source: Box::new(error) }
    }
}
