//! The components of a batch: which builds need each other, directly or through others.
//!
//! All open members are in one sequence, in which each member comes after the members that it
//! needs, except for members of its own component, which are next to it. Most changes do not change
//! the sequence: members leave, and a new need of a member further ahead makes no circle. Only a
//! new need of a member further behind is examined, between the two positions. A component that
//! lost a member or a need is searched again once one of its tasks waits.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::strong::Search;

/// A place in the sequence that no member has.
const HOLE: u32 = u32::MAX;

/// Components, and the sequence of their members.
#[derive(Debug, Clone, Default)]
pub(super) struct Components {
    sequence: Vec<u32>,
    holes: usize,
    /// The place of each member; of one that has left it means nothing.
    place: Vec<usize>,
    /// The component of each member.
    component: Vec<u64>,
    next: u64,
    /// Components of several members.
    circles: HashMap<u64, Circle>,
    /// Those that may fall apart.
    stale: BTreeSet<u64>,
    /// Members with new needs.
    grown: BTreeSet<u32>,
    search: Search,
}

/// A component of several members.
#[derive(Debug, Clone, Default)]
struct Circle {
    /// Its members, and some that have left it.
    members: Vec<u32>,
    /// How many of its tasks wait for their turn.
    waiting: usize,
}

/// The questions of [`Components::settle`] to the graph.
pub(super) trait Needs {
    /// Adds the open members that a member needs to a list.
    fn add_needs(&self, member: u32, list: &mut Vec<u32>);
    /// Whether another one needs it.
    fn is_needed(&self, member: u32) -> bool;
    /// How many of its tasks are solved and wait for their turn.
    fn waiting(&self, member: u32) -> usize;
}

/// The effects of [`Components::settle`].
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Members that are in another component than before.
    pub(super) moved: Vec<u32>,
    /// How many members and needs were visited.
    pub(super) visits: u64,
}

impl Components {
    /// Adds the next member, which needs no other yet.
    pub(super) fn add(&mut self, member: u32) {
        debug_assert_eq!(member as usize, self.place.len(), "members are numbered in their order");
        self.place.push(self.sequence.len());
        self.component.push(self.next);
        self.next += 1;
        self.sequence.push(member);
    }

    /// Takes out a member for good.
    pub(super) fn remove(&mut self, member: u32) {
        self.lose_need(member);
        self.grown.remove(&member);
        self.clear_place(member);
        self.component[member as usize] = self.next;
        self.next += 1;
    }

    /// Records that a member needs another one.
    pub(super) fn add_need(&mut self, member: u32) {
        self.grown.insert(member);
    }

    /// Records that a member no longer needs another one, or leaves.
    pub(super) fn lose_need(&mut self, member: u32) {
        let component = self.component[member as usize];
        if self.circles.contains_key(&component) {
            self.stale.insert(component);
        }
    }

    /// Counts a task of a member that waits for its turn, or does so no more.
    pub(super) fn count_waiting(&mut self, member: u32, waits: bool) {
        if let Some(circle) = self.circles.get_mut(&self.component[member as usize]) {
            circle.waiting =
                if waits { circle.waiting + 1 } else { circle.waiting.saturating_sub(1) };
        }
    }

    /// Whether two members are in one component.
    pub(super) fn is_one(&self, a: u32, b: u32) -> bool {
        self.component[a as usize] == self.component[b as usize]
    }

    /// Where a member stands: behind all that it needs outside of its component.
    pub(super) fn place(&self, member: u32) -> usize {
        self.place[member as usize]
    }

    /// The components from the first to the last, each behind those that it needs.
    pub(super) fn list(&self) -> Vec<Vec<u32>> {
        let mut list: Vec<Vec<u32>> = Vec::new();
        let mut last = None;
        for member in self.sequence.iter().copied().filter(|member| *member != HOLE) {
            let component = self.component[member as usize];
            match list.last_mut() {
                Some(members) if last == Some(component) => members.push(member),
                _ => list.push(vec![member]),
            }
            last = Some(component);
        }
        list
    }

    /// Updates components and sequence. With `all`, also the components in which no member waits.
    pub(super) fn settle(&mut self, graph: &impl Needs, all: bool) -> Settled {
        let mut settled = Settled::default();
        let roots = self.roots(graph, &mut settled);
        // Where a circle may be closed, the old ones have to be right.
        self.split(graph, all || !roots.is_empty(), &mut settled);
        if let Some(window) = self.window(&roots, graph) {
            self.search(&roots, window, graph, &mut settled);
        }
        self.compact();
        settled
    }

    /// The members with new needs of members further behind. A member that no other needs closes no
    /// circle: it moves to the end.
    fn roots(&mut self, graph: &impl Needs, settled: &mut Settled) -> Vec<u32> {
        let mut roots = Vec::new();
        let mut list = Vec::new();
        for member in std::mem::take(&mut self.grown) {
            list.clear();
            graph.add_needs(member, &mut list);
            settled.visits += 1 + list.len() as u64;
            if !list.iter().any(|need| self.stands_behind(*need, member)) {
                continue;
            }
            if graph.is_needed(member) {
                roots.push(member);
            } else {
                self.move_to_end(member, settled);
            }
        }
        roots
    }

    fn stands_behind(&self, need: u32, member: u32) -> bool {
        !self.is_one(need, member) && self.place(need) > self.place(member)
    }

    fn clear_place(&mut self, member: u32) {
        self.sequence[self.place[member as usize]] = HOLE;
        self.holes += 1;
    }

    fn move_to_end(&mut self, member: u32, settled: &mut Settled) {
        self.clear_place(member);
        self.place[member as usize] = self.sequence.len();
        self.sequence.push(member);
        let component = self.component[member as usize];
        if self.circles.contains_key(&component) {
            // No member needs it any more, so its circle no longer exists.
            self.stale.insert(component);
            self.component[member as usize] = self.next;
            self.next += 1;
            settled.moved.push(member);
        }
    }

    /// Searches components that lost a member or a need: all, or those in which a member waits.
    fn split(&mut self, graph: &impl Needs, all: bool, settled: &mut Settled) {
        let is_due = |circles: &HashMap<u64, Circle>, component: &u64| {
            all || circles.get(component).is_none_or(|circle| circle.waiting > 0)
        };
        let due: Vec<u64> =
            self.stale.iter().copied().filter(|one| is_due(&self.circles, one)).collect();
        for component in due {
            self.stale.remove(&component);
            let members = self.members(component);
            if let Some(window) = self.places(&members) {
                self.search(&members, window, graph, settled);
            } else {
                self.circles.remove(&component);
            }
        }
    }

    /// The members of a circle.
    fn members(&self, component: u64) -> Vec<u32> {
        let circle = self.circles.get(&component);
        let members = circle.map_or(&[][..], |circle| circle.members.as_slice()).iter().copied();
        members.filter(|member| self.component[*member as usize] == component).collect()
    }

    /// The places from the first to the last of these.
    fn places(&self, members: &[u32]) -> Option<Range<usize>> {
        let places = members.iter().map(|member| self.place(*member));
        let (first, last) = (places.clone().min()?, places.max()?);
        Some(first..last + 1)
    }

    /// The places of a member and its component.
    fn span(&self, member: u32) -> Range<usize> {
        let component = self.component[member as usize];
        let place = self.place(member);
        let circle = self.circles.contains_key(&component).then(|| self.members(component));
        circle.and_then(|members| self.places(&members)).unwrap_or(place..place + 1)
    }

    /// The part of the sequence where circles may have arisen: from the first member with a need
    /// further behind to the last of these needs, both with their components.
    fn window(&self, roots: &[u32], graph: &impl Needs) -> Option<Range<usize>> {
        let mut window: Option<Range<usize>> = None;
        let mut list = Vec::new();
        for root in roots {
            list.clear();
            graph.add_needs(*root, &mut list);
            let mut span = self.span(*root);
            let last = list.iter().copied().max_by_key(|need| self.place(*need));
            span.end = span.end.max(last.map_or(0, |last| self.span(last).end));
            window = Some(window.map_or(span.clone(), |known| {
                known.start.min(span.start)..known.end.max(span.end)
            }));
        }
        window
    }

    /// Searches the members that are reached from `roots` within a part of the sequence, and moves
    /// them to the front of that part: all of their needs are among them or further ahead.
    fn search(
        &mut self,
        roots: &[u32],
        window: Range<usize>,
        graph: &impl Needs,
        settled: &mut Settled,
    ) {
        let mut search = std::mem::take(&mut self.search);
        let mut list = Vec::new();
        let found = search.run(roots, |member, edges| {
            list.clear();
            graph.add_needs(member, &mut list);
            edges.extend(list.iter().filter(|need| window.contains(&self.place(**need))));
        });
        self.search = search;
        settled.visits += found.visits;
        self.rearrange(&found.components, window);
        self.assign_new(found.components, graph, settled);
    }

    /// Notes those components that are not known as they are.
    fn assign_new(&mut self, found: Vec<Vec<u32>>, graph: &impl Needs, settled: &mut Settled) {
        // Before any of them has another number: of a circle that fell apart, no part is the old
        // one.
        let new = found.into_iter().filter(|members| !self.is_known(members));
        let new: Vec<Vec<u32>> = new.collect();
        let mut left = BTreeSet::new();
        for members in new {
            self.assign(members, graph, &mut left, settled);
        }
        for component in left {
            if self.members(component).is_empty() {
                self.circles.remove(&component);
                self.stale.remove(&component);
            } else {
                self.stale.insert(component);
            }
        }
    }

    fn rearrange(&mut self, first: &[Vec<u32>], window: Range<usize>) {
        let taken: BTreeSet<u32> = first.iter().flatten().copied().collect();
        let rest = self.sequence[window.clone()].iter().copied();
        let rest = rest.filter(|member| *member != HOLE && !taken.contains(member));
        let order: Vec<u32> = first.iter().flatten().copied().chain(rest).collect();
        for (place, member) in window.clone().zip(&order) {
            self.sequence[place] = *member;
            self.place[*member as usize] = place;
        }
        self.sequence[window.start + order.len()..window.end].fill(HOLE);
    }

    /// Notes a component that was found. Adds circles that lost members by it to `left`.
    fn assign(
        &mut self,
        members: Vec<u32>,
        graph: &impl Needs,
        left: &mut BTreeSet<u64>,
        settled: &mut Settled,
    ) {
        let number = self.next;
        self.next += 1;
        for member in &members {
            let before = std::mem::replace(&mut self.component[*member as usize], number);
            if self.circles.contains_key(&before) {
                left.insert(before);
            }
        }
        settled.moved.extend(&members);
        if members.len() > 1 {
            let waiting = members.iter().map(|member| graph.waiting(*member)).sum();
            self.circles.insert(number, Circle { members, waiting });
        }
    }

    /// Whether these are a component already, which keeps its number.
    fn is_known(&self, members: &[u32]) -> bool {
        let component = self.component[members[0] as usize];
        if members.len() == 1 {
            return !self.circles.contains_key(&component);
        }
        members.iter().all(|one| self.component[*one as usize] == component)
            && members.len() == self.members(component).len()
    }

    /// Closes the holes once they are more than the members.
    fn compact(&mut self) {
        if self.holes <= self.sequence.len() / 2 {
            return;
        }
        self.sequence.retain(|member| *member != HOLE);
        self.holes = 0;
        for (place, member) in self.sequence.iter().enumerate() {
            self.place[*member as usize] = place;
        }
    }
}
