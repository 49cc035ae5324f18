//! Enums that people, files and the protocol know by words; each word is defined in one place.
//!
//! Owns how such an enum is printed, read, stored and listed, and the error for an unknown word. It
//! must not know what the words mean.

#[doc(hidden)]
pub use serde;

/// A word that an enum does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{text}` (known: {known})")]
pub struct UnknownWord {
    /// The name of the enum in messages.
    pub what: &'static str,
    /// The word, made safe for a message.
    pub text: String,
    /// All words of the enum.
    pub known: String,
}

/// Defines an enum whose variants have words: its list `ALL`, `as_str`, `Display`, `FromStr`, and
/// serde by the word. Whatever stores, sends or shows one uses these, so that nothing compares
/// texts.
///
/// After `|` a variant may have further words that are read for it, and never written.
///
/// With `or NAME` behind its variants the enum is open: a word of an older or newer program is kept
/// as it came, in the variant of that name, and `from_word` reads every text.
#[macro_export]
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $what:literal {
            $($(#[$of_variant:meta])* $variant:ident = $word:literal $(| $alias:literal)*,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$of_variant])* $variant,)+
        }

        impl $name {
            /// All variants, in their order.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word of the variant, as it is stored, sent and shown.
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
                match text {
                    $($word $(| $alias)* => Ok(Self::$variant),)+
                    _ => Err($crate::words::UnknownWord {
                        what: $what,
                        text: $crate::name::shown(text),
                        known: [$($word),+].join(", "),
                    }),
                }
            }
        }

        impl $crate::words::serde::Serialize for $name {
            fn serialize<S: $crate::words::serde::Serializer>(
                &self,
                to: S,
            ) -> ::std::result::Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> $crate::words::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::words::serde::Deserializer<'de>>(
                from: D,
            ) -> ::std::result::Result<Self, D::Error> {
                let text =
                    <::std::borrow::Cow<'de, str> as $crate::words::serde::Deserialize>::deserialize(from)?;
                text.parse().map_err($crate::words::serde::de::Error::custom)
            }
        }
    };
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$of_variant:meta])* $variant:ident = $word:literal,)+
        }
        or $(#[$of_other:meta])* $other:ident
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$of_variant])* $variant,)+
            $(#[$of_other])*
            $other(String),
        }

        impl $name {
            /// All variants that this program knows, in their order.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word of the variant, as it is stored, sent and shown.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::$other(word) => word,
                }
            }

            /// The variant of a word. Every text has one.
            #[must_use]
            pub fn from_word(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    _ => Self::$other(word.to_owned()),
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl $crate::words::serde::Serialize for $name {
            fn serialize<S: $crate::words::serde::Serializer>(
                &self,
                to: S,
            ) -> ::std::result::Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> $crate::words::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::words::serde::Deserializer<'de>>(
                from: D,
            ) -> ::std::result::Result<Self, D::Error> {
                let word =
                    <::std::borrow::Cow<'de, str> as $crate::words::serde::Deserialize>::deserialize(from)?;
                Ok(Self::from_word(&word))
            }
        }
    };
}

#[cfg(test)]
mod tests {
    words! {
        #[derive(Default)]
        pub enum Side: "side" {
            /// Not the other one.
            #[default]
            Left = "left" | "port" | "",
            /// Not the first one.
            Right = "right-hand",
        }
    }

    words! {
        /// A word, and whatever comes.
        pub enum Wind {
            /// From where the cold comes.
            North = "north",
        }
        or
        Elsewhere
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

    #[test]
    fn another_word_for_the_same_is_read_and_never_written() {
        for alias in ["port", ""] {
            assert_eq!(alias.parse(), Ok(Side::Left));
            let json = format!("\"{alias}\"");
            assert_eq!(serde_json::from_str::<Side>(&json).unwrap(), Side::Left);
        }
        assert_eq!(Side::Left.to_string(), "left");
    }

    #[test]
    fn an_open_enum_keeps_the_words_of_others() {
        let [north] = Wind::ALL;
        assert_eq!((Wind::from_word("north"), north.as_str()), (Wind::North, "north"));
        let other = Wind::from_word("south \"east\"");
        assert_eq!(other, Wind::Elsewhere("south \"east\"".into()));
        for wind in [north, other] {
            let json = serde_json::to_string(&wind).unwrap();
            assert_eq!(json, serde_json::to_string(wind.as_str()).unwrap());
            assert_eq!(serde_json::from_str::<Wind>(&json).unwrap(), wind);
            assert_eq!(format!("{wind:>20}"), format!("{:>20}", wind.as_str()));
        }
    }
}
