//! Numbers that are the same for the same seed (xorshift64).

/// A source of them.
pub(crate) struct Random(u64);

impl Random {
    /// One for this seed and purpose.
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        let mixed =
            purpose.bytes().fold(seed ^ 0x9e37_79b9_7f4a_7c15, |n, b| (n ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Self(mixed | 1)
    }

    /// The next one, below this.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    /// Once in so many times.
    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub(crate) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}
