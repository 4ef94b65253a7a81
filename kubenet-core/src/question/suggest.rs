//! Near names for names that do not exist.

use alloc::vec::Vec;

/// The names nearest to what was written, best first, at most `limit`. A name is near when few letters differ
/// (optimal string alignment distance of at most a third of the letters, two at least), from it or from a
/// beginning of it that ends before a dash (`frontnd` is near `frontend-7d4f6c8b9-x2x4z`), or when it begins with
/// what was written. Costs O(names × letters²).
pub(super) fn near<'a>(
    written: &str,
    names: impl IntoIterator<Item = &'a str>,
    limit: usize,
) -> Vec<&'a str> {
    let written = written.to_ascii_lowercase();
    let allowed = (written.chars().count() / 3).max(2);
    let mut found: Vec<(usize, &str)> = Vec::new();
    for name in names {
        let score =
            if !written.is_empty() && name.starts_with(&*written) { 0 } else { nearest(&written, name) };
        if score <= allowed && score < written.chars().count().max(1) {
            found.push((score, name));
        }
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(limit).map(|(_, name)| name).collect()
}

fn nearest(written: &str, name: &str) -> usize {
    let dashes = name.match_indices('-').map(|(at, _)| at);
    let beginnings = dashes.chain([name.len()]).filter_map(|end| name.get(..end));
    beginnings.map(|part| distance(written, part)).min().unwrap_or(usize::MAX)
}

/// Insertions, deletions, changes and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut two_back: Vec<usize> = Vec::new();
    let mut back: Vec<usize> = (0..=b.len()).collect();
    let mut before = None;
    for (i, x) in a.chars().take(64).enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best =
                (at(&row, j) + 1).min(at(&back, j + 1) + 1).min(at(&back, j) + usize::from(x != *y));
            let swapped = j > 0 && before == Some(*y) && b.get(j - 1) == Some(&x);
            if swapped {
                best = best.min(at(&two_back, j - 1) + 1);
            }
            row.push(best);
        }
        two_back = core::mem::replace(&mut back, row);
        before = Some(x);
    }
    back.last().copied().unwrap_or(usize::MAX)
}
