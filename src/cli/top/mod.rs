//! `ringtgt top`: what a running daemon is doing.
//!
//! Asks it twice over its control socket, and shows what came in between: once, for people or programs, or again and
//! again on the terminal.

mod picture;
mod view;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::{Value, json};

use self::picture::{Picture, Sample};
use self::view::State;
use super::args::Top;
use super::control::{connect, finish};
use super::say;
use crate::admin::rpc::Client;

pub(super) fn run(args: &Top) -> ExitCode {
    finish(try_run(args))
}

fn try_run(args: &Top) -> anyhow::Result<()> {
    let client = connect(&args.daemon)?;
    let (interval, wanted) = (args.interval, wanted(args));
    let old = sample(&client, &wanted)?;
    check_named(&args.session, &old)?;
    if !args.once && !args.daemon.json {
        anyhow::ensure!(
            std::io::stdout().is_terminal(),
            "the live view needs a terminal; say --once for one look at it"
        );
        return live(&client, &wanted, interval, old);
    }
    thread::sleep(interval);
    let picture = Picture::between(&old, &sample(&client, &wanted)?);
    match args.daemon.json {
        true => say(&format!("{:#}\n", picture.to_json(is_choosy(args)))),
        false => say(&view::text(&picture, 80)),
    }
    Ok(())
}

/// A slip of the pen is no empty table. What has been there may go while it is looked at.
fn check_named(sessions: &[u16], sample: &Sample) -> anyhow::Result<()> {
    let missing = sessions.iter().find(|tsih| !sample.has_session(**tsih));
    missing.map_or(Ok(()), |tsih| {
        anyhow::bail!("there is no session {tsih}; `ringtgt sessions` lists them by their TSIH")
    })
}

fn is_choosy(args: &Top) -> bool {
    !args.backstore.is_empty() || !args.session.is_empty()
}

/// What the daemon is asked for.
fn wanted(args: &Top) -> Value {
    match is_choosy(args) {
        true => json!({ "backstores": args.backstore, "sessions": args.session }),
        false => json!({ "buckets": true }),
    }
}

fn sample(client: &Client, wanted: &Value) -> anyhow::Result<Sample> {
    let answer = client.call("stats.get", wanted.clone())?;
    serde_json::from_value(answer).context("the daemon's answer cannot be understood")
}

fn live(client: &Client, wanted: &Value, interval: Duration, first: Sample) -> anyhow::Result<()> {
    let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
    let result = watch(&mut terminal, first, || sample(client, wanted), interval);
    ratatui::restore();
    result
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    mut old: Sample,
    sample: impl Fn() -> anyhow::Result<Sample>,
    interval: Duration,
) -> anyhow::Result<()> {
    let mut state = State::default();
    let mut picture = Picture::between(&old, &old);
    let mut due = Instant::now() + interval.min(Duration::from_millis(500));
    loop {
        state.stay_within(&picture);
        terminal.draw(|frame| view::draw(&picture, &state, frame.area(), frame.buffer_mut()))?;
        if event::poll(due.saturating_duration_since(Instant::now()))? {
            match event::read()? {
                Event::Key(key) if !heed(&mut state, key) => return Ok(()),
                _ => {}
            }
            continue;
        }
        due = Instant::now() + interval;
        // A daemon that is started again is found again.
        match sample() {
            Ok(new) => {
                state.trouble = None;
                picture = Picture::between(&old, &new);
                old = new;
            }
            Err(error) => state.trouble = Some(format!("{error:#}")),
        }
    }
}

fn heed(state: &mut State, key: KeyEvent) -> bool {
    if key.kind == KeyEventKind::Release {
        return true;
    }
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => false,
        KeyCode::Esc => false,
        KeyCode::Tab => state.key('\t'),
        KeyCode::Down => state.key('j'),
        KeyCode::Up => state.key('k'),
        KeyCode::Char(key) => state.key(key),
        _ => true,
    }
}
