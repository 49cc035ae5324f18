//! Names of binary packages, provides and source packages as small numbers.

use std::collections::HashMap;
use std::sync::Arc;

/// A name. Binary packages and provides share one space of names; source packages have their own.
pub(super) type Key = u32;

/// All names that a batch has mentioned.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    names: HashMap<Arc<str>, Key>,
    sources: HashMap<Arc<str>, Key>,
    texts: Vec<Arc<str>>,
}

impl Keys {
    /// The key of a binary package or provide.
    pub(super) fn name(&mut self, text: &str) -> Key {
        intern(&mut self.names, &mut self.texts, text)
    }

    /// The key of a source package.
    pub(super) fn source(&mut self, text: &str) -> Key {
        intern(&mut self.sources, &mut self.texts, text)
    }

    /// The key of a binary package or provide that was mentioned before.
    pub(super) fn find_name(&self, text: &str) -> Option<Key> {
        self.names.get(text).copied()
    }

    pub(super) fn text(&self, key: Key) -> &str {
        &self.texts[key as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }
}

fn intern(known: &mut HashMap<Arc<str>, Key>, texts: &mut Vec<Arc<str>>, text: &str) -> Key {
    if let Some(key) = known.get(text) {
        return *key;
    }
    let key = Key::try_from(texts.len()).expect("memory ends before 2^32 names");
    let text: Arc<str> = text.into();
    texts.push(Arc::clone(&text));
    known.insert(text, key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_packages_of_one_name_are_two() {
        let mut keys = Keys::default();
        let (package, source) = (keys.name("foo"), keys.source("foo"));
        assert_ne!(package, source);
        assert_eq!((keys.name("foo"), keys.source("foo")), (package, source));
        assert_eq!((keys.find_name("foo"), keys.find_name("bar")), (Some(package), None));
        assert_eq!((keys.text(source), keys.len()), ("foo", 2));
    }
}
