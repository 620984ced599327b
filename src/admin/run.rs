//! Serving a configuration: from open stores and listeners to the last flush.

use super::config::Config;

/// Serves `config` until told to stop.
pub fn serve(config: Config) -> anyhow::Result<()> {
    let _ = config;
    anyhow::bail!("this build has no engine to serve with");
}
