//! A forge's lists of repositories, as GitHub, GitLab, Gitea and Pagure answer them: the
//! repositories are those of the dist-git, in the one namespace `rpms`.

use std::path::{Path as FilePath, PathBuf};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

const NAMESPACE: &str = "rpms";

pub(super) fn router(rpms: PathBuf) -> Router {
    Router::new()
        .route("/orgs/{org}/repos", get(github))
        .route("/api/v4/groups/{group}/projects", get(gitlab))
        .route("/api/v1/orgs/{org}/repos", get(gitea))
        .route("/api/0/projects", get(pagure))
        .with_state(rpms)
}

/// The parameters for a page, in the names of all four.
#[derive(Debug, Deserialize)]
struct Pages {
    page: usize,
    #[serde(alias = "limit")]
    per_page: usize,
    #[serde(default)]
    namespace: String,
}

async fn github(state: State<PathBuf>, org: Path<String>, pages: Query<Pages>) -> Response {
    list(&state, &org, &pages, |name| {
        json!({ "id": 1, "name": name, "full_name": format!("{NAMESPACE}/{name}"),
                "private": false, "fork": false, "archived": name == "no-spec" })
    })
}

async fn gitlab(state: State<PathBuf>, group: Path<String>, pages: Query<Pages>) -> Response {
    list(&state, &group, &pages, |name| {
        json!({ "id": 1, "name": format!("The {name}"), "path": name,
                "path_with_namespace": format!("{NAMESPACE}/{name}"), "default_branch": "lab9" })
    })
}

async fn gitea(state: State<PathBuf>, org: Path<String>, pages: Query<Pages>) -> Response {
    list(&state, &org, &pages, |name| {
        json!({ "id": 1, "name": name, "full_name": format!("{NAMESPACE}/{name}"),
                "empty": name == "no-spec", "archived": false })
    })
}

async fn pagure(State(rpms): State<PathBuf>, Query(pages): Query<Pages>) -> Response {
    if pages.namespace != NAMESPACE {
        return Json(json!({ "projects": [], "pagination": { "page": 1, "pages": 1 } }))
            .into_response();
    }
    let names = names(&rpms);
    let projects: Vec<Value> = page(&names, &pages)
        .iter()
        .map(|name| json!({ "name": name, "fullname": format!("{NAMESPACE}/{name}"), "namespace": NAMESPACE }))
        .collect();
    let count = names.len().div_ceil(pages.per_page.max(1));
    let pagination = json!({ "page": pages.page, "pages": count, "per_page": pages.per_page });
    Json(json!({ "projects": projects, "pagination": pagination })).into_response()
}

fn list(rpms: &FilePath, namespace: &str, pages: &Pages, show: impl Fn(&str) -> Value) -> Response {
    if namespace != NAMESPACE {
        let message = json!({ "message": "Not Found" });
        return (StatusCode::NOT_FOUND, Json(message)).into_response();
    }
    let names = names(rpms);
    let shown: Vec<Value> = page(&names, pages).iter().map(|name| show(name)).collect();
    Json(shown).into_response()
}

/// Names of the repositories, sorted.
fn names(rpms: &FilePath) -> Vec<String> {
    let entries = std::fs::read_dir(rpms).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".git")?.to_owned()))
        .collect();
    names.sort();
    names
}

fn page<'a>(names: &'a [String], pages: &Pages) -> &'a [String] {
    let from = (pages.page.saturating_sub(1) * pages.per_page).min(names.len());
    &names[from..(from + pages.per_page).min(names.len())]
}
