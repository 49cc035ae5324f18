//! Opens a bucket: signs in, and finds out whether the store keeps two writers apart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use object_store::aws::AmazonS3Builder;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use url::Url;

use super::address::BucketAddress;
use super::bucket::Bucket;
use super::credentials::Credentials;
use super::probe::probe;

/// How often a request that failed is repeated, and for how long. Whoever makes it tries again later.
const RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a request may take: an object of some GiB on a slow line.
const TIMEOUT: Duration = Duration::from_secs(3600);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How the stores of all buckets are reached.
#[derive(Debug, Clone, Default)]
pub struct S3Settings {
    /// The address of the store; `None` for that of AWS.
    pub endpoint: Option<Url>,
    pub region: String,
    /// The file of the key; `None` for the environment.
    pub credentials: Option<PathBuf>,
    /// Whether a store is used although it does not keep two writers apart.
    pub single_writer: bool,
}

/// Opens a bucket and probes its store.
///
/// # Errors
/// When there is no key, the store cannot be reached or does not let this farm write, or ignores
/// preconditions without `--single-writer`.
pub async fn open(address: &BucketAddress, settings: &S3Settings) -> anyhow::Result<Bucket> {
    let bucket = sign_in(address, settings).with_context(|| address.to_string())?;
    let ignored = probe(&bucket).await.with_context(|| {
        format!("{address} cannot be written to, as a probe at the start shows")
    })?;
    let Some(ignored) = ignored else { return Ok(bucket) };
    let header = ignored.header();
    anyhow::ensure!(
        settings.single_writer,
        "the store of {address} ignores {header}: a second writer, or this farm after a takeover, \
         would overwrite what it must not, and nobody would notice; use a store that honours \
         preconditions of PUT, or --single-writer if nobody else ever writes there and the farm \
         has one coordinator"
    );
    tracing::warn!(
        bucket = %address, header,
        "the store ignores preconditions; --single-writer promises that nobody else writes there"
    );
    Ok(bucket.unconditional())
}

fn sign_in(address: &BucketAddress, settings: &S3Settings) -> anyhow::Result<Bucket> {
    // Another part of the process may have installed a provider already; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let credentials = Credentials::read(settings.credentials.as_deref())?;
    let options = ClientOptions::new().with_timeout(TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&address.bucket)
        .with_region(&settings.region)
        .with_access_key_id(credentials.access_key_id)
        .with_secret_access_key(credentials.secret_access_key)
        .with_client_options(options)
        .with_retry(retry);
    if let Some(token) = credentials.session_token {
        builder = builder.with_token(token);
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder
            .with_endpoint(endpoint.as_str().trim_end_matches('/'))
            .with_allow_http(endpoint.scheme() == "http");
    }
    Ok(Bucket::new(Arc::new(builder.build()?), address.clone()))
}
