//! The deadlines of calls that have passed.

use std::time::Duration;

use super::B2bua;
use crate::Now;
use crate::call::CallInput;

/// A call whose deadline does not pass has its next turn after this.
const STUCK_AGAIN: Duration = Duration::from_secs(1);

impl B2bua {
    /// Each call that is due has one turn, and a second for what the first set off.
    pub(super) fn calls_timeout(&mut self, now: Now) {
        let due = self.wakes.range(..=(now.mono, u64::MAX));
        let due: Vec<u64> = due.map(|(_, number)| *number).collect();
        for number in due {
            for _ in 0..2 {
                if self.is_due(now, number) {
                    self.run(now, number, CallInput::Timeout);
                }
            }
            if self.is_due(now, number) {
                self.put_off(now, number);
            }
        }
    }

    fn is_due(&self, now: Now, number: u64) -> bool {
        self.wake_of.get(&number).is_some_and(|at| *at <= now.mono)
    }

    /// A call's deadline stays in the past: a mistake of ours, which must not keep the others from being served.
    fn put_off(&mut self, now: Now, number: u64) {
        self.counters.stuck_deadlines += 1;
        let at = now.mono + STUCK_AGAIN;
        if let Some(before) = self.wake_of.insert(number, at) {
            self.wakes.remove(&(before, number));
        }
        self.wakes.insert((at, number));
        if let Some(call) = self.calls.get(&number) {
            call.notice(&mut self.site, "a deadline does not pass".to_owned());
        }
    }
}
