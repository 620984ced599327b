//! Under construction in this commit series; see the crate page.

pub mod chap;
pub mod discovery;
pub mod keys;
pub mod login;
