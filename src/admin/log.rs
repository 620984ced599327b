//! Where the daemon's own words go: standard error, at one level or as a filter says.

use tracing_subscriber::EnvFilter;

/// The level when nothing is said.
pub const DEFAULT: &str = "info";

/// Starts logging to standard error. `filter` is a level (`error`, `warn`, `info`, `debug`) or a list
/// like `info,ringtgt::session=debug`. Under systemd the journal adds the time, so we do not.
///
/// Fails when `filter` cannot be read, and when logging was started before.
pub fn init(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(filter).map_err(|e| {
        anyhow::anyhow!("--log {filter}: {e}; write error, warn, info or debug, or MODULE=LEVEL,…")
    })?;
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(!journal && std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let started = if journal { builder.without_time().try_init() } else { builder.try_init() };
    started.map_err(|e| anyhow::anyhow!("cannot start logging: {e}"))
}
