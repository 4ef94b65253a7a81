//! Where a walk is: the chain, the rule that is next, and the chains to come back to.
//!
//! In: chains that a rule leads to. Out: the next rule's number. The call depth is not limited but by [`DEPTH`]: rules
//! that lead in a circle are refused by `iptables` and `nft` when they are loaded (`mark_source_chains`,
//! `nft_chain_validate`), so a circle in a dump means that the dump is wrong, and the walk says so.

use alloc::format;
use alloc::sync::Arc;
use core::ops::Deref;

use smallvec::SmallVec;

use super::index::Cursor;
use crate::plan::Unknown;

/// So many chains may lead from one to the other.
const DEPTH: usize = 1024;
/// So many chains are entered for one packet; the kernel would be busy for a second.
const ENTERED: u32 = 1_000_000;

/// A chain of the ruleset, or one that was made for this packet.
#[derive(Debug)]
pub(super) enum ChainRef<'r, T> {
    /// It is there.
    Held(&'r T),
    /// It was made.
    Made(Arc<T>),
}

impl<T> Deref for ChainRef<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Held(chain) => chain,
            Self::Made(chain) => chain,
        }
    }
}

/// A chain and the next rule in it.
#[derive(Debug)]
pub(super) struct Frame<'r, T> {
    pub(super) chain: ChainRef<'r, T>,
    pub(super) cursor: Cursor<'r>,
    /// How long the path is while this chain runs.
    depth: usize,
}

impl<'r, T> Frame<'r, T> {
    pub(super) const fn new(chain: ChainRef<'r, T>, cursor: Cursor<'r>) -> Self {
        Self { chain, cursor, depth: 0 }
    }
}

/// The chains to come back to, and the way that led here.
#[derive(Debug)]
pub(super) struct Calls<'r, T> {
    /// Where the walk is.
    pub(super) current: Frame<'r, T>,
    back: SmallVec<[Frame<'r, T>; 8]>,
    /// Names of the chains from the base chain to the current one.
    path: SmallVec<[Arc<str>; 16]>,
    entered: u32,
}

impl<'r, T> Calls<'r, T> {
    pub(super) fn new(base: Frame<'r, T>) -> Self {
        Self { current: base, back: SmallVec::new(), path: SmallVec::new(), entered: 0 }
    }

    /// How many chains will be come back to.
    pub(super) fn depth(&self) -> usize {
        self.back.len()
    }

    /// On in another chain, and back here at its end.
    pub(super) fn jump(&mut self, name: Arc<str>, to: Frame<'r, T>) -> Result<(), Unknown> {
        self.enter(name)?;
        let mut here = core::mem::replace(&mut self.current, to);
        here.depth = self.path.len() - 1;
        self.back.push(here);
        Ok(())
    }

    /// On in another chain, whose end is the end of this one.
    pub(super) fn goto(&mut self, name: Arc<str>, to: Frame<'r, T>) -> Result<(), Unknown> {
        self.enter(name)?;
        self.current = to;
        Ok(())
    }

    /// Back to where the current chain was called; false in a base chain.
    pub(super) fn leave(&mut self) -> bool {
        let Some(frame) = self.back.pop() else { return false };
        self.path.truncate(frame.depth);
        self.current = frame;
        true
    }

    fn enter(&mut self, name: Arc<str>) -> Result<(), Unknown> {
        self.entered += 1;
        let why = if self.path.iter().any(|on| Arc::ptr_eq(on, &name) || *on == name) {
            format!("chain {name} leads back to itself, which the kernel does not load")
        } else if self.path.len() >= DEPTH {
            format!("more than {DEPTH} chains lead from one to the other at {name}")
        } else if self.entered > ENTERED {
            format!("a packet enters more than {ENTERED} chains before {name}")
        } else {
            self.path.push(name);
            return Ok(());
        };
        Err(Unknown { why, what_would_settle_it: "the rules as the kernel lists them".into() })
    }
}
