//! Under construction in this commit series; see the crate page.

pub mod state;
