//! Shows the generation of a channel in a bucket.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;

use super::super::current_generation;
use super::super::error::{PublishError, io_at};
use super::super::layout::{ChannelLayout, key_name};
use super::pointer::{ChannelPointer, PointerError};
use super::signatures::joined;
use super::tree::{NamedFile, Repository, repositories};
use crate::blocking;
use crate::s3::{Bucket, BucketError, Condition, ObjectVersion};

/// Uploads at once.
const AT_ONCE: usize = 8;

/// The largest page or signature that is read from a bucket, in bytes.
const LARGEST: u64 = 1 << 20;

/// Shows channels in one bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BucketView {
    repos: PathBuf,
    bucket: Bucket,
    /// The random name of this farm.
    farm: Arc<str>,
    /// The address under which clients reach the farm's own tree, and the bucket's.
    addresses: Option<(Arc<str>, Arc<str>)>,
    /// The objects below each channel with their sizes, as this publisher last left them.
    known: Arc<Mutex<HashMap<String, KnownObjects>>>,
}

/// The objects of a channel, while its pointer is of this version.
#[derive(Debug, Clone)]
struct KnownObjects {
    version: ObjectVersion,
    sizes: HashMap<String, u64>,
}

/// What was done for a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewOutcome {
    /// The farm shows no generation of it yet.
    Nothing,
    /// The bucket showed this generation before.
    Unchanged(u64),
    /// The bucket shows this generation now.
    Shown(u64),
}

/// Why a channel is not shown. Clients see what they saw before.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Another farm publishes there.
    #[error(
        "{channel} in {bucket} is published by another farm ({other}); give this farm another \
         prefix, or remove {channel}/generation.json from the bucket if that farm is no more"
    )]
    OtherFarm { channel: String, bucket: String, other: String },
    /// The bucket is ahead of the farm.
    #[error(
        "{channel} in {bucket} shows generation {there}, but the farm only {here}: its data are \
         older than the bucket's; publish above that generation, or remove \
         {channel}/generation.json from the bucket to show the older one"
    )]
    Ahead { channel: String, bucket: String, there: u64, here: u64 },
    /// Another publisher of this farm is at work on it.
    #[error("{channel}: another publisher is at work in the bucket; the next pass looks again")]
    Busy { channel: String },
    /// The signature of a page cannot be read.
    #[error("{key}: {source}")]
    Signature { key: String, source: pgp::errors::Error },
    #[error(transparent)]
    Pointer(PointerError),
    #[error(transparent)]
    Bucket(BucketError),
    /// The farm's own tree cannot be read.
    #[error(transparent)]
    Tree(#[from] PublishError),
}

impl ViewError {
    fn of(channel: &str, error: BucketError) -> Self {
        match error {
            BucketError::Changed { .. } => Self::Busy { channel: channel.to_owned() },
            error => Self::Bucket(error),
        }
    }
}

type Result<T, E = ViewError> = std::result::Result<T, E>;

/// A generation on its way into the bucket.
struct Showing<'a> {
    view: &'a BucketView,
    /// `TARGET/CHANNEL`.
    channel: String,
    generation: u64,
    repositories: Vec<ReadRepository>,
}

/// A repository as it is on disk.
struct ReadRepository {
    path: String,
    page: String,
    signature: String,
    logged: Option<String>,
    files: Vec<NamedFile>,
}

impl BucketView {
    /// A view of the tree `repos` in a bucket, for the farm of this name. `addresses` are those at
    /// which clients reach the tree and the bucket; without them the bucket gets no `.repo` files.
    #[must_use]
    pub fn new(
        repos: impl Into<PathBuf>,
        bucket: Bucket,
        farm: &str,
        addresses: Option<(&str, &str)>,
    ) -> Self {
        let short = |url: &str| Arc::from(url.trim_end_matches('/'));
        Self {
            repos: repos.into(),
            bucket,
            farm: farm.into(),
            addresses: addresses.map(|(tree, bucket)| (short(tree), short(bucket))),
            known: Arc::default(),
        }
    }

    /// Makes the bucket show the generation of a channel that the farm shows. To be repeated after
    /// an error: it continues where it broke off.
    ///
    /// # Errors
    /// When another farm publishes there, another publisher is at work, or disk or bucket fail.
    pub async fn show(&self, target: &str, channel: &str) -> Result<ViewOutcome> {
        let layout = ChannelLayout::new(&self.repos, target, channel)?;
        let Some(here) = current_generation::generation(&layout)? else {
            return Ok(ViewOutcome::Nothing);
        };
        let name = format!("{target}/{channel}");
        let found = ChannelPointer::read(&self.bucket, &name).await.map_err(ViewError::Pointer)?;
        if let Some((pointer, _)) = &found {
            self.check(&name, pointer, here)?;
        }
        let shown = found.as_ref().map_or(0, |(pointer, _)| pointer.generation);
        let is_whole = found.as_ref().is_some_and(|(pointer, _)| pointer.next.is_none());
        let (dir, is_shown) = (layout.generation(here), shown == here && is_whole);
        // What is shown is only tidied, for which the pages are enough.
        let read = move || read(&dir, !is_shown);
        let repositories = blocking::run(read).await.expect("reading a tree does not panic")?;
        let showing = Showing { view: self, channel: name.clone(), generation: here, repositories };
        if is_shown {
            showing.tidy().await?;
            return Ok(ViewOutcome::Unchanged(here));
        }
        let mut known = self.objects(&name, found.as_ref().map(|(_, version)| version)).await?;
        self.put_clients(&layout).await?;
        showing.put_files(&mut known).await?;
        let version = showing.claim(shown, found.map(|(_, version)| version)).await?;
        showing.put_pages().await?;
        let version = showing.point(version).await?;
        self.known.lock().insert(name, KnownObjects { version, sizes: known });
        Ok(ViewOutcome::Shown(here))
    }

    /// Whether this farm may show a generation where a pointer is.
    fn check(&self, channel: &str, pointer: &ChannelPointer, here: u64) -> Result<()> {
        let bucket = self.bucket.address().to_string();
        let channel = channel.to_owned();
        if pointer.farm != *self.farm {
            let other = rpmfarm_core::name::shown(&pointer.farm);
            return Err(ViewError::OtherFarm { channel, bucket, other });
        }
        let there = pointer.generation.max(pointer.next.unwrap_or(0));
        if there > here {
            return Err(ViewError::Ahead { channel, bucket, there, here });
        }
        Ok(())
    }

    /// The objects below a channel with their sizes. They are listed when another publisher may have
    /// written meanwhile.
    async fn objects(
        &self,
        channel: &str,
        version: Option<&ObjectVersion>,
    ) -> Result<HashMap<String, u64>> {
        let known = self.known.lock().remove(channel);
        if let Some(known) = known.filter(|known| Some(&known.version) == version) {
            return Ok(known.sizes);
        }
        let found = self.bucket.list(channel).map_err(ViewError::Bucket)?;
        let found = found.map_ok(|object| (object.key, object.size));
        found.try_collect().await.map_err(ViewError::Bucket)
    }

    /// Puts the key and the `.repo` file there, which lie above the channels.
    async fn put_clients(&self, layout: &ChannelLayout) -> Result<()> {
        let read = |path: &Path| std::fs::read_to_string(path).map_err(io_at(path));
        let target = &layout.target;
        self.replace(&format!("{target}/{}", key_name(target)), read(&layout.key())?).await?;
        let Some((tree, bucket)) = &self.addresses else { return Ok(()) };
        let text = read(&layout.repo_file())?.replace(&**tree, bucket);
        self.replace(&format!("{target}/{target}-{}.repo", layout.channel), text).await
    }

    /// Replaces a small object that has another content.
    async fn replace(&self, key: &str, text: String) -> Result<()> {
        let there = self.bucket.get_small(key, LARGEST).await.map_err(ViewError::Bucket)?;
        if there.is_none_or(|(bytes, _)| *bytes != *text.as_bytes()) {
            let put = self.bucket.put(key, text, &Condition::Always).await;
            put.map_err(ViewError::Bucket)?;
        }
        Ok(())
    }
}

impl Showing<'_> {
    fn bucket(&self) -> &Bucket {
        &self.view.bucket
    }

    fn key(&self, repository: &ReadRepository, name: &str) -> String {
        format!("{}/{}/{name}", self.channel, repository.path)
    }

    fn failed(&self, error: BucketError) -> ViewError {
        ViewError::of(&self.channel, error)
    }

    /// Uploads the packages and documents that the bucket lacks. No client knows of them yet.
    async fn put_files(&self, known: &mut HashMap<String, u64>) -> Result<()> {
        let mut lacking = Vec::new();
        for repository in &self.repositories {
            for file in &repository.files {
                let key = self.key(repository, &file.name);
                if known.get(&key) != Some(&file.size) {
                    lacking.push((key, file.file.clone()));
                }
            }
        }
        let bucket = self.bucket().clone();
        let uploads = stream::iter(lacking).map(move |(key, file)| {
            let bucket = bucket.clone();
            async move { bucket.upload(&key, &file).await.map(|size| (key, size)) }
        });
        let uploaded = uploads.buffer_unordered(AT_ONCE).try_collect::<Vec<(String, u64)>>();
        let uploaded = uploaded.await.map_err(|error| self.failed(error))?;
        known.extend(uploaded);
        Ok(())
    }

    /// Claims the channel: from here on a publisher that was here before fails at its next page.
    async fn claim(&self, shown: u64, found: Option<ObjectVersion>) -> Result<ObjectVersion> {
        self.put_pointer(shown, Some(self.generation), &Condition::as_found(found)).await
    }

    async fn point(&self, claimed: ObjectVersion) -> Result<ObjectVersion> {
        self.put_pointer(self.generation, None, &Condition::Unchanged(claimed)).await
    }

    async fn put_pointer(
        &self,
        generation: u64,
        next: Option<u64>,
        condition: &Condition,
    ) -> Result<ObjectVersion> {
        let farm = self.view.farm.to_string();
        let writer = uuid::Uuid::now_v7().to_string();
        let pointer = ChannelPointer { farm, generation, next, writer };
        let key = ChannelPointer::key(&self.channel);
        let put = self.bucket().put(&key, pointer.to_bytes(), condition).await;
        put.map_err(|error| self.failed(error))
    }

    /// Replaces the pages. Their versions are read after the claim: one that changes afterwards was
    /// changed by a publisher that has claimed the channel since.
    async fn put_pages(&self) -> Result<()> {
        let [page_name, signature_name, logged_name] = Repository::page_names();
        for repository in &self.repositories {
            let (page_key, signature_key) =
                (self.key(repository, &page_name), self.key(repository, &signature_name));
            let page = self.read(&page_key).await?;
            let signature = self.read(&signature_key).await?;
            if page.as_ref().is_some_and(|(there, _)| *there == repository.page) {
                continue;
            }
            let text = match &signature {
                Some((there, _)) => joined(&repository.signature, there).map_err(|source| {
                    ViewError::Signature { key: signature_key.clone(), source }
                })?,
                None => repository.signature.clone(),
            };
            if let Some(logged) = &repository.logged {
                self.view.replace(&self.key(repository, &logged_name), logged.clone()).await?;
            }
            self.swap(&signature_key, text, signature).await?;
            self.swap(&page_key, repository.page.clone(), page).await?;
        }
        Ok(())
    }

    /// Takes the signatures of older pages away, some time after the pages were replaced.
    async fn tidy(&self) -> Result<()> {
        let [_, signature_name, _] = Repository::page_names();
        for repository in &self.repositories {
            let key = self.key(repository, &signature_name);
            let there = self.read(&key).await?;
            if there.as_ref().is_some_and(|(text, _)| *text != repository.signature) {
                self.swap(&key, repository.signature.clone(), there).await?;
            }
        }
        Ok(())
    }

    async fn read(&self, key: &str) -> Result<Option<(String, ObjectVersion)>> {
        let found = self.bucket().get_small(key, LARGEST).await.map_err(ViewError::Bucket)?;
        Ok(found.map(|(bytes, version)| (String::from_utf8_lossy(&bytes).into_owned(), version)))
    }

    /// Replaces an object that is as it was read.
    async fn swap(
        &self,
        key: &str,
        text: String,
        found: Option<(String, ObjectVersion)>,
    ) -> Result<()> {
        let condition = Condition::as_found(found.map(|(_, version)| version));
        let put = self.bucket().put(key, text, &condition).await;
        put.map(drop).map_err(|error| self.failed(error))
    }
}

/// Reads what a client reads of a generation: the pages, or these and the names of all files.
fn read(generation: &Path, with_files: bool) -> Result<Vec<ReadRepository>> {
    let read = |repository: &Repository| -> Result<ReadRepository> {
        let (page, signature) = repository.pages()?;
        let mut files = Vec::new();
        if with_files {
            files = repository.packages()?;
            files.extend(repository.documents()?);
        }
        let (path, logged) = (repository.path.clone(), repository.logged());
        Ok(ReadRepository { path, page, signature, logged, files })
    };
    repositories(generation)?.iter().map(read).collect()
}
