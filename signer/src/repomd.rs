//! Reading a `repomd.xml` as the farm writes it: as much as has to be known before it is signed.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use rpmfarm_core::name::shown;

/// The namespace of repository metadata (createrepo_c).
const NAMESPACE: &str = "http://linux.duke.edu/metadata/repo";

/// The highest revision: the coordinator counts in a signed number.
const HIGHEST: u64 = i64::MAX as u64;

/// Why bytes are not a `repomd.xml` as the farm writes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepomdError {
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it is not well-formed XML: {0}")]
    Malformed(String),
    /// Each reader interprets document types and references to entities in its own way.
    #[error("it has more than elements and text")]
    NotPlain,
    #[error("its root is not <repomd xmlns=\"{NAMESPACE}\">")]
    Root,
    #[error("it goes on after its end")]
    AfterEnd,
    #[error("it has text outside of its root")]
    OutsideText,
    #[error("it ends before </repomd>")]
    Truncated,
    #[error("it has no <revision>")]
    NoRevision,
    #[error("it does not have one <revision> with a number")]
    NotOneRevision,
    #[error("its <revision> is not a number")]
    RevisionNumber,
}

/// The revision of a page.
///
/// # Errors
/// When the bytes are not a page as the farm writes it.
pub fn revision(data: &[u8]) -> Result<u64, RepomdError> {
    let text = std::str::from_utf8(data).map_err(|_| RepomdError::NotUtf8)?;
    let mut reader = Reader::from_str(text);
    let mut page = RepomdScan::default();
    loop {
        match reader.read_event().map_err(malformed)? {
            Event::Eof => return page.end(),
            event => page.read(event)?,
        }
    }
}

/// A page, as far as it is read.
#[derive(Default)]
struct RepomdScan {
    /// How many elements are open.
    depth: usize,
    /// Whether the root was there.
    is_repomd: bool,
    /// The text of `<revision>` so far, while that element is open.
    open: Option<String>,
    revision: Option<u64>,
}

impl RepomdScan {
    fn read(&mut self, event: Event<'_>) -> Result<(), RepomdError> {
        match event {
            Event::Start(start) => self.start(&start, true),
            Event::Empty(start) => self.start(&start, false),
            Event::End(_) => self.finish(),
            Event::Text(text) => self.text(&text),
            Event::Decl(_) if self.depth == 0 && !self.is_repomd => Ok(()),
            Event::Comment(_) if self.open.is_none() => Ok(()),
            _ => Err(RepomdError::NotPlain),
        }
    }

    fn start(&mut self, start: &BytesStart<'_>, opens: bool) -> Result<(), RepomdError> {
        let name = start.name();
        let name: &str = name.as_ref();
        match self.depth {
            0 if self.is_repomd => return Err(RepomdError::AfterEnd),
            0 => {
                if name != "repomd" || namespace(start)?.as_deref() != Some(NAMESPACE) {
                    return Err(RepomdError::Root);
                }
                self.is_repomd = true;
            }
            _ if self.open.is_some() => return Err(RepomdError::RevisionNumber),
            1 if name == "revision" => {
                if self.revision.is_some() || !opens {
                    return Err(RepomdError::NotOneRevision);
                }
                self.open = Some(String::new());
            }
            _ => {}
        }
        self.depth += usize::from(opens);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), RepomdError> {
        self.depth = self.depth.saturating_sub(1);
        if let Some(text) = self.open.take() {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|number| plain && *number <= HIGHEST);
            self.revision = Some(number.ok_or(RepomdError::RevisionNumber)?);
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), RepomdError> {
        match &mut self.open {
            Some(open) => open.push_str(text),
            None if self.depth == 0 && !text.trim_start_matches('\u{feff}').trim().is_empty() => {
                return Err(RepomdError::OutsideText);
            }
            None => {}
        }
        Ok(())
    }

    fn end(self) -> Result<u64, RepomdError> {
        if !self.is_repomd || self.depth > 0 {
            return Err(RepomdError::Truncated);
        }
        self.revision.ok_or(RepomdError::NoRevision)
    }
}

/// The namespace that an element without a prefix is in.
fn namespace(start: &BytesStart<'_>) -> Result<Option<String>, RepomdError> {
    let found = start.try_get_attribute("xmlns").map_err(malformed)?;
    found
        .map(|attribute| attribute.normalized_value(XmlVersion::Implicit1_0))
        .transpose()
        .map(|value| value.map(std::borrow::Cow::into_owned))
        .map_err(malformed)
}

fn malformed(error: impl std::fmt::Display) -> RepomdError {
    RepomdError::Malformed(shown(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(body: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"{NAMESPACE}\">{body}</repomd>\n"
        )
    }

    #[test]
    fn reads_the_revision_of_what_the_farm_writes() {
        let of = |body: &str| revision(page(body).as_bytes());
        assert_eq!(of("\n  <revision>12</revision>\n"), Ok(12));
        let data = "<data type=\"primary\"><size>3</size><revision>9</revision></data>";
        assert_eq!(of(&format!("<revision>1</revision>{data}")), Ok(1));
        assert_eq!(of(&format!("<!-- x --><revision>{HIGHEST}</revision>")), Ok(HIGHEST));
    }

    #[test]
    fn anything_else_is_no_page() {
        let revision_of = |text: &str| revision(text.as_bytes());
        for body in [
            "",
            "<revision/>",
            "<revision></revision>",
            "<revision>-1</revision>",
            "<revision>+1</revision>",
            "<revision> 1</revision>",
            "<revision>1.5</revision>",
            "<revision>9223372036854775808</revision>",
            "<revision>1</revision><revision>2</revision>",
            "<revision>1<!-- 2 --></revision>",
            "<revision>1<b/></revision>",
            "<revision>&#49;</revision>",
            "<revision><![CDATA[1]]></revision>",
            "<data><revision>1</revision></data>",
        ] {
            assert!(revision_of(&page(body)).is_err(), "{body}");
        }
        let good = page("<revision>1</revision>");
        for text in [
            "",
            "hello",
            "<?xml version=\"1.0\"?> <repomd </repomd>",
            "<?xml version=\"1.0\"?><repomd><revision>1</revision></repomd>",
            "<!DOCTYPE repomd [<!ENTITY a \"1\">]><repomd/>",
            &good.replace("repomd", "metadata"),
            &good.replace("</repomd>", ""),
            &format!("{good}{good}"),
            &format!("{good}x"),
            &format!("x{good}"),
            &good.replace("<repomd", "<!DOCTYPE x><repomd"),
        ] {
            assert!(revision_of(text).is_err(), "{text}");
        }
        assert!(revision(&[0x8e, 0xad, 0xe8, 1]).is_err());
    }
}
