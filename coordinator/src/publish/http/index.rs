//! The page of a directory, for people with a browser.

use std::io;
use std::path::Path;

/// Lists the names that are not hidden, directories first.
pub(super) fn page(path: &str, dir: &Path) -> io::Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            // For clients, a link to a directory is a directory.
            let is_file = !dir.join(&name).is_dir();
            names.push((is_file, name));
        }
    }
    names.sort();
    let title = format!("/{}", escape(path));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n\
         <h1>{title}</h1>\n<ul>\n"
    );
    if !path.is_empty() {
        html.push_str("<li><a href=\"../\">../</a>\n");
    }
    for (is_file, name) in names {
        let slash = if is_file { "" } else { "/" };
        let (link, label) = (percent(&name), escape(&name));
        html.push_str(&format!("<li><a href=\"./{link}{slash}\">{label}{slash}</a>\n"));
    }
    html.push_str("</ul>\n</html>\n");
    Ok(html)
}

/// For text and attributes of HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// For one part of a URL's path.
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}
