//! The reasons of a build, for people.

use rpmfarm_proto::v1::WhyReply;

use super::{escape, time};

/// A line for the build and one for each reason; ends with a line break.
pub(crate) fn text(reply: &WhyReply, now: i64) -> String {
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
        let line = format!("{task}{}", reason.text);
        text.push_str(&format!("  {}", escape::line(&line)));
        if reason.starts_us > now {
            text.push_str(&format!(" (at {})", time::point(reason.starts_us)));
        }
        text.push('\n');
    }
    text
}
