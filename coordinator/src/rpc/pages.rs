//! Pages of lists: how many things one answer has, and whether others follow.

/// Things of one page at most, so that a page is far below what one message may hold.
const MAX_PAGE: u32 = 1000;

/// How many things the requested page has; all of them with 0, which callers of older versions
/// send.
pub(super) fn size(limit: u32) -> usize {
    if limit == 0 { usize::MAX } else { limit.min(MAX_PAGE) as usize }
}

/// Leaves one page of a list. Returns whether others follow.
pub(super) fn cut<T>(list: &mut Vec<T>, size: usize) -> bool {
    let more = list.len() > size;
    list.truncate(size);
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_what_was_asked_for_and_never_too_much() {
        for (limit, left, follows) in
            [(0, 2500, false), (1, 1, true), (2500, 1000, true), (999, 999, true)]
        {
            let mut list = vec![(); 2500];
            assert_eq!(cut(&mut list, size(limit)), follows, "{limit}");
            assert_eq!(list.len(), left, "{limit}");
        }
        assert!(!cut(&mut vec![1, 2], size(2)), "it is the last page");
    }
}
