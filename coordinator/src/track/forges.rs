//! Lists of repositories: what a forge has in a namespace, page by page.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use rpmfarm_core::Target;
use rpmfarm_core::track::Forge;
use rpmfarm_core::track::forge::{ForgeError, ForgePage};
use tokio::time::timeout;
use url::Url;

use super::Tracker;
use crate::http::HttpError;

/// How many pages of a namespace are read at most; that is 20,000 repositories.
const PAGES: usize = 400;

/// The largest page, in bytes.
const MAX_PAGE: usize = 8 << 20;

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The repositories of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceListing {
    /// Names of packages, each once.
    pub packages: Vec<String>,
    /// How many repositories are left out because they are archived, empty, or not named like a
    /// package.
    pub skipped: usize,
}

/// Why a namespace cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ForgeListError {
    /// The target has no address for the forge.
    #[error("target `{target}` does not say where its {forge} is: set track.forges.{forge}")]
    NoForge { target: String, forge: Forge },
    /// The forge has no such namespace, or does not show it.
    #[error("{forge} has no namespace `{namespace}`: {url} answered {status}")]
    NoNamespace { forge: Forge, namespace: String, url: String, status: u16 },
    /// The namespace or the forge's answer is not valid.
    #[error(transparent)]
    Forge(#[from] ForgeError),
    /// The forge failed or gave a wrong answer.
    #[error("{0}")]
    Server(String),
}

impl Tracker {
    /// Lists the repositories of a namespace.
    ///
    /// # Errors
    /// Why the namespace cannot be listed.
    pub async fn list(
        &self,
        target: &Target,
        forge: Forge,
        namespace: &str,
    ) -> Result<NamespaceListing, ForgeListError> {
        let base = target
            .track
            .forge_url(forge)
            .ok_or_else(|| ForgeListError::NoForge { target: target.name.clone(), forge })?;
        let mut listed = NamespaceListing::default();
        for number in 1..=PAGES {
            let url = forge.page_url(base, namespace, number)?;
            let page = timeout(PATIENCE, self.page(target, forge, namespace, &url)).await;
            let late = |_| ForgeListError::Server(format!("{url}: no answer for {PATIENCE:?}"));
            let page = page.map_err(late)??;
            listed.skipped += page.skipped;
            let named = page.packages.iter().map(|name| target.package_of(name).to_owned());
            listed.packages.extend(named);
            if !page.more {
                listed.packages.sort();
                listed.packages.dedup();
                return Ok(listed);
            }
        }
        Err(ForgeListError::Server(format!("{forge} has no end of pages in `{namespace}`")))
    }

    async fn page(
        &self,
        target: &Target,
        forge: Forge,
        namespace: &str,
        url: &str,
    ) -> Result<ForgePage, ForgeListError> {
        let server = |why: String| ForgeListError::Server(format!("{url}: {why}"));
        let parsed = Url::parse(url).map_err(|error| server(error.to_string()))?;
        let http = self.0.looker.http();
        let prepare = |request: reqwest::RequestBuilder| request.header(ACCEPT, "application/json");
        let mut response = http
            .get(&parsed, &target.private_hosts, prepare)
            .await
            .map_err(|error: HttpError| ForgeListError::Server(error.to_string()))?;
        match response.status() {
            StatusCode::OK => {}
            status @ (StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED) => {
                return Err(ForgeListError::NoNamespace {
                    forge,
                    namespace: rpmfarm_core::name::shown(namespace),
                    url: url.to_owned(),
                    status: status.as_u16(),
                });
            }
            status => return Err(server(format!("the server answered {status}"))),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| server(e.to_string()))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_PAGE {
                return Err(server(format!("more than {MAX_PAGE} bytes")));
            }
        }
        Ok(forge.read_page(&body)?)
    }
}
