//! Rehearsals of every day: some thousands of them, from random bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::play;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_keeps_its_promises(bytes in vec(any::<u8>(), 0..2_000)) {
        play(&bytes);
    }
}
