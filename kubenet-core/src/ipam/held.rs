//! A set of held numbers in a space of any size, made for "which is the next free one".
//!
//! In: numbers from 0. Out: whether held, and the first free one from a given place on.
//!
//! 4,096 numbers form a page of 64 words with one summary word that marks the full ones; pages without a held number do
//! not exist, and a page that is full is kept only as a member of a run of full pages. A search therefore looks at one run,
//! at most two pages, and at most three words of each.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

const PAGE_BITS: u32 = 12;
const PAGE: u128 = 1 << PAGE_BITS;

/// A set of numbers. Insert, remove and next-free are O(log pages).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Pages that hold something and have room.
    pages: BTreeMap<u128, Box<Page>>,
    /// Runs of full pages, first to last; runs do not touch.
    full: BTreeMap<u128, u128>,
    count: u128,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Page {
    words: [u64; 64],
    /// Bit i: word i is all ones.
    full: u64,
}

impl Held {
    /// The empty set.
    pub const fn new() -> Self {
        Self { pages: BTreeMap::new(), full: BTreeMap::new(), count: 0 }
    }

    /// How many are held.
    pub const fn len(&self) -> u128 {
        self.count
    }

    /// Whether none is held.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a number is held.
    pub fn contains(&self, number: u128) -> bool {
        let (page, bit) = split(number);
        match self.pages.get(&page) {
            Some(page) => page.contains(bit),
            None => self.full_run(page).is_some(),
        }
    }

    /// Holds a number; false when it was held before.
    pub fn insert(&mut self, number: u128) -> bool {
        let (index, bit) = split(number);
        if !self.pages.contains_key(&index) && self.full_run(index).is_some() {
            return false;
        }
        let page = self.pages.entry(index).or_insert_with(|| Box::new(Page::EMPTY));
        if !page.insert(bit) {
            return false;
        }
        self.count += 1;
        if page.full == u64::MAX {
            self.pages.remove(&index);
            self.join(index);
        }
        true
    }

    /// Holds all numbers from `first` to `last`. O(last-first) only in whole pages.
    pub fn insert_range(&mut self, first: u128, last: u128) {
        let mut at = first;
        while at <= last {
            let (index, bit) = split(at);
            if bit == 0 && last - at >= PAGE - 1 {
                let before = match self.pages.remove(&index) {
                    Some(page) => page.len(),
                    None if self.full_run(index).is_some() => PAGE,
                    None => 0,
                };
                if before < PAGE {
                    self.count += PAGE - before;
                    self.join(index);
                }
                let Some(next) = at.checked_add(PAGE) else { return };
                at = next;
            } else {
                self.insert(at);
                let Some(next) = at.checked_add(1) else { return };
                at = next;
            }
        }
    }

    /// Gives a number back; false when it was not held.
    pub fn remove(&mut self, number: u128) -> bool {
        let (index, bit) = split(number);
        if !self.pages.contains_key(&index) && self.full_run(index).is_some() {
            self.split_run(index);
            self.pages.insert(index, Box::new(Page::FULL));
        }
        let Some(page) = self.pages.get_mut(&index) else { return false };
        if !page.remove(bit) {
            return false;
        }
        self.count -= 1;
        if page.words.iter().all(|w| *w == 0) {
            self.pages.remove(&index);
        }
        true
    }

    /// The first number from `from` to `last` that is not held.
    pub fn next_free(&self, from: u128, last: u128) -> Option<u128> {
        let mut at = from;
        while at <= last {
            let (index, bit) = split(at);
            if let Some(page) = self.pages.get(&index) {
                if let Some(bit) = page.next_free(bit) {
                    return Some((index << PAGE_BITS) + u128::from(bit)).filter(|n| *n <= last);
                }
                at = index.checked_add(1)?.checked_mul(PAGE)?;
            } else if let Some(end) = self.full_run(index) {
                at = end.checked_add(1)?.checked_mul(PAGE)?;
            } else {
                return Some(at);
            }
        }
        None
    }

    /// The next free number in the ring `first..=last`, from `from` on and around.
    pub fn next_free_around(&self, from: u128, first: u128, last: u128) -> Option<u128> {
        self.next_free(from, last).or_else(|| self.next_free(first, last.min(from.checked_sub(1)?)))
    }

    /// The last page of the full run that this page is in.
    fn full_run(&self, page: u128) -> Option<u128> {
        let (_, &last) = self.full.range(..=page).next_back()?;
        (page <= last).then_some(last)
    }

    fn join(&mut self, page: u128) {
        let last = page.checked_add(1).and_then(|next| self.full.remove(&next)).unwrap_or(page);
        if let Some((_, end)) = self.full.range_mut(..page).next_back()
            && *end + 1 == page
        {
            *end = last;
            return;
        }
        self.full.insert(page, last);
    }

    fn split_run(&mut self, page: u128) {
        let Some((&first, &last)) = self.full.range(..=page).next_back() else { return };
        self.full.remove(&first);
        if first < page {
            self.full.insert(first, page - 1);
        }
        if page < last {
            self.full.insert(page + 1, last);
        }
    }
}

impl Page {
    const EMPTY: Self = Self { words: [0; 64], full: 0 };
    const FULL: Self = Self { words: [u64::MAX; 64], full: u64::MAX };

    fn len(&self) -> u128 {
        self.words.iter().map(|w| u128::from(w.count_ones())).sum()
    }

    fn contains(&self, bit: u32) -> bool {
        self.words.get((bit >> 6) as usize).is_some_and(|w| w & (1 << (bit & 63)) != 0)
    }

    fn insert(&mut self, bit: u32) -> bool {
        let Some(word) = self.words.get_mut((bit >> 6) as usize) else { return false };
        let mask = 1 << (bit & 63);
        let fresh = *word & mask == 0;
        *word |= mask;
        if *word == u64::MAX {
            self.full |= 1 << (bit >> 6);
        }
        fresh
    }

    fn remove(&mut self, bit: u32) -> bool {
        let Some(word) = self.words.get_mut((bit >> 6) as usize) else { return false };
        let mask = 1 << (bit & 63);
        let held = *word & mask != 0;
        *word &= !mask;
        self.full &= !(1 << (bit >> 6));
        held
    }

    fn next_free(&self, from: u32) -> Option<u32> {
        let start = from >> 6;
        let free_here = !self.words.get(start as usize)? & (u64::MAX << (from & 63));
        if free_here != 0 {
            return Some((start << 6) + free_here.trailing_zeros());
        }
        let later = !self.full & u64::MAX.checked_shl(start + 1)?;
        if later == 0 {
            return None;
        }
        let index = later.trailing_zeros();
        let word = self.words.get(index as usize)?;
        Some((index << 6) + (!word).trailing_zeros())
    }
}

const fn split(number: u128) -> (u128, u32) {
    (number >> PAGE_BITS, (number & (PAGE - 1)) as u32)
}
