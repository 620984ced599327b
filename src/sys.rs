//! The few raw system calls that no crate of ours wraps.
