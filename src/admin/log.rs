//! Where the daemon's own words go: standard error, at one level or as a filter says.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The level when nothing is said.
pub const DEFAULT: &str = "info";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts logging to standard error. `filter` is a level (`error`, `warn`, `info`, `debug`) or a list
/// like `info,ringtgt::session=debug`. Under systemd the journal adds the time, so we do not.
///
/// Fails when `filter` cannot be read, and when logging was started before.
pub fn init(filter: &str) -> anyhow::Result<()> {
    let filter = parse(filter)?;
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(!journal && std::io::stderr().is_terminal());
    let started = if journal { builder.without_time().try_init() } else { builder.try_init() };
    started.map_err(|e| anyhow::anyhow!("cannot start logging: {e}"))
}

/// A lone word is a level: the filter's own language would take a misspelt one for the name of a module, and
/// then log nothing at all.
fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    let remedy = "write error, warn, info or debug, or a list like info,ringtgt::session=debug";
    for part in filter.split(',').filter(|part| !part.contains('=')) {
        anyhow::ensure!(
            LEVELS.iter().any(|level| part.trim().eq_ignore_ascii_case(level)),
            "--log {filter}: \"{part}\" is no level; {remedy}"
        );
    }
    EnvFilter::builder().parse(filter).map_err(|e| anyhow::anyhow!("--log {filter}: {e}; {remedy}"))
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
