//! What the service manager is told (sd_notify(3)), and how often it wants to hear from us.
//!
//! Without a service manager (`NOTIFY_SOCKET` unset) every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// The line to the service manager.
#[derive(Debug, Clone, Copy, Default)]
pub struct Notify;

impl Notify {
    /// Everything is open and listening; `status` is shown by `systemctl status`.
    pub fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The configuration is being read again; [`Notify::ready`] follows.
    pub fn reloading(&self) {
        // The time is asked for by managers that wait for the end of it (Type=notify-reload).
        let now = NotifyState::monotonic_usec_now().ok();
        tell(&[Some(NotifyState::Reloading), now].into_iter().flatten().collect::<Vec<_>>());
    }

    /// The way down has begun; it may take `deadline`, which the manager is asked to grant.
    pub fn stopping(&self, deadline: Duration) {
        let micros = u32::try_from(deadline.as_micros()).unwrap_or(u32::MAX);
        let status = NotifyState::Status("asking initiators to log out, then flushing");
        tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros), status]);
    }

    /// Still alive. To be called only while the reactors are seen to turn.
    pub fn alive(&self) {
        tell(&[NotifyState::Watchdog]);
    }

    /// How often [`alive`](Self::alive) must be called: half of what the unit's `WatchdogSec=` allows.
    /// `None` when nobody watches.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|half| !half.is_zero())
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
