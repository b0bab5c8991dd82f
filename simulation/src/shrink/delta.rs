//! Delta debugging: a small subset of a list with which something still happens (*ddmin* of Zeller and Hildebrandt, *Simplifying and
//! Isolating Failure-Inducing Input*, TSE 2002, section 3).

/// A subset of `items`, in order, for which `holds`, and of which (if `holds` is a function, and never gave up) no single item can be
/// left out: 1-minimal. `holds` is asked O(n²) times at most, O(log n) if a single item is enough; `None` from it ends the search with
/// the smallest subset so far. `holds(items)` itself is taken for granted.
pub fn minimise<T: Clone>(items: &[T], holds: &mut dyn FnMut(&[T]) -> Option<bool>) -> Vec<T> {
    let mut best = items.to_vec();
    match holds(&[]) {
        Some(true) => return Vec::new(),
        Some(false) => {}
        None => return best,
    }
    let mut parts = 2;
    while best.len() >= 2 {
        let length = best.len().div_ceil(parts);
        let starts: Vec<usize> = (0..best.len()).step_by(length).collect();
        let subsets = starts.iter().map(|start| best[*start..best.len().min(start + length)].to_vec());
        let complements = starts.iter().map(|start| {
            let end = best.len().min(start + length);
            [&best[..*start], &best[end..]].concat()
        });
        // Of two halves, each is the other's complement.
        let candidates: Vec<Vec<T>> =
            if parts == 2 { subsets.collect() } else { subsets.chain(complements).collect() };
        let mut smaller = None;
        for candidate in candidates {
            match holds(&candidate) {
                Some(true) => {
                    smaller = Some(candidate);
                    break;
                }
                Some(false) => {}
                None => return best,
            }
        }
        match smaller {
            Some(candidate) => {
                parts = if candidate.len() <= length { 2 } else { (parts - 1).max(2) };
                best = candidate;
            }
            None if parts >= best.len() => break,
            None => parts = (parts * 2).min(best.len()),
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_left_and_nothing_else_wherever_it_stands() {
        let items: Vec<u32> = (0..40).collect();
        for needed in [vec![], vec![0], vec![39], vec![3, 30], vec![7, 8, 21, 39], (0..40).collect()] {
            let mut asked = 0;
            let found = minimise(&items, &mut |subset| {
                asked += 1;
                Some(needed.iter().all(|item| subset.contains(item)))
            });
            assert_eq!(found, needed);
            assert!(asked <= 40 * 40, "{asked} questions");
        }
    }

    #[test]
    fn any_of_several_reasons_is_enough() {
        let items: Vec<u32> = (0..20).collect();
        let found =
            minimise(&items, &mut |subset| Some(subset.contains(&5) || subset.iter().sum::<u32>() > 100));
        assert_eq!(found, [5]);
    }

    #[test]
    fn a_search_that_must_end_gives_the_smallest_so_far() {
        let items: Vec<u32> = (0..16).collect();
        let mut left = 3;
        let found = minimise(&items, &mut |subset| {
            left -= 1;
            (left >= 0).then(|| subset.contains(&1))
        });
        assert_eq!(found, [0, 1, 2, 3]);
    }
}
