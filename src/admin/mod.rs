//! Everything that is not the data path: what is configured, what is kept, what is told to people.
//!
//! Owns: the configuration and its checking, identities and other state on disk, logging, the service
//! manager, and the way up and down of the daemon. Promises: a configuration is taken whole or not at
//! all, and every mistake in it is told at once with its place and its remedy; a secret is never shown.
//! Refuses to know: rings, buffers, and the inside of a session.

pub mod banner;
mod callers;
pub mod config;
pub mod cpulist;
pub mod difference;
pub mod edit;
mod endings;
pub mod http;
mod inherited;
pub mod lio;
pub mod listen;
pub mod live;
pub mod log;
mod lookout;
mod loopbacks;
pub mod notify;
pub mod period;
mod ports;
mod recording;
pub mod rpc;
pub mod run;
pub mod secret;
pub mod size;
pub mod socket;
pub mod state;
pub mod stats;
mod watch;
