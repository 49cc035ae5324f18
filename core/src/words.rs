//! Enums that people, files and the protocol know by words: each word stands in one place.
//!
//! Owns how such an enum is printed, read, stored and listed, and what is said of a word that it does not
//! have. It must not know what the words mean.

/// A word that an enum does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{text}` (known: {known})")]
pub struct UnknownWord {
    /// What the enum is called in messages.
    pub what: &'static str,
    /// The word, fit to be shown.
    pub text: String,
    /// All words that the enum has.
    pub known: String,
}

/// Defines an enum whose variants have words: its list `ALL`, `as_str`, `Display`, `FromStr`, and serde by
/// the word. Whatever stores, sends or shows one uses these, so that nothing compares texts.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $what:literal {
            $($(#[$of_variant:meta])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$of_variant])* $variant,)+
        }

        impl $name {
            /// All of them, in their order.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word for it, as it is stored, sent and shown.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::words::UnknownWord;

            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or_else(|| {
                    $crate::words::UnknownWord {
                        what: $what,
                        text: $crate::name::shown(text),
                        known: Self::ALL.map(Self::as_str).join(", "),
                    }
                })
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, to: S) -> ::std::result::Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(
                from: D,
            ) -> ::std::result::Result<Self, D::Error> {
                let text = <::std::borrow::Cow<'de, str> as ::serde::Deserialize>::deserialize(from)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    words! {
        /// Two words.
        #[derive(Default)]
        pub enum Side: "side" {
            /// Not the other one.
            #[default]
            Left = "left",
            /// Not the first one.
            Right = "right-hand",
        }
    }

    #[test]
    fn a_word_is_printed_and_read_back_everywhere() {
        for side in Side::ALL {
            assert_eq!(side.to_string().parse(), Ok(side));
            let json = serde_json::to_string(&side).unwrap();
            assert_eq!(json, format!("\"{side}\""));
            assert_eq!(serde_json::from_str::<Side>(&json).unwrap(), side);
        }
        assert_eq!(Side::default(), Side::Left);
        let error = "top\u{1b}".parse::<Side>().unwrap_err().to_string();
        assert_eq!(error, "unknown side `top\u{fffd}` (known: left, right-hand)");
        let json = serde_json::from_str::<Side>("\"top\"").unwrap_err().to_string();
        assert!(json.starts_with("unknown side `top` (known: left, right-hand)"), "{json}");
    }
}
