//! A token bucket in one word: the moment up to which its tokens are used up (the generic cell rate algorithm of ITU-T
//! I.371, in its form of a virtual scheduler). One word is read and written at once, and there is nothing to refill.

use core::ptr::NonNull;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A rate and a burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Rate {
    /// Nanoseconds for each token; 0 for no limit.
    pub interval_ns: u64,
    /// How far the used-up moment may lie ahead of now for one more token to be given.
    pub ahead_ns: u64,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self { interval_ns: 0, ahead_ns: 0 };

    /// `per_sec` tokens a second, of which `burst` (at least one) may be saved. 0 tokens a second are no limit.
    pub const fn new(per_sec: u32, burst: u32) -> Self {
        if per_sec == 0 {
            return Self::UNLIMITED;
        }
        let interval_ns = NANOS_PER_SEC / per_sec as u64;
        Self { interval_ns, ahead_ns: interval_ns * (burst as u64).saturating_sub(1) }
    }

    /// Whether a bucket used up to `time_ns` has no token at `now_ns`.
    #[inline(always)]
    pub const fn is_spent(self, time_ns: u64, now_ns: u64) -> bool {
        self.interval_ns != 0 && time_ns > now_ns + self.ahead_ns
    }

    /// Up to when the bucket is used up once a token is taken.
    #[inline(always)]
    pub const fn charged(self, time_ns: u64, now_ns: u64) -> u64 {
        if time_ns > now_ns { time_ns + self.interval_ns } else { now_ns + self.interval_ns }
    }
}

/// A bucket's word, which several processors use at once. Volatile, as lease entries are: LLVM has no atomic loads for
/// BPF, and an aligned word is read and written whole.
#[derive(Clone, Copy, Debug)]
pub struct Word(NonNull<u64>);

impl Word {
    /// A view of the word at `word`.
    ///
    /// # Safety
    /// `word` must be aligned and valid for reads and writes for as long as this and its copies are used, and nobody may
    /// hold a reference to it.
    #[inline(always)]
    pub const unsafe fn new(word: NonNull<u64>) -> Self {
        Self(word)
    }

    /// What it is now.
    #[inline(always)]
    pub fn load(self) -> u64 {
        // SAFETY: the constructor's contract.
        unsafe { self.0.as_ptr().read_volatile() }
    }

    /// Sets it.
    #[inline(always)]
    pub fn store(self, value: u64) {
        // SAFETY: the constructor's contract.
        unsafe { self.0.as_ptr().write_volatile(value) }
    }
}
