//! Where the daemon's own words go: standard error, at one level or as a filter says, which may become another one while
//! it serves.

use std::fmt;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload::Handle;

/// The level when nothing is said.
pub const DEFAULT: &str = "info";

/// What a filter has to be like.
pub const REMEDY: &str = "write error, warn, info or debug, or a list like info,ringtgt::session=debug";

/// Takes another filter in the place of the one that was started with.
static CHANGE: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts logging to standard error. `filter` is a level (`error`, `warn`, `info`, `debug`) or a list
/// like `info,ringtgt::session=debug`. Under systemd the journal adds the time, so we do not.
///
/// Fails when `filter` cannot be read, and when logging was started before.
pub fn init(filter: &str) -> anyhow::Result<()> {
    let filter = parse(filter).map_err(anyhow::Error::msg)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if goes_to_journal() {
        let line = tracing_subscriber::fmt::format().without_time().with_ansi(false);
        let builder = builder.with_ansi(false).event_format(WithPriority(line)).with_filter_reloading();
        remember(builder.reload_handle());
        builder.try_init()
    } else {
        let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
        remember(builder.reload_handle());
        builder.try_init()
    };
    started.map_err(|e| anyhow::anyhow!("cannot start logging: {e}"))
}

fn remember<S: 'static>(handle: Handle<EnvFilter, S>) {
    // It fails when logging has ended, and then there is nobody to be told.
    let change = move |filter| drop(handle.reload(filter));
    drop(CHANGE.set(Box::new(change)));
}

/// Logs as that filter says from now on. One that cannot be read, and one for a process that logs nothing, changes nothing.
pub fn change(filter: &str) {
    if let (Some(change), Ok(filter)) = (CHANGE.get(), parse(filter)) {
        change(filter);
    }
}

/// Whether a filter can be read.
///
/// # Errors
/// What is wrong with it; see [`REMEDY`].
pub fn check(filter: &str) -> Result<(), String> {
    parse(filter).map(drop)
}

/// Whether standard error is the stream of the journal that the service manager has connected it to; it may have been
/// sent elsewhere since (systemd.exec(5), JOURNAL_STREAM).
fn goes_to_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|stderr| stream == *format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// Lines that begin with the priority that the journal is to give them (sd-daemon(3)).
struct WithPriority<F>(F);

impl<S, N, F> FormatEvent<S, N> for WithPriority<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, cx: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        out.write_str(priority(*event.metadata().level()))?;
        self.0.format_event(cx, out, event)
    }
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// A lone word is a level: the filter's own language would take a misspelt one for the name of a module, and
/// then log nothing at all.
fn parse(filter: &str) -> Result<EnvFilter, String> {
    let is_level = |part: &str| LEVELS.iter().any(|level| part.trim().eq_ignore_ascii_case(level));
    match filter.split(',').find(|part| !part.contains('=') && !is_level(part)) {
        Some(part) => Err(format!("\"{part}\" is no level")),
        None => EnvFilter::builder().parse(filter).map_err(|error| format!("\"{filter}\": {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_lists() {
        for good in ["info", "DEBUG", "warn,ringtgt::session=debug", "off"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "debgu", "info,ringtgt=loud", "ringtgt"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
