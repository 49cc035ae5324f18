//! Dist-git: which files of a commit are the sources of a package, and which are in a look-aside
//! cache.
//!
//! Owns the two layouts (determined from the tree of a commit, not configured), the lists of
//! look-aside files, and which of them are rejected. It must not know how a tree is read or a file
//! fetched.

mod layout;
mod list;
mod tag;
mod tree;

pub use layout::{CommittedFile, Layout, LayoutKind, choose_spec};
pub use list::{ListForm, LookasideFile};
pub use tag::tag_agrees;
pub use tree::{EntryKind, MAX_FILES, TreeEntry, followed};

use rpmfarm_core::digest::{Checksum, DigestError};
use rpmfarm_core::name::NameError;

/// An error in the sources of a package. Only its maintainer can correct it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DistgitError {
    /// There is nothing to build.
    #[error("no spec file: neither NAME.spec at the root nor SPECS/NAME.spec is there")]
    NoSpec,
    /// The package was taken out of the distribution.
    #[error(
        "the package is retired on this branch (dead.package): stop following it, or name another branch"
    )]
    Retired,
    /// Several specs, and no rule chooses one.
    #[error(
        "{} spec files ({}), and none is the package's {name}: say which one is built with `spec = \"FILE.spec\"` \
         under [packages.{package}] in the target, or remove the others", specs.len(), specs.join(", ")
    )]
    ManySpecs {
        specs: Vec<String>,
        package: String,
        /// The name of the spec that would be built.
        name: String,
    },
    /// More than one list of look-aside files.
    #[error("{} metadata files ({}): a package has at most one; remove the others", .0.len(), .0.join(", "))]
    ManyLists(Vec<String>),
    /// The tree has more entries than any package has.
    #[error("{0} files in the tree, at most {MAX_FILES} are allowed")]
    ManyFiles(usize),
    /// A file whose name is not UTF-8.
    #[error(
        "the name of {0} in the repository is not UTF-8; rename the file, as it is a source of the package"
    )]
    NotUtf8(String),
    /// A name that is not valid for a file of a source package.
    #[error("{place}: {error}")]
    Name {
        /// The file or list that has it.
        place: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// The sources are in another repository.
    #[error("{0} is a submodule; dist-git sources must be files of the repository itself")]
    Submodule(String),
    /// A symlink whose target is not in the commit.
    #[error("symlink {path} leads out of the repository, to {target}; commit the file itself")]
    LinkOutside { path: String, target: String },
    /// A symlink that leads to no file.
    #[error("symlink {path} leads to {target}, which is not a file of the repository")]
    LinkBroken { path: String, target: String },
    /// A line of the list that is of no known form.
    #[error("{file}, line {line}: `{text}` is neither `SHA512 (FILE) = HEX` nor `HEX FILE`")]
    Line {
        /// `sources` or `.NAME.metadata`.
        file: String,
        /// Counted from 1.
        line: usize,
        text: String,
    },
    /// A digest of the wrong length or with a letter that is not hex.
    #[error("{file}, line {line}: {error}")]
    Digest {
        /// `sources` or `.NAME.metadata`.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        error: DigestError,
    },
    /// A digest whose length is not that of the function named.
    #[error("{file}, line {line}: a {kind} digest has {digits} hex digits, here are {found}")]
    DigestLength {
        /// `sources` or `.NAME.metadata`.
        file: String,
        /// Counted from 1.
        line: usize,
        kind: &'static str,
        /// How many digits it gives.
        digits: usize,
        /// How many are there.
        found: usize,
    },
    /// Two digests of one file.
    #[error(
        "{file}, lines {} and {}: two digests of {name}, {} and {}; remove the line that is wrong",
        lines.0, lines.1, digests.0, digests.1
    )]
    Contradiction {
        /// `sources` or `.NAME.metadata`.
        file: String,
        /// Both lines, counted from 1.
        lines: (usize, usize),
        /// The file that they are of.
        name: String,
        digests: Box<(Checksum, Checksum)>,
    },
    /// The same file twice, so that it is not clear which one is meant.
    #[error("{name} exists twice: {first} and {second}; remove one")]
    Twice {
        name: String,
        first: String,
        /// Where it is as well.
        second: String,
    },
    /// A file that is committed and listed with another content.
    #[error(
        "{name} exists twice with different content: {path} is committed with {found}, {list} says \
         {expected}; remove one"
    )]
    Differs {
        name: String,
        /// Where it is committed.
        path: String,
        /// The digest of that.
        found: Box<Checksum>,
        list: String,
        expected: Box<Checksum>,
    },
    /// A file that only MD5 vouches for.
    #[error(
        "{0} is named by an MD5 digest alone, which proves nothing; use SHA-512, or set \
         upstream.allow_md5 in the target"
    )]
    Md5(String),
}
