//! The message of a commit: the items of its changelog entry, and the directives in its lines in
//! brackets (`[skip changelog]`, `[bump release: N]`).
//!
//! Owns the form of messages; the callers decide what follows from them.

/// The directives in the lines in brackets of a commit's message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct BracketDirectives {
    pub(super) skip_changelog: bool,
    /// The release is at least this.
    pub(super) release: u64,
}

pub(super) fn magic(message: &str) -> BracketDirectives {
    let mut magic = BracketDirectives::default();
    let inside = |line: &str| Some(line.trim().strip_prefix('[')?.strip_suffix(']')?.to_owned());
    for part in message
        .lines()
        .filter_map(inside)
        .flat_map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>())
    {
        let words: Vec<_> = part.split_whitespace().collect();
        match words.as_slice() {
            ["skip", "changelog", ..] => magic.skip_changelog = true,
            ["bump", rest @ ..] => {
                let rest = rest.concat();
                let number = rest.strip_prefix("release").map(|n| n.trim_start_matches(':'));
                let number = number.and_then(|number| number.parse().ok()).unwrap_or(0);
                magic.release = magic.release.max(number);
            }
            _ => {}
        }
    }
    magic
}

/// The items of an entry: the subject (continued in a body that begins with dots), and the list at
/// the start of the body.
pub(super) fn items(message: &str) -> Vec<String> {
    let quoted = message.replace('%', "%%");
    let mut rest = quoted.lines().map(str::trim).skip_while(|line| line.is_empty()).peekable();
    let mut items: Vec<Vec<&str>> = vec![Vec::new()];
    while let Some(line) = rest.next_if(|line| !line.is_empty()) {
        let line =
            if items[0].is_empty() { line.trim_start_matches('-').trim_start() } else { line };
        items[0].push(line);
    }
    while rest.next_if(|line| line.is_empty()).is_some() {}
    let first = rest.peek().copied().unwrap_or_default();
    let dots = first.trim_start_matches(['.', '…']);
    if first.starts_with("...") || first.starts_with('…') {
        rest.next();
        items[0].push(dots.trim_start());
        while let Some(line) = rest.next_if(|line| !line.is_empty() && !line.starts_with('-')) {
            items[0].push(line);
        }
        rest.next_if(|line| line.is_empty());
    } else if !first.starts_with('-') {
        return vec![items[0].join(" ")];
    }
    for line in rest.take_while(|line| !line.is_empty()) {
        match line.strip_prefix('-') {
            Some(line) => items.push(vec![line.trim_start()]),
            None => items.last_mut().expect("there is the subject").push(line),
        }
    }
    items.into_iter().map(|lines| lines.join(" ").trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_message_gives_points_without_line_ends(message in "(a|-|\\.\\.\\.|\\n| |%|\\[skip changelog\\]){0,30}") {
            for item in items(&message) {
                prop_assert!(!item.contains('\n'));
            }
            let _ = magic(&message);
        }
    }
}
