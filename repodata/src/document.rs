//! The three XML documents of a repository and the text around their packages. The format is
//! createrepo's; namespaces as in `http://linux.duke.edu/metadata/`.

use serde::{Deserialize, Serialize};

/// One of the documents that list all packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Document {
    /// Names, dependencies and locations.
    Primary,
    /// All files of the packages.
    Filelists,
    /// Changelogs: `other.xml` of createrepo_c.
    Other,
}

impl Document {
    /// All of them, in the order in which repomd.xml names them.
    pub const ALL: [Self; 3] = [Self::Primary, Self::Filelists, Self::Other];

    /// The `type` in repomd.xml and the stem of the file name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Filelists => "filelists",
            Self::Other => "other",
        }
    }

    /// The text before the first package.
    #[must_use]
    pub fn header(self, packages: usize) -> String {
        let opening = match self {
            Self::Primary => {
                r#"<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm""#
            }
            Self::Filelists => r#"<filelists xmlns="http://linux.duke.edu/metadata/filelists""#,
            Self::Other => r#"<otherdata xmlns="http://linux.duke.edu/metadata/other""#,
        };
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{opening} packages=\"{packages}\">\n")
    }

    /// The text after the last package.
    #[must_use]
    pub const fn footer(self) -> &'static str {
        match self {
            Self::Primary => "</metadata>\n",
            Self::Filelists => "</filelists>\n",
            Self::Other => "</otherdata>\n",
        }
    }
}
