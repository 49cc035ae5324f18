//! Strongly connected components of a directed graph, by Tarjan's algorithm without recursion,
//! because submitters choose the depth of a batch.

/// The notes of Tarjan's algorithm for each node. They are kept between searches, so that the cost
/// of a search depends on the visited nodes and not on the size of the graph.
#[derive(Debug, Clone, Default)]
pub(super) struct Search {
    /// When a node was met, from 1 on; 0 when it was not.
    met: Vec<u32>,
    /// The earliest node on the stack that it reaches.
    low: Vec<u32>,
    on_stack: Vec<bool>,
    stack: Vec<u32>,
    frames: Vec<Frame>,
    /// Edges of all nodes on the way from the root; those of the last frame are at the end.
    edges: Vec<u32>,
    visited: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    node: u32,
    /// Where its edges begin.
    begin: usize,
    /// The next of its edges.
    next: usize,
}

/// The result of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The components; each one after those that it has edges to.
    pub(super) components: Vec<Vec<u32>>,
    /// How many nodes and edges were visited.
    pub(super) visits: u64,
}

impl Search {
    /// The components of all nodes that are reached from `roots`. `edges` adds the edges of a node
    /// to a list; it leaves out those that the search is not to follow.
    pub(super) fn run(
        &mut self,
        roots: &[u32],
        mut edges: impl FnMut(u32, &mut Vec<u32>),
    ) -> Found {
        let mut found = Found::default();
        for root in roots {
            if self.is_new(*root) {
                self.enter(*root, &mut edges);
                self.walk(&mut edges, &mut found);
            }
        }
        for node in self.visited.drain(..) {
            self.met[node as usize] = 0;
        }
        found
    }

    fn walk(&mut self, edges: &mut impl FnMut(u32, &mut Vec<u32>), found: &mut Found) {
        while let Some(frame) = self.frames.last_mut() {
            let from = frame.node;
            if let Some(to) = self.edges.get(frame.next).copied() {
                frame.next += 1;
                found.visits += 1;
                if self.is_new(to) {
                    self.enter(to, edges);
                } else if self.on_stack[to as usize] {
                    self.lower(from, self.met[to as usize]);
                }
            } else {
                found.visits += 1;
                self.leave(found);
            }
        }
    }

    fn is_new(&self, node: u32) -> bool {
        self.met.get(node as usize).is_none_or(|met| *met == 0)
    }

    fn lower(&mut self, node: u32, met: u32) {
        let low = &mut self.low[node as usize];
        *low = (*low).min(met);
    }

    fn enter(&mut self, node: u32, edges: &mut impl FnMut(u32, &mut Vec<u32>)) {
        let at = node as usize;
        if self.met.len() <= at {
            self.met.resize(at + 1, 0);
            self.low.resize(at + 1, 0);
            self.on_stack.resize(at + 1, false);
        }
        self.visited.push(node);
        let met = u32::try_from(self.visited.len()).expect("nodes are numbered by 32 bits");
        (self.met[at], self.low[at], self.on_stack[at]) = (met, met, true);
        self.stack.push(node);
        let begin = self.edges.len();
        self.frames.push(Frame { node, begin, next: begin });
        edges(node, &mut self.edges);
    }

    /// The last node has no more edges: it ends a component, or everything that it reaches belongs
    /// to its caller, too.
    fn leave(&mut self, found: &mut Found) {
        let Some(Frame { node, begin, .. }) = self.frames.pop() else { return };
        self.edges.truncate(begin);
        let low = self.low[node as usize];
        if low == self.met[node as usize] {
            let component = self.take_component(node);
            found.components.push(component);
        }
        if let Some(caller) = self.frames.last() {
            self.lower(caller.node, low);
        }
    }

    fn take_component(&mut self, first: u32) -> Vec<u32> {
        let mut component = Vec::new();
        while let Some(node) = self.stack.pop() {
            self.on_stack[node as usize] = false;
            component.push(node);
            if node == first {
                break;
            }
        }
        component
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(count: u32, edges: &[(u32, u32)]) -> Found {
        let roots: Vec<u32> = (0..count).collect();
        Search::default().run(&roots, |from, list| {
            list.extend(edges.iter().filter(|edge| edge.0 == from).map(|edge| edge.1));
        })
    }

    #[test]
    fn circles_are_components_and_come_after_what_they_need() {
        let found = run(5, &[(0, 1), (1, 0), (1, 2), (3, 0), (4, 4)]);
        let mut components = found.components;
        for component in &mut components {
            component.sort_unstable();
        }
        assert_eq!(components, [vec![2], vec![0, 1], vec![3], vec![4]]);
        assert_eq!(found.visits, 5 + 5);
    }

    #[test]
    fn a_long_chain_takes_no_stack_and_a_second_search_begins_anew() {
        let last = 1_000_000;
        let mut search = Search::default();
        let mut chain =
            |node: u32, list: &mut Vec<u32>| list.extend((node < last).then_some(node + 1));
        for _ in 0..2 {
            let found = search.run(&[0], &mut chain);
            assert_eq!(found.components.len(), last as usize + 1);
            assert_eq!(found.visits, 2 * u64::from(last) + 1);
        }
        let found =
            search.run(&[7], |node, list| list.push(if node == last { 7 } else { node + 1 }));
        assert_eq!(found.components.len(), 1);
    }

    proptest::proptest! {
        /// Two nodes are in one component exactly when each reaches the other.
        #[test]
        fn it_is_reachability_both_ways(edges in proptest::collection::vec((0_u32..9, 0_u32..9), 0..30)) {
            let mut reaches = [[false; 9]; 9];
            for (from, row) in reaches.iter_mut().enumerate() {
                row[from] = true;
            }
            for (from, to) in &edges {
                reaches[*from as usize][*to as usize] = true;
            }
            let pairs = || (0..81_usize).map(|pair| (pair / 9, pair % 9));
            for middle in 0..9 {
                for (from, to) in pairs() {
                    reaches[from][to] |= reaches[from][middle] && reaches[middle][to];
                }
            }
            let found = run(9, &edges).components;
            let of = |node: usize| found.iter().position(|one| one.contains(&(node as u32)));
            for (from, to) in pairs() {
                let both = reaches[from][to] && reaches[to][from];
                proptest::prop_assert_eq!(of(from) == of(to), both);
                // Needed nodes come first.
                proptest::prop_assert!(!reaches[from][to] || of(to) <= of(from));
            }
        }
    }
}
