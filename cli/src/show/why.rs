//! The reasons of a build, for people.

use rpmfarm_proto::v1::WhyReply;

use super::{escape, time, wrap};

/// A line for the build and one for each reason; ends with a line break.
pub(crate) fn text(reply: &WhyReply, width: Option<usize>, now: i64) -> String {
    let mut text = format!(
        "build {}: {} for {}, {}\n",
        reply.build,
        console::style(escape::line(&reply.package)).bold(),
        escape::line(&reply.target),
        escape::line(&reply.state),
    );
    for reason in &reply.reasons {
        let task =
            if reason.task.is_empty() { String::new() } else { format!("{}: ", reason.task) };
        let mut line = format!("{task}{}", reason.text);
        if reason.starts_us > now {
            line.push_str(&format!(" (at {})", time::point(reason.starts_us)));
        }
        text.push_str(&wrap::hanging("  ", &line, 4, width));
    }
    text
}
