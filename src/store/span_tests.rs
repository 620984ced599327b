//! Pieces, fallbacks and ends of spans; no store is asked.

use super::*;

fn span(method: Method, otherwise: Method, len: u64, durable: bool) -> Span {
    Span { at: 0, end: len, block: 512, method, otherwise, durable }
}

#[test]
fn a_long_range_is_worked_off_in_pieces() {
    let mut span = span(Method::Fallocate(PUNCH), Method::Nothing, QUICK + 512, false);
    assert_eq!(span.piece(), QUICK);
    span.done(0).unwrap();
    assert_eq!((span.at, span.piece()), (QUICK, 512));
    span.done(0).unwrap();
    assert_eq!(span.piece(), 0);
}

#[test]
fn zeroing_that_is_not_supported_is_written() {
    let mut span = span(Method::Fallocate(ZERO), Method::Write, 2 * u64::from(ZEROES), false);
    span.done(-libc::EOPNOTSUPP).unwrap();
    assert_eq!((span.method, span.at, span.piece()), (Method::Write, 0, u64::from(ZEROES)));
    assert_eq!(span.done(-libc::EOPNOTSUPP), Err(Fault::Unsupported));
}

#[test]
fn discarding_that_is_not_supported_is_nothing() {
    let mut span = span(Method::Forget, Method::Nothing, 1 << 40, false);
    span.done(-libc::EOPNOTSUPP).unwrap();
    assert_eq!(span.piece(), 1 << 40);
    span.done(0).unwrap();
    assert_eq!(span.at, span.end);
}

#[test]
fn short_writes_of_zeroes_go_on_at_a_block() {
    let mut span = span(Method::Write, Method::Write, 4096, false);
    span.done(1030).unwrap();
    assert_eq!(span.at, 1024);
    assert_eq!(span.done(0), Err(Fault::Write));
}

#[test]
fn interruptions_repeat_and_errors_end() {
    let mut span = span(Method::Fallocate(PUNCH), Method::Write, 4096, false);
    span.done(-libc::EINTR).unwrap();
    assert_eq!(span.at, 0);
    assert_eq!(span.done(-libc::ENOSPC), Err(Fault::NoSpace));
    assert_eq!(span.done(-libc::EIO), Err(Fault::Write));
}

#[test]
fn a_durable_span_ends_with_a_flush() {
    let mut span = span(Method::Fallocate(ZERO), Method::Write, 4096, true);
    span.done(0).unwrap();
    assert!(span.durable && span.piece() == 0);
    assert_eq!(span.clone().done(-libc::EOPNOTSUPP), Err(Fault::Unsupported));
    span.done(0).unwrap();
    assert!(!span.durable);
}
