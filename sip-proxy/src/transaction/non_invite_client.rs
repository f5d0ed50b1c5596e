//! Non-INVITE client transaction: RFC 3261 figure 6.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Action, Actions, FailCause, Timer};

/// The states of the figure, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NonInviteClient {
    /// The request is out, nothing came back.
    Trying {
        /// What timer E repeats.
        request: Bytes,
        /// Timer E's current interval.
        interval: Duration,
    },
    /// A provisional came; the request is still repeated, every T2.
    Proceeding {
        /// What timer E repeats.
        request: Bytes,
    },
    /// The final response was delivered; its retransmissions are absorbed.
    Completed,
    /// Over.
    Terminated,
}

/// The labels on the figure's arrows.
#[derive(Debug, Clone, Copy)]
pub enum Input {
    /// 100-199.
    Provisional,
    /// 200-699.
    Final,
    /// A timer fired.
    Timer(Timer),
    /// The transport could not deliver.
    TransportError,
}

impl NonInviteClient {
    /// Sends `request` and enters Trying.
    pub fn start(now: Instant, request: Bytes, out: &mut Actions) -> Self {
        out.push(Action::Transmit(request.clone()));
        let interval = out.timers.t1;
        if !out.reliable {
            out.start(now, Timer::E, interval);
        }
        out.start(now, Timer::F, out.timers.sixty_four_t1());
        Self::Trying { request, interval }
    }

    /// One arrow of the figure.
    #[must_use]
    pub fn handle(self, now: Instant, input: Input, out: &mut Actions) -> Self {
        match (self, input) {
            (Self::Trying { request, interval }, Input::Timer(Timer::E)) => {
                out.push(Action::Retransmit(request.clone()));
                let interval = interval.saturating_mul(2).min(out.timers.t2);
                out.start(now, Timer::E, interval);
                Self::Trying { request, interval }
            }
            (Self::Proceeding { request }, Input::Timer(Timer::E)) => {
                out.push(Action::Retransmit(request.clone()));
                out.start(now, Timer::E, out.timers.t2);
                Self::Proceeding { request }
            }
            (Self::Trying { .. } | Self::Proceeding { .. }, Input::Timer(Timer::F)) => {
                out.push(Action::Fail(FailCause::Timeout));
                Self::Terminated
            }
            (Self::Trying { .. } | Self::Proceeding { .. }, Input::TransportError) => {
                out.push(Action::Fail(FailCause::Transport));
                Self::Terminated
            }
            (Self::Trying { request, .. } | Self::Proceeding { request }, Input::Provisional) => {
                out.push(Action::Deliver);
                Self::Proceeding { request }
            }
            (Self::Trying { .. } | Self::Proceeding { .. }, Input::Final) => {
                out.push(Action::Stop(Timer::E));
                out.push(Action::Stop(Timer::F));
                out.push(Action::Deliver);
                if out.reliable {
                    return Self::Terminated;
                }
                out.start(now, Timer::K, out.timers.t4);
                Self::Completed
            }
            (Self::Completed, Input::Timer(Timer::K)) => Self::Terminated,
            (state, _) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{origin, step};
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn request() -> Bytes {
        Bytes::from_static(b"REGISTER")
    }
    fn trying() -> NonInviteClient {
        NonInviteClient::Trying {
            request: request(),
            interval: MS(500),
        }
    }
    fn proceeding() -> NonInviteClient {
        NonInviteClient::Proceeding { request: request() }
    }
    fn run(
        reliable: bool,
        state: NonInviteClient,
        now: Instant,
        input: Input,
    ) -> (NonInviteClient, Vec<Action>) {
        step(reliable, state, |s, out| s.handle(now, input, out))
    }

    #[test]
    fn request_from_tu_is_sent_and_arms_e_and_f() {
        let now = origin();
        let (state, actions) = step(false, NonInviteClient::Terminated, |_, out| {
            NonInviteClient::start(now, request(), out)
        });
        assert_eq!(state, trying());
        assert_eq!(
            actions,
            [
                Action::Transmit(request()),
                Action::Start(Timer::E, now + MS(500)),
                Action::Start(Timer::F, now + MS(32_000))
            ]
        );
    }

    #[test]
    fn a_reliable_transport_has_no_timer_e() {
        let (_, actions) = step(true, NonInviteClient::Terminated, |_, out| {
            NonInviteClient::start(origin(), request(), out)
        });
        assert!(
            !actions
                .iter()
                .any(|a| matches!(a, Action::Start(Timer::E, _)))
        );
    }

    #[test]
    fn trying_timer_e_resends_doubling_up_to_t2() {
        let now = origin();
        let mut state = trying();
        let mut intervals = Vec::new();
        for _ in 0..5 {
            let (next, actions) = run(false, state, now, Input::Timer(Timer::E));
            assert_eq!(actions.first(), Some(&Action::Retransmit(request())));
            if let Some(Action::Start(Timer::E, at)) = actions.get(1) {
                intervals.push(*at - now);
            }
            state = next;
        }
        assert_eq!(
            intervals,
            [MS(1000), MS(2000), MS(4000), MS(4000), MS(4000)]
        );
    }

    #[test]
    fn trying_timer_f_informs_the_tu_and_terminates() {
        let (state, actions) = run(false, trying(), origin(), Input::Timer(Timer::F));
        assert_eq!(
            (state, actions),
            (
                NonInviteClient::Terminated,
                vec![Action::Fail(FailCause::Timeout)]
            )
        );
    }

    #[test]
    fn trying_transport_error_informs_the_tu_and_terminates() {
        let (state, actions) = run(false, trying(), origin(), Input::TransportError);
        assert_eq!(
            (state, actions),
            (
                NonInviteClient::Terminated,
                vec![Action::Fail(FailCause::Transport)]
            )
        );
    }

    #[test]
    fn trying_1xx_goes_to_proceeding() {
        let (state, actions) = run(false, trying(), origin(), Input::Provisional);
        assert_eq!((state, actions), (proceeding(), vec![Action::Deliver]));
    }

    #[test]
    fn trying_200_699_goes_to_completed_with_timer_k() {
        let now = origin();
        let (state, actions) = run(false, trying(), now, Input::Final);
        assert_eq!(state, NonInviteClient::Completed);
        assert!(actions.contains(&Action::Deliver));
        assert!(actions.contains(&Action::Start(Timer::K, now + MS(5000))));
    }

    #[test]
    fn reliable_200_699_terminates_because_k_is_zero() {
        assert_eq!(
            run(true, trying(), origin(), Input::Final).0,
            NonInviteClient::Terminated
        );
    }

    #[test]
    fn proceeding_timer_e_resends_every_t2() {
        let now = origin();
        let (_, actions) = run(false, proceeding(), now, Input::Timer(Timer::E));
        assert_eq!(
            actions,
            [
                Action::Retransmit(request()),
                Action::Start(Timer::E, now + MS(4000))
            ]
        );
    }

    #[test]
    fn proceeding_timer_f_informs_the_tu_and_terminates() {
        let (state, actions) = run(false, proceeding(), origin(), Input::Timer(Timer::F));
        assert_eq!(
            (state, actions),
            (
                NonInviteClient::Terminated,
                vec![Action::Fail(FailCause::Timeout)]
            )
        );
    }

    #[test]
    fn proceeding_transport_error_informs_the_tu_and_terminates() {
        let (state, actions) = run(false, proceeding(), origin(), Input::TransportError);
        assert_eq!(
            (state, actions),
            (
                NonInviteClient::Terminated,
                vec![Action::Fail(FailCause::Transport)]
            )
        );
    }

    #[test]
    fn proceeding_1xx_is_passed_to_the_tu() {
        let (state, actions) = run(false, proceeding(), origin(), Input::Provisional);
        assert_eq!((state, actions), (proceeding(), vec![Action::Deliver]));
    }

    #[test]
    fn proceeding_200_699_goes_to_completed() {
        assert_eq!(
            run(false, proceeding(), origin(), Input::Final).0,
            NonInviteClient::Completed
        );
    }

    #[test]
    fn completed_absorbs_further_finals() {
        let (state, actions) = run(false, NonInviteClient::Completed, origin(), Input::Final);
        assert_eq!((state, actions), (NonInviteClient::Completed, vec![]));
    }

    #[test]
    fn completed_timer_k_terminates() {
        assert_eq!(
            run(
                false,
                NonInviteClient::Completed,
                origin(),
                Input::Timer(Timer::K)
            )
            .0,
            NonInviteClient::Terminated
        );
    }
}
