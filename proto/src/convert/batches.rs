//! Batches, their plans and their circles, as people see them.

use rpmfarm_core::BuildId;
use rpmfarm_core::batch::{
    Breaker, Holder, Interval, Plan, PlannedComponent, Progress, Slots, StuckCircle,
};

use crate::v1;

/// A count for people; more than fit are as many as fit.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl From<&(BuildId, String)> for v1::BatchMember {
    fn from((build, package): &(BuildId, String)) -> Self {
        Self { build: build.0, package: package.clone() }
    }
}

impl From<&Holder> for v1::BatchHolder {
    fn from(holder: &Holder) -> Self {
        let member = v1::BatchMember { build: holder.build.0, package: holder.package.clone() };
        Self { member: Some(member), holds: count(holder.holds) }
    }
}

impl From<&Breaker> for v1::CircleBreaker {
    fn from(breaker: &Breaker) -> Self {
        let member = v1::BatchMember { build: breaker.build.0, package: breaker.package.clone() };
        Self {
            member: Some(member),
            requirements: breaker.requirements.clone(),
            frees: count(breaker.frees),
        }
    }
}

impl From<&StuckCircle> for v1::StuckCircle {
    fn from(circle: &StuckCircle) -> Self {
        Self {
            members: circle.members.iter().map(Into::into).collect(),
            breakers: circle.breakers.iter().map(Into::into).collect(),
            text: circle.to_string(),
        }
    }
}

impl v1::StuckCircle {
    /// The circle of a plan, in which the numbers of builds mean nothing.
    fn of_plan(circle: &StuckCircle) -> Self {
        let mut circle = Self::from(circle);
        let of_breakers = circle.breakers.iter_mut().filter_map(|breaker| breaker.member.as_mut());
        for member in circle.members.iter_mut().chain(of_breakers) {
            member.build = 0;
        }
        circle
    }
}

impl v1::BatchDetails {
    /// Adds the progress of a batch from its graph.
    pub fn set_progress(&mut self, progress: &Progress) {
        self.left_us = progress.left_us;
        self.critical_path = progress.critical_path.iter().map(Into::into).collect();
        self.critical_path_us = progress.critical_path_us;
        self.holders = progress.holders.iter().map(Into::into).collect();
    }
}

impl From<&PlannedComponent> for v1::PlannedComponent {
    fn from(component: &PlannedComponent) -> Self {
        let (starts_us, ends_us) = match component.interval {
            Some(Interval { starts_us, ends_us }) => (starts_us, ends_us),
            None => (0, 0),
        };
        Self {
            packages: component.members.iter().map(|(_, package)| package.clone()).collect(),
            needs: component.needs.iter().map(|need| count(*need)).collect(),
            work_us: component.work_us,
            starts_us,
            ends_us,
        }
    }
}

impl v1::BatchPlan {
    /// A plan for these slots, in which the builds have these packages: that of build 1 first.
    #[must_use]
    pub fn new(plan: &Plan, packages: &[String], slots: &Slots) -> Self {
        let package = |build: &BuildId| {
            let place = usize::try_from(build.0 - 1).ok()?;
            packages.get(place).cloned()
        };
        let slots = slots
            .iter()
            .map(|(arch, slots)| v1::PlanSlots { arch: arch.to_string(), slots: *slots });
        Self {
            order: plan.mode.to_string(),
            components: plan.components.iter().map(Into::into).collect(),
            work_us: plan.bound.work_us,
            path_us: plan.bound.path_us,
            expected_us: plan.forecast.ends_us.unwrap_or(0),
            slots: slots.collect(),
            refused: plan.forecast.refused.iter().filter_map(package).collect(),
            stuck: plan.stuck.iter().map(v1::StuckCircle::of_plan).collect(),
            unknown: plan.unknown.iter().filter_map(package).collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::Arch;
    use rpmfarm_core::batch::{BatchGraph, Lacking, Needed, OrderMode, plan};

    use super::*;

    const MINUTE: i64 = 60_000_000;

    /// `b` needs `a`; `x` and `y` lack what the other makes; nothing is known of `z`.
    fn graph() -> BatchGraph {
        let mut graph = BatchGraph::new(OrderMode::Requires);
        for (build, package) in (1..).zip(["a", "b", "x", "y", "z"]) {
            graph.add_member(BuildId(build), package, MINUTE);
        }
        for (build, name) in [(1, "a"), (2, "b"), (3, "x"), (4, "y")] {
            graph.set_srpm(BuildId(build), &[Arch::X86_64], [name]);
        }
        graph.set_solved(BuildId(1), Arch::X86_64, 0, &Needed::default());
        let needed = Needed { names: vec!["a"], sources: vec!["a"] };
        graph.set_solved(BuildId(2), Arch::X86_64, 0, &needed);
        for (build, lacks) in [(3, "y"), (4, "x")] {
            let lacks = [lacks.to_owned()];
            graph.set_lacking(BuildId(build), Arch::X86_64, 0, Lacking::Requirements(&lacks));
        }
        graph
    }

    #[test]
    fn a_plan_names_packages_and_no_builds() {
        let slots: Slots = [(Arch::X86_64, 2)].into();
        let packages = ["a", "b", "x", "y", "z"].map(str::to_owned);
        let message = v1::BatchPlan::new(&plan(&graph(), &slots), &packages, &slots);
        assert_eq!(message.order, "requires");
        assert_eq!(message.path_us, 2 * MINUTE);
        assert_eq!(message.unknown, ["z"]);
        assert_eq!((message.slots[0].arch.as_str(), message.slots[0].slots), ("x86_64", 2));
        let place = |package: &str| {
            let is_it = |one: &v1::PlannedComponent| one.packages.iter().any(|it| it == package);
            message.components.iter().position(is_it).expect("each package is in the plan")
        };
        let b = &message.components[place("b")];
        assert_eq!(b.needs, [u32::try_from(place("a")).expect("a few")]);
        assert_eq!((b.work_us, b.starts_us, b.ends_us), (MINUTE, MINUTE, 2 * MINUTE));
        let mut refused = message.refused.clone();
        refused.sort();
        assert_eq!(refused, ["x", "y"]);
        let [circle] = &message.stuck[..] else { panic!("one circle: {:?}", message.stuck) };
        let members: Vec<(i64, &str)> =
            circle.members.iter().map(|one| (one.build, one.package.as_str())).collect();
        assert_eq!(members, [(0, "x"), (0, "y")]);
        assert!(circle.text.contains("bootstrap conditional"), "{}", circle.text);
        let breaker = circle.breakers[0].member.as_ref().expect("a breaker is a member");
        assert_eq!((breaker.build, circle.breakers[0].frees), (0, 2));
    }

    #[test]
    fn progress_keeps_its_builds() {
        let mut graph = graph();
        let mut details = v1::BatchDetails { note: "kept".into(), ..v1::BatchDetails::default() };
        details.set_progress(&graph.progress());
        let path: Vec<(i64, &str)> =
            details.critical_path.iter().map(|one| (one.build, one.package.as_str())).collect();
        assert_eq!(path, [(1, "a"), (2, "b")]);
        assert_eq!((details.critical_path_us, details.note.as_str()), (2 * MINUTE, "kept"));
        let holder = details.holders.iter().find_map(|holder| holder.member.as_ref());
        assert_eq!(holder.map(|member| member.package.as_str()), Some("a"));
        assert!(details.left_us >= 4 * MINUTE, "{}", details.left_us);
    }
}
