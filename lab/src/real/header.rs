//! The header of a package, as real `rpm --query --xml` prints it.
//!
//! Owns reading that text. Must not know what the tags mean.

use std::collections::BTreeMap;

/// Every tag of a header (with those of the signature), by the name that `rpm --xml` gives it, with
/// its values in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header(BTreeMap<String, Vec<String>>);

impl Header {
    /// Parses the output of `rpm --query --xml` for one package. rpm writes a fixed form: `<rpmTag
    /// name="NAME">`, an element for each value, `</rpmTag>`; in values, `<`, `>` and `&` are
    /// entities.
    #[must_use]
    pub fn parse(xml: &str) -> Self {
        let tags = xml.split("<rpmTag name=\"").skip(1).filter_map(|part| {
            let (name, rest) = part.split_once("\">")?;
            let (body, _) = rest.split_once("</rpmTag>")?;
            Some((name.to_owned(), values(body)))
        });
        Self(tags.collect())
    }

    /// Its tags with their values.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// The values of a tag; empty when it is missing.
    #[must_use]
    pub fn values(&self, tag: &str) -> &[String] {
        self.0.get(tag).map(Vec::as_slice).unwrap_or_default()
    }

    /// The paths of its files, in the order in which the file tags list them.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let directories = self.values("Dirnames");
        let indexes = self.values("Dirindexes");
        let names = self.values("Basenames");
        let directory = |at: usize| {
            let index = indexes.get(at)?.parse::<usize>().ok()?;
            directories.get(index)
        };
        let path = |(at, name)| format!("{}{name}", directory(at).map_or("", String::as_str));
        names.iter().enumerate().map(path).collect()
    }
}

/// The values of a tag: `\t<TYPE>VALUE</TYPE>\n` each, or `\t<TYPE/>\n`.
fn values(mut body: &str) -> Vec<String> {
    let mut values = Vec::new();
    while let Some(start) = body.find('<') {
        let rest = &body[start + 1..];
        let Some((element, after)) = rest.split_once('>') else { break };
        if element.ends_with('/') {
            values.push(String::new());
            body = after;
            continue;
        }
        let Some((value, after)) = after.split_once(&format!("</{element}>")) else { break };
        values.push(value.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"));
        body = after;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "<rpmHeader>\n  <rpmTag name=\"Name\">\n\t<string>a</string>\n  </rpmTag>\n  \
        <rpmTag name=\"Postin\">\n\t<string>if [ a &lt; b ] &amp;&amp; c\nfi</string>\n  </rpmTag>\n  \
        <rpmTag name=\"Changelogtext\">\n\t<string>x</string>\n\t<string/>\n  </rpmTag>\n  \
        <rpmTag name=\"Dirindexes\">\n\t<integer>1</integer>\n\t<integer>0</integer>\n  </rpmTag>\n  \
        <rpmTag name=\"Basenames\">\n\t<string>b</string>\n\t<string>c</string>\n  </rpmTag>\n  \
        <rpmTag name=\"Dirnames\">\n\t<string>/usr/</string>\n\t<string>/etc/</string>\n  </rpmTag>\n\
        </rpmHeader>\n";

    #[test]
    fn tags_are_read() {
        let header = Header::parse(TEXT);
        assert_eq!(header.values("Name"), ["a"]);
        assert_eq!(header.values("Postin"), ["if [ a < b ] && c\nfi"]);
        assert_eq!(header.values("Changelogtext"), ["x", ""]);
        assert!(header.values("Nothing").is_empty());
        assert_eq!(header.tags().count(), 6);
    }

    #[test]
    fn paths_are_put_together() {
        assert_eq!(Header::parse(TEXT).paths(), ["/etc/b", "/usr/c"]);
    }
}
