//! `ringtgt serve`: from arguments to a configuration, and on to the daemon.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::adhoc;
use super::args::Serve;
use super::{FAILED, UNREADABLE, complain};
use crate::admin::config::{self, At, Config, LoadError, Problem, Report, Source};
use crate::admin::cpulist::Reactors;
use crate::admin::live::{Origin, Overrides};

/// Serves until told to stop.
pub(super) fn run(args: &Serve) -> ExitCode {
    let default = Path::new(config::DEFAULT_FILE);
    let (config, origin) = match configure(args, default) {
        Ok((config, report)) => {
            complain(&report.to_string());
            let origin = origin(args, default, &config, &report);
            (config, origin)
        }
        Err(error) => {
            complain(&format!("{}\n", error.to_string().trim_end()));
            let unreadable = matches!(error, LoadError::Read { .. });
            return ExitCode::from(if unreadable { UNREADABLE } else { FAILED });
        }
    };
    let served =
        crate::admin::log::init(&config.server.log).and_then(|()| crate::admin::run::serve(config, origin));
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
    overrides(args)?.apply(&mut config.server);
    Ok((config, report))
}

fn overrides(args: &Serve) -> Result<Overrides, LoadError> {
    let reactors = args.reactors.as_ref().map(|text| {
        Reactors::parse(text).map_err(|error| {
            let at = At::Argument(format!("--reactors {text}"));
            let remedy = "write auto, a number, or processors like 0-3,6";
            let problem = Problem::error(at, error.to_string(), "", remedy);
            LoadError::Invalid(Report::new(Source::default(), vec![problem]))
        })
    });
    Ok(Overrides {
        reactors: reactors.transpose()?,
        poll: args.poll_us.map(|us| std::time::Duration::from_micros(us.into())),
        state_dir: args.state_dir.clone(),
        buffer_memory: args.buffer_memory,
        kernel_level: args.kernel_level,
        control_socket: args.control_socket.clone(),
        log: args.log.clone(),
    })
}

/// Where the configuration came from, for those who change it while it is served.
fn origin(args: &Serve, default: &Path, config: &Config, report: &Report) -> Origin {
    let named = args.stores.is_empty() && args.cdrom.is_empty();
    let file = named.then(|| args.config.clone().unwrap_or_else(|| default.into()));
    // It has been read from there, whatever the directory of the process will be.
    let file = file.map(|file| std::path::absolute(&file).unwrap_or(file));
    // They are well formed: the configuration was made with them.
    let overrides = overrides(args).unwrap_or_default();
    let text = if file.is_some() { report.text().to_owned() } else { adhoc::text(args, config) };
    Origin { file, text, overrides }
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
        std::fs::write(&file, "[server]\nreactors = 4\npoll_us = 7\nstate_dir = \"here\"\nlog = \"warn\"\n")
            .unwrap();
        let mut args = Serve { config: Some(file), ..Serve::default() };
        let (config, _) = configure(&args, Path::new("/")).unwrap();
        assert_eq!(config.server.reactors, Reactors::Count(4));
        assert_eq!(config.server.state_dir, dir.path().join("here"));
        args.reactors = Some("auto".into());
        args.poll_us = Some(0);
        assert_eq!(config.server.log, "warn");
        args.log = Some("debug".into());
        let (config, _) = configure(&args, Path::new("/")).unwrap();
        assert_eq!(config.server.log, "debug");
        assert_eq!(config.server.reactors, Reactors::Auto);
        assert!(config.server.poll.is_zero());
    }
}
