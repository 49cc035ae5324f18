//! Where objects lie: a bucket, and what all their keys begin with.

use std::fmt;
use std::str::FromStr;

use rpmfarm_core::name::shown;

/// `s3://BUCKET` or `s3://BUCKET/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketAddress {
    pub bucket: String,
    /// What all keys begin with, without a slash at its ends; may be empty.
    pub prefix: String,
}

impl FromStr for BucketAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| {
            Err(format!("`{}`: {why}; expected s3://BUCKET or s3://BUCKET/PREFIX", shown(text)))
        };
        let Some(rest) = text.strip_prefix("s3://") else {
            return bad("it does not begin with s3://");
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let of_bucket = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(of_bucket) {
            return bad("a bucket has 3 to 63 characters of a-z, 0-9, . and -");
        }
        let of_prefix = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_plain = |part: &str| !["", ".", ".."].contains(&part) && part.chars().all(of_prefix);
        if prefix.len() > 256 || (!prefix.is_empty() && !prefix.split('/').all(is_plain)) {
            return bad("a prefix has names of letters, digits, . _ and - between its slashes");
        }
        Ok(Self { bucket: bucket.into(), prefix: prefix.into() })
    }
}

impl fmt::Display for BucketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_others_are_refused() {
        for good in ["s3://farm", "s3://farm/a", "s3://my.farm-1/a/b_c"] {
            assert_eq!(good.parse::<BucketAddress>().unwrap().to_string(), good);
        }
        let slash: BucketAddress = "s3://farm/a/".parse().unwrap();
        assert_eq!((slash.bucket.as_str(), slash.prefix.as_str()), ("farm", "a"));
        for bad in ["farm", "http://farm/a", "s3://", "s3://Farm", "s3://farm/../a", "s3://farm//a"]
        {
            let error = bad.parse::<BucketAddress>().unwrap_err();
            assert!(error.contains(bad) && error.contains("s3://BUCKET/PREFIX"), "{error}");
        }
    }
}
