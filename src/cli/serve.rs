//! `ringtgt serve`: from arguments to a configuration, and on to the daemon.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::adhoc;
use super::args::Serve;
use super::{FAILED, UNREADABLE, complain};
use crate::admin::config::{self, At, Config, LoadError, Problem, Report, Source};
use crate::admin::cpulist::Reactors;

/// Serves until told to stop.
pub(super) fn run(args: &Serve) -> ExitCode {
    let config = match configure(args, Path::new(config::DEFAULT_FILE)) {
        Ok((config, report)) => {
            complain(&report.to_string());
            config
        }
        Err(error) => {
            complain(&format!("{}\n", error.to_string().trim_end()));
            let unreadable = matches!(error, LoadError::Read { .. });
            return ExitCode::from(if unreadable { UNREADABLE } else { FAILED });
        }
    };
    let served = crate::admin::log::init(&args.log).and_then(|()| crate::admin::run::serve(config));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("ringtgt: {error:#}\n"));
            ExitCode::from(FAILED)
        }
    }
}

/// The configuration that the arguments mean.
fn configure(args: &Serve, default: &Path) -> Result<(Config, Report), LoadError> {
    if !args.stores.is_empty() || !args.cdrom.is_empty() {
        return with_overrides(args, adhoc::config(args, &hostname()).map_err(LoadError::Invalid)?);
    }
    let stray = adhoc::stray_options(args);
    if !stray.is_empty() {
        return Err(LoadError::Invalid(Report::new(Source::default(), stray)));
    }
    let file = args.config.clone().unwrap_or_else(|| default.into());
    with_overrides(args, config::load(&file).map_err(|error| explain(error, args, file))?)
}

/// The host's name; empty when it has none.
fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default()
}

/// Nothing named and nothing there: says what to type.
fn explain(error: LoadError, args: &Serve, path: PathBuf) -> LoadError {
    match error {
        LoadError::Read { error, .. } if args.config.is_none() && error.kind() == NOT_FOUND => {
            let remedy =
                "name what to serve, as in `ringtgt serve disk.img:10G` or `ringtgt serve /dev/sdb`, \
                          or write that file and check it with `ringtgt check`"
                    .into();
            LoadError::Read { path, error, remedy }
        }
        other => other,
    }
}

const NOT_FOUND: std::io::ErrorKind = std::io::ErrorKind::NotFound;

/// What is said on the command line counts more than what stands in a file.
fn with_overrides(args: &Serve, found: (Config, Report)) -> Result<(Config, Report), LoadError> {
    let (mut config, report) = found;
    let server = &mut config.server;
    if let Some(text) = &args.reactors {
        server.reactors = Reactors::parse(text).map_err(|error| {
            let at = At::Argument(format!("--reactors {text}"));
            let remedy = "write auto, a number, or processors like 0-3,6";
            let problem = Problem::error(at, error.to_string(), "", remedy);
            LoadError::Invalid(Report::new(Source::default(), vec![problem]))
        })?;
    }
    if let Some(us) = args.poll_us {
        server.poll = std::time::Duration::from_micros(us.into());
    }
    if let Some(dir) = &args.state_dir {
        server.state_dir.clone_from(dir);
    }
    server.buffer_memory = args.buffer_memory.or(server.buffer_memory);
    server.kernel_level = args.kernel_level.or(server.kernel_level);
    Ok((config, report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_anything_it_says_what_to_type() {
        let error = configure(&Serve::default(), Path::new("/nonexistent/ringtgt.toml")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nonexistent/ringtgt.toml") && text.contains("disk.img:10G"), "{text}");
    }

    #[test]
    fn options_count_more_than_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        std::fs::write(&file, "[server]\nreactors = 4\npoll_us = 7\nstate_dir = \"here\"\n").unwrap();
        let mut args = Serve { config: Some(file), ..Serve::default() };
        let (config, _) = configure(&args, Path::new("/")).unwrap();
        assert_eq!(config.server.reactors, Reactors::Count(4));
        assert_eq!(config.server.state_dir, dir.path().join("here"));
        args.reactors = Some("auto".into());
        args.poll_us = Some(0);
        let (config, _) = configure(&args, Path::new("/")).unwrap();
        assert_eq!(config.server.reactors, Reactors::Auto);
        assert!(config.server.poll.is_zero());
    }
}
