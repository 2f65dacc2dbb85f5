//! The allocator against its rules.
