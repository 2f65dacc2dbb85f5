//! The table of answers that leases share. What many clients are told is stored once.

use std::{collections::HashMap, sync::Arc};

use dhcp_common::abi::Answer;
use xxhash_rust::xxh3::Xxh3Builder;

/// Answers by index, bounded.
#[derive(Clone, Debug)]
pub struct AnswerTable {
    by_index: Vec<Option<Arc<Answer>>>,
    /// Hashed for every lease granted, and an answer is half a kilobyte: by a hash that is fast on many octets, keyed so that
    /// no client can make many that meet.
    by_content: HashMap<Arc<Answer>, u32, Xxh3Builder>,
    max: u32,
    refused: u64,
}

/// What [`AnswerTable::intern`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interned {
    /// The answer was there already.
    Known(u32),
    /// The answer is new at this index.
    New(u32),
}

impl Interned {
    /// The answer's index.
    pub const fn index(self) -> u32 {
        match self {
            Self::Known(index) | Self::New(index) => index,
        }
    }
}

impl AnswerTable {
    /// An empty table for at most `max` answers.
    pub fn new(max: u32) -> Self {
        let keyed = Xxh3Builder::new().with_seed(rand::random());
        Self { by_index: Vec::new(), by_content: HashMap::with_hasher(keyed), max, refused: 0 }
    }

    /// The index of an answer equal to `answer`, which is added if there is room; `None`, and counted, if the table is
    /// full.
    pub fn intern(&mut self, answer: &Answer) -> Option<Interned> {
        if let Some(&index) = self.by_content.get(answer) {
            return Some(Interned::Known(index));
        }
        let Some(index) = u32::try_from(self.by_index.len()).ok().filter(|&index| index < self.max) else {
            self.refused += 1;
            return None;
        };
        let answer = Arc::new(*answer);
        self.by_index.push(Some(Arc::clone(&answer)));
        self.by_content.insert(answer, index);
        Some(Interned::New(index))
    }

    /// Puts a recovered answer back at its index. Whether it could: not beyond the bound.
    pub fn restore(&mut self, index: u32, answer: &Answer) -> bool {
        let Ok(at) = usize::try_from(index) else { return false };
        if index >= self.max {
            return false;
        }
        if self.by_index.len() <= at {
            self.by_index.resize(at + 1, None);
        }
        let answer = Arc::new(*answer);
        if let Some(slot) = self.by_index.get_mut(at) {
            *slot = Some(Arc::clone(&answer));
        }
        self.by_content.insert(answer, index);
        true
    }

    /// The answer at `index`.
    pub fn get(&self, index: u32) -> Option<&Answer> {
        self.by_index.get(usize::try_from(index).ok()?)?.as_deref()
    }

    /// Every answer with its index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Answer)> {
        (0..).zip(&self.by_index).filter_map(|(index, answer)| Some((index, answer.as_deref()?)))
    }

    /// The number of answers held.
    pub fn len(&self) -> usize {
        self.by_content.len()
    }

    /// Whether no answer is held.
    pub fn is_empty(&self) -> bool {
        self.by_content.is_empty()
    }

    /// How often there was no room for one.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// The most it can hold.
    pub const fn max(&self) -> u32 {
        self.max
    }
}
