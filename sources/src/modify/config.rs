//! The form of a configuration: `parameters` and `actions`.
//!
//! Owns the file as a whole, the order of its changes, and the position that messages name. `edit`
//! owns the form of a single change.

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::edit::Edit;
use super::number::text_or_number;

/// A configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct ConfigError {
    pub file: String,
    /// The key and its position, and the error.
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Settings for all actions.
    pub parameters: Parameters,
    /// The actions, one change each, in the order in which they are applied.
    pub changes: Vec<Change>,
}

/// `parameters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// Whether added files get a comment line before them in the spec.
    pub insert_almalinux_line: bool,
    /// The branch to which the original tool pushes. The farm pushes nothing.
    pub custom_target_branch: String,
    /// The original tool empties its working copy first. The farm always begins with a fresh one.
    pub pre_clean: bool,
    /// Whether the changelog entry has `Version` as written, with its macros.
    pub ignore_version_macros: bool,
    /// Whether the changelog entry has `Release` as written, with its macros.
    pub ignore_release_macros: bool,
    /// The prefix of the original tool's git tags. The farm creates none.
    pub tag_prefix: String,
    /// `%rhel` while macros are expanded; empty for the target's.
    #[serde(alias = "rhel_version", deserialize_with = "text_or_number")]
    pub el_version: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            insert_almalinux_line: true,
            custom_target_branch: String::new(),
            pre_clean: false,
            ignore_version_macros: false,
            ignore_release_macros: false,
            tag_prefix: String::new(),
            el_version: String::new(),
        }
    }
}

/// One change and its position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `config.yaml: actions[2].replace[0]`, for messages.
    pub place: String,
    pub edit: Edit,
}

impl Config {
    /// Parses a configuration. `file` is its name, for messages.
    ///
    /// # Errors
    /// With the key, its line and column, and the error.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let failed = |why: String| ConfigError { file: file.to_owned(), why };
        // YAML 1.1, like the original tool: `number: 0003` is 3.
        let options = serde_saphyr::options! { with_snippet: false, legacy_octal_numbers: true };
        let form: ConfigForm = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| failed(error.to_string()))?;
        let mut changes = Vec::new();
        for (number, action) in form.actions.into_iter().enumerate() {
            for (key, edits) in action.0 {
                let mut numbered: Vec<_> = edits.into_iter().enumerate().collect();
                if key == "changelog_entry" {
                    // The entry that the file lists first belongs on top, so it is added last.
                    numbered.reverse();
                }
                for (index, edit) in numbered {
                    let place = format!("actions[{number}].{key}[{index}]");
                    edit.check().map_err(|why| failed(format!("{place}: {why}")))?;
                    changes.push(Change { place: format!("{file}: {place}"), edit });
                }
            }
        }
        Ok(Self { parameters: form.parameters, changes })
    }
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigForm {
    #[serde(default, deserialize_with = "or_default")]
    parameters: Parameters,
    actions: Vec<Action>,
}

/// One item of `actions`: usually of one key, but several are allowed.
struct Action(Vec<(&'static str, Vec<Edit>)>);

const ACTIONS: [&str; 8] = [
    "replace",
    "delete_line",
    "modify_release",
    "changelog_entry",
    "add_files",
    "delete_files",
    "run_script",
    "add_line",
];

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Action;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "an action, one of {}", ACTIONS.join(", "))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Action, A::Error> {
                fn edits<'de, A, T>(map: &mut A, edit: fn(T) -> Edit) -> Result<Vec<Edit>, A::Error>
                where
                    A: MapAccess<'de>,
                    T: Deserialize<'de>,
                {
                    Ok(map.next_value::<Vec<T>>()?.into_iter().map(edit).collect())
                }
                let mut action = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let name = ACTIONS.into_iter().find(|name| *name == key);
                    let name = name.ok_or_else(|| A::Error::unknown_field(&key, &ACTIONS))?;
                    let edits = match name {
                        "replace" => edits(&mut map, Edit::Replace),
                        "delete_line" => edits(&mut map, Edit::DeleteLine),
                        "modify_release" => edits(&mut map, Edit::ModifyRelease),
                        "changelog_entry" => edits(&mut map, Edit::ChangelogEntry),
                        "add_files" => edits(&mut map, Edit::AddFiles),
                        "delete_files" => edits(&mut map, Edit::DeleteFiles),
                        "run_script" => edits(&mut map, Edit::RunScript),
                        _ => edits(&mut map, Edit::AddLine),
                    }?;
                    action.push((name, edits));
                }
                Ok(Action(action))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// An empty `parameters:` counts as absent.
fn or_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Parameters, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modify::{FileType, PatchNumber};

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse("config.yaml", text)
    }

    #[test]
    fn every_action_and_parameter() {
        let config = parse(
            r#"
parameters:
  insert_almalinux_line: false
  custom_target_branch: "a9-x"
  pre_clean: yes
  ignore_version_macros: true
  ignore_release_macros: true
  tag_prefix: "x-"
  rhel_version: 9
actions:
  - replace:
      - target: "spec"
        find: |
              one
                two
        replace: "three"
        count: 1
      - {target: "*.config", rfind: "a.*", replace: ""}
  - delete_line:
    - target: "README"
      lines: ["ExcludeArch: ppc64le", "b"]
  - modify_release:
    - suffix: ".alma.1"
      enabled: true
      auto_increment: true
  - changelog_entry:
    - {name: "A", email: "a@example.org", line: ["first"]}
    - {name: "B", email: "b@example.org", line: ["second"]}
  - add_files:
    - {type: patch, name: 1.patch, number: 0017, no_backup: true, insert_almalinux_line: false}
    - {type: "source", name: "x.pem", number: "Latest", modify_spec: false}
    delete_files:
    - file_name: "old.cer"
  - run_script:
    - {script: "x.sh", cwd: "autopatch"}
  - add_line:
    - {target: spec, section: install, location: bottom, content: "x", subpackage: libx}
"#,
        )
        .unwrap();
        assert_eq!(config.parameters.el_version, "9");
        assert!(config.parameters.pre_clean && !config.parameters.insert_almalinux_line);
        let places: Vec<_> =
            config.changes.iter().map(|c| &c.place["config.yaml: ".len()..]).collect();
        assert_eq!(
            places,
            [
                "actions[0].replace[0]",
                "actions[0].replace[1]",
                "actions[1].delete_line[0]",
                "actions[2].modify_release[0]",
                "actions[3].changelog_entry[1]",
                "actions[3].changelog_entry[0]",
                "actions[4].add_files[0]",
                "actions[4].add_files[1]",
                "actions[4].delete_files[0]",
                "actions[5].run_script[0]",
                "actions[6].add_line[0]",
            ]
        );
        let Edit::Replace(replace) = &config.changes[0].edit else { panic!() };
        assert_eq!(replace.find.as_deref(), Some("one\n  two\n"));
        let Edit::AddFiles(add) = &config.changes[6].edit else { panic!() };
        assert_eq!((add.number, add.kind), (PatchNumber::Is(15), FileType::Patch));
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    }

    #[test]
    fn refusals_name_the_key_and_the_place() {
        for (text, words) in [
            ("actions:\n  - replaces: []\n", vec!["replaces", "line 2"]),
            ("parameter: {}\nactions: []\n", vec!["parameter", "line 1"]),
            ("parameters: {pre_cleen: true}\nactions: []\n", vec!["pre_cleen", "line 1"]),
            (
                "actions:\n  - replace:\n    - target: spec\n      fnd: x\n      replace: y\n",
                vec!["fnd", "line 4"],
            ),
            ("actions:\n  - replace: {target: spec, find: x, replace: y}\n", vec!["line 2"]),
            ("actions: {}\n", vec!["line 1"]),
            ("parameters: {}\n", vec!["actions"]),
            ("", vec!["config.yaml"]),
            (
                "actions:\n  - replace:\n    - {target: spec, replace: y}\n",
                vec!["actions[0].replace[0]", "`find` or `rfind`"],
            ),
            (
                "actions:\n  - replace:\n    - {target: spec, find: a, rfind: b, replace: y}\n",
                vec!["exclude"],
            ),
            (
                "actions:\n  - replace:\n    - {target: spec, find: a, replace: y, count: 0}\n",
                vec!["count"],
            ),
            ("actions:\n  - add_files:\n    - {type: tar, name: x}\n", vec!["tar", "line 3"]),
            (
                "actions:\n  - add_files:\n    - {type: patch, name: x, number: 0}\n",
                vec!["1 or more"],
            ),
            (
                "actions:\n  - add_files:\n    - {type: patch, name: x, number: Last}\n",
                vec!["Latest"],
            ),
            ("actions:\n  - run_script:\n    - {script: x, cwd: home}\n", vec!["home"]),
            (
                "actions:\n  - modify_release:\n    - {suffix: .x, auto_increment: true}\n",
                vec!["end with a number"],
            ),
            ("actions:\n  - modify_release:\n    - {suffix: '1 2'}\n", vec!["cannot be part"]),
            (
                "actions:\n  - add_line:\n    - {target: x, section: y, location: top, content: z}\n",
                vec!["only `spec`"],
            ),
            (
                "actions:\n  - changelog_entry:\n    - {name: a, email: b, line: []}\n",
                vec!["`line`"],
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{text}\n{error} lacks {word}");
            }
        }
    }
}
