//! A whole session in full feature phase, driven by a sequence of operations against a host that checks every call.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ringtgt::session::rehearsal::play(bytes);
});
