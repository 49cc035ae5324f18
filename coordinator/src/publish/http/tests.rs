use std::fs;
use std::os::unix::fs::symlink;

use axum::body::to_bytes;
use axum::http::Request;
use tower::ServiceExt as _;

use super::*;

struct Tree {
    dir: tempfile::TempDir,
    router: Router,
}

fn tree() -> Tree {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let repos = dir.path().join("repos");
    fs::create_dir_all(repos.join("lab/.generations/1")).unwrap();
    fs::write(repos.join("lab/.generations/1/a~b^c+d.rpm"), "0123456789").unwrap();
    fs::write(repos.join("lab/x<y>.repo"), "text").unwrap();
    symlink(".generations/1", repos.join("lab/current")).unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    symlink("../../secret", repos.join("lab/out")).unwrap();
    symlink("/etc/passwd", repos.join("lab/passwd")).unwrap();
    let router = router(&repos).unwrap();
    Tree { dir, router }
}

impl Tree {
    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
    }
}

#[tokio::test]
async fn files_are_found_through_links_and_by_every_spelling() {
    let tree = tree();
    for path in ["/lab/current/a~b^c+d.rpm", "/lab/current/a%7Eb%5Ec%2Bd.rpm"] {
        let (status, headers, body) = tree.get(path, &[]).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "0123456789"), "{path}");
        assert_eq!(headers[header::CONTENT_TYPE], "application/x-rpm");
        assert_eq!(headers[header::CONTENT_LENGTH], "10");
    }
}

#[tokio::test]
async fn nothing_outside_of_the_tree_is_found() {
    let tree = tree();
    assert!(tree.dir.path().join("repos/lab/out").exists());
    for path in [
        "/lab/out",
        "/lab/passwd",
        "/../secret",
        "/lab/../../secret",
        "/lab/%2e%2e/%2e%2e/secret",
        "/lab/..%2f..%2fsecret",
        "/%2fetc/passwd",
        "//etc/passwd",
        "/lab/.generations/1/a~b^c+d.rpm",
        "/lab/current/a%00",
        "/lab/current/absent.rpm",
        "/lab/x<y>.repo/more".replace('<', "%3C").replace('>', "%3E").as_str(),
    ] {
        let (status, _, body) = tree.get(path, &[]).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {body}");
    }
}

#[tokio::test]
async fn parts_and_validators() {
    let tree = tree();
    let path = "/lab/current/a~b^c+d.rpm";
    let (status, headers, body) = tree.get(path, &[("range", "bytes=2-4")]).await;
    assert_eq!((status, body.as_str()), (StatusCode::PARTIAL_CONTENT, "234"));
    assert_eq!(headers[header::CONTENT_RANGE], "bytes 2-4/10");
    let (status, headers, _) = tree.get(path, &[("range", "bytes=10-")]).await;
    assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(headers[header::CONTENT_RANGE], "bytes */10");

    let (_, headers, _) = tree.get(path, &[]).await;
    let etag = headers[header::ETAG].to_str().unwrap();
    let modified = headers[header::LAST_MODIFIED].to_str().unwrap();
    for condition in [("if-none-match", etag), ("if-modified-since", modified)] {
        let (status, _, body) = tree.get(path, &[condition]).await;
        assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    }
    let file = tree.dir.path().join("repos/lab/.generations/1/a~b^c+d.rpm");
    fs::remove_file(&file).unwrap();
    fs::write(&file, "abcdefghij").unwrap();
    let (status, _, body) = tree.get(path, &[("if-none-match", etag)]).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "abcdefghij"));
    let resume = [("range", "bytes=2-4"), ("if-range", etag)];
    assert_eq!(tree.get(path, &resume).await.0, StatusCode::OK);
}

#[tokio::test]
async fn head_has_the_headers_alone() {
    let tree = tree();
    let request = Request::head("/lab/current/a~b^c+d.rpm").body(Body::empty()).unwrap();
    let response = tree.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "10");
    assert!(to_bytes(response.into_body(), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn directories_have_pages_without_what_is_hidden() {
    let tree = tree();
    let (status, headers, _) = tree.get("/lab", &[]).await;
    assert_eq!(status, StatusCode::MOVED_PERMANENTLY);
    assert_eq!(headers[header::LOCATION], "./lab/");
    let (status, _, page) = tree.get("/lab/", &[]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("<a href=\"./current/\">current/</a>"), "{page}");
    assert!(page.contains("<a href=\"./x%3Cy%3E.repo\">x&lt;y&gt;.repo</a>"), "{page}");
    assert!(!page.contains("generations"), "{page}");
    assert!(tree.get("/", &[]).await.2.contains("./lab/"));
}

#[tokio::test]
async fn links_hold_where_the_tree_is_nested() {
    let Tree { dir, router } = tree();
    let router = Router::new().nest_service("/repo", router);
    let tree = Tree { dir, router };
    for (path, location) in [("/repo", "./repo/"), ("/repo/lab", "./lab/")] {
        let (status, headers, _) = tree.get(path, &[]).await;
        assert_eq!(status, StatusCode::MOVED_PERMANENTLY, "{path}");
        assert_eq!(headers[header::LOCATION], location);
    }
    let (status, _, page) = tree.get("/repo/", &[]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("./lab/"), "{page}");
    assert_eq!(tree.get("/repo/lab/current/a~b^c+d.rpm", &[]).await.2, "0123456789");
}

#[test]
fn only_names_that_never_change_their_meaning_are_kept_for_ever() {
    let sum = "0".repeat(64);
    for (path, kept) in [
        (format!("lab/testing/x86_64/os/repodata/{sum}-primary.xml.gz"), true),
        ("lab/testing/x86_64/os/Packages/noarch/a/a-1-1.noarch.rpm".into(), true),
        ("lab/testing/x86_64/os/repodata/repomd.xml".into(), false),
        ("lab/testing/x86_64/os/repodata/repomd.xml.asc".into(), false),
        ("lab/lab-testing.repo".into(), false),
    ] {
        let control = cache_control(&path);
        assert_eq!(control.to_str().unwrap().contains("immutable"), kept, "{path}");
    }
}
