//! INVITE server transaction: RFC 3261 figure 7 as replaced by RFC 6026 section 8.5.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Action, Actions, FailCause, Timer};

/// The states of the figure, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InviteServer {
    /// The request was passed up.
    Proceeding {
        /// The latest provisional, repeated when the INVITE is.
        last: Option<Bytes>,
    },
    /// A 300-699 was sent and waits for its ACK.
    Completed {
        /// What timer G repeats.
        response: Bytes,
        /// Timer G's current interval.
        interval: Duration,
    },
    /// The ACK came; its retransmissions are absorbed.
    Confirmed,
    /// A 2xx was sent (RFC 6026): retransmitted INVITEs are absorbed, ACKs and further 2xx pass.
    Accepted,
    /// Over.
    Terminated,
}

/// The labels on the figure's arrows.
#[derive(Debug, Clone)]
pub enum Input {
    /// The INVITE again.
    Invite,
    /// 101-199 (or the 100) from the transaction user.
    Provisional(Bytes),
    /// 200-299 from the transaction user.
    Success(Bytes),
    /// 300-699 from the transaction user.
    Failure(Bytes),
    /// An ACK that matches this transaction.
    Ack,
    /// A timer fired.
    Timer(Timer),
    /// The transport could not deliver.
    TransportError,
}

impl InviteServer {
    /// Passes the INVITE up; the 100 follows at once or after the configured delay.
    pub fn start(now: Instant, out: &mut Actions) -> Self {
        out.push(Action::Deliver);
        if out.timers.trying.is_zero() {
            out.push(Action::Trying);
        } else {
            out.start(now, Timer::Trying, out.timers.trying);
        }
        Self::Proceeding { last: None }
    }

    /// One arrow of the figure.
    #[must_use]
    pub fn handle(self, now: Instant, input: Input, out: &mut Actions) -> Self {
        match (self, input) {
            (Self::Proceeding { last }, Input::Invite) => {
                if let Some(response) = &last {
                    out.push(Action::Retransmit(response.clone()));
                }
                Self::Proceeding { last }
            }
            (Self::Proceeding { last: None }, Input::Timer(Timer::Trying)) => {
                out.push(Action::Trying);
                Self::Proceeding { last: None }
            }
            (Self::Proceeding { .. }, Input::Provisional(response)) => {
                out.push(Action::Stop(Timer::Trying));
                out.push(Action::Transmit(response.clone()));
                Self::Proceeding {
                    last: Some(response),
                }
            }
            (Self::Proceeding { .. }, Input::Success(response)) => {
                out.push(Action::Stop(Timer::Trying));
                out.push(Action::Transmit(response));
                out.start(now, Timer::L, out.timers.sixty_four_t1());
                Self::Accepted
            }
            (Self::Proceeding { .. }, Input::Failure(response)) => {
                out.push(Action::Stop(Timer::Trying));
                out.push(Action::Transmit(response.clone()));
                let interval = out.timers.t1;
                if !out.reliable {
                    out.start(now, Timer::G, interval);
                }
                out.start(now, Timer::H, out.timers.sixty_four_t1());
                Self::Completed { response, interval }
            }
            (Self::Completed { response, interval }, Input::Invite) => {
                out.push(Action::Retransmit(response.clone()));
                Self::Completed { response, interval }
            }
            (Self::Completed { response, interval }, Input::Timer(Timer::G)) => {
                out.push(Action::Retransmit(response.clone()));
                let interval = interval.saturating_mul(2).min(out.timers.t2);
                out.start(now, Timer::G, interval);
                Self::Completed { response, interval }
            }
            (Self::Completed { .. }, Input::Ack) => {
                out.push(Action::Stop(Timer::G));
                out.push(Action::Stop(Timer::H));
                if out.reliable {
                    return Self::Terminated;
                }
                out.start(now, Timer::I, out.timers.t4);
                Self::Confirmed
            }
            (Self::Completed { .. }, Input::Timer(Timer::H)) => {
                out.push(Action::Fail(FailCause::Timeout));
                Self::Terminated
            }
            // 6026 section 8.8 (17.2.4): the user is told and the state kept, so that the ACK is still absorbed.
            (
                state @ (Self::Proceeding { .. } | Self::Completed { .. } | Self::Accepted),
                Input::TransportError,
            ) => {
                out.push(Action::Fail(FailCause::Transport));
                state
            }
            (Self::Confirmed, Input::Timer(Timer::I)) => Self::Terminated,
            (Self::Accepted, Input::Ack) => {
                out.push(Action::Deliver);
                Self::Accepted
            }
            (Self::Accepted, Input::Success(response)) => {
                out.push(Action::Transmit(response));
                Self::Accepted
            }
            (Self::Accepted, Input::Timer(Timer::L)) => Self::Terminated,
            (state, _) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{origin, step};
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }
    fn ringing() -> InviteServer {
        InviteServer::Proceeding {
            last: Some(bytes("180")),
        }
    }
    fn completed() -> InviteServer {
        InviteServer::Completed {
            response: bytes("486"),
            interval: MS(500),
        }
    }
    fn run(
        reliable: bool,
        state: InviteServer,
        now: Instant,
        input: Input,
    ) -> (InviteServer, Vec<Action>) {
        step(reliable, state, |s, out| s.handle(now, input, out))
    }

    #[test]
    fn invite_is_passed_up_and_answered_100_at_once_when_so_configured() {
        let timers = super::super::Timers {
            trying: Duration::ZERO,
            ..Default::default()
        };
        let mut out = Actions::new(timers, false);
        let state = InviteServer::start(origin(), &mut out);
        assert_eq!(state, InviteServer::Proceeding { last: None });
        assert_eq!(
            out.drain().collect::<Vec<_>>(),
            [Action::Deliver, Action::Trying]
        );
    }

    #[test]
    fn invite_is_answered_100_after_200_ms_by_default() {
        let now = origin();
        let mut out = Actions::new(super::super::Timers::default(), false);
        let state = InviteServer::start(now, &mut out);
        let actions: Vec<_> = out.drain().collect();
        assert_eq!(
            actions,
            [Action::Deliver, Action::Start(Timer::Trying, now + MS(200))]
        );
        let state = state.handle(now + MS(200), Input::Timer(Timer::Trying), &mut out);
        assert_eq!(state, InviteServer::Proceeding { last: None });
        assert_eq!(out.drain().collect::<Vec<_>>(), [Action::Trying]);
    }

    #[test]
    fn proceeding_invite_repeats_the_latest_provisional() {
        let (state, actions) = run(false, ringing(), origin(), Input::Invite);
        assert_eq!(
            (state, actions),
            (ringing(), vec![Action::Retransmit(bytes("180"))])
        );
    }

    #[test]
    fn proceeding_invite_before_any_provisional_is_absorbed() {
        let silent = InviteServer::Proceeding { last: None };
        let (state, actions) = run(false, silent.clone(), origin(), Input::Invite);
        assert_eq!((state, actions), (silent, vec![]));
    }

    #[test]
    fn proceeding_1xx_from_tu_is_sent() {
        let (state, actions) = run(false, ringing(), origin(), Input::Provisional(bytes("183")));
        assert_eq!(
            state,
            InviteServer::Proceeding {
                last: Some(bytes("183"))
            }
        );
        assert!(actions.contains(&Action::Transmit(bytes("183"))));
    }

    #[test]
    fn proceeding_2xx_from_tu_goes_to_accepted_with_timer_l() {
        let now = origin();
        for reliable in [false, true] {
            let (state, actions) = run(reliable, ringing(), now, Input::Success(bytes("200")));
            assert_eq!(state, InviteServer::Accepted);
            assert!(actions.contains(&Action::Transmit(bytes("200"))));
            assert!(actions.contains(&Action::Start(Timer::L, now + MS(32_000))));
        }
    }

    #[test]
    fn proceeding_300_699_from_tu_goes_to_completed_with_g_and_h() {
        let now = origin();
        let (state, actions) = run(false, ringing(), now, Input::Failure(bytes("486")));
        assert_eq!(state, completed());
        assert!(actions.contains(&Action::Start(Timer::G, now + MS(500))));
        assert!(actions.contains(&Action::Start(Timer::H, now + MS(32_000))));
    }

    #[test]
    fn reliable_300_699_has_no_timer_g() {
        let (_, actions) = run(true, ringing(), origin(), Input::Failure(bytes("486")));
        assert!(
            !actions
                .iter()
                .any(|a| matches!(a, Action::Start(Timer::G, _)))
        );
    }

    #[test]
    fn proceeding_transport_error_informs_the_tu() {
        let (state, actions) = run(false, ringing(), origin(), Input::TransportError);
        assert_eq!(
            (state, actions),
            (ringing(), vec![Action::Fail(FailCause::Transport)])
        );
    }

    #[test]
    fn completed_invite_repeats_the_response() {
        let (state, actions) = run(false, completed(), origin(), Input::Invite);
        assert_eq!(
            (state, actions),
            (completed(), vec![Action::Retransmit(bytes("486"))])
        );
    }

    #[test]
    fn completed_timer_g_repeats_doubling_up_to_t2() {
        let now = origin();
        let mut state = completed();
        let mut intervals = Vec::new();
        for _ in 0..4 {
            let (next, actions) = run(false, state, now, Input::Timer(Timer::G));
            if let Some(Action::Start(Timer::G, at)) = actions.get(1) {
                intervals.push(*at - now);
            }
            state = next;
        }
        assert_eq!(intervals, [MS(1000), MS(2000), MS(4000), MS(4000)]);
    }

    #[test]
    fn completed_timer_h_informs_the_tu_and_terminates() {
        let (state, actions) = run(false, completed(), origin(), Input::Timer(Timer::H));
        assert_eq!(
            (state, actions),
            (
                InviteServer::Terminated,
                vec![Action::Fail(FailCause::Timeout)]
            )
        );
    }

    #[test]
    fn completed_transport_error_informs_the_tu() {
        let (state, actions) = run(false, completed(), origin(), Input::TransportError);
        assert_eq!(
            (state, actions),
            (completed(), vec![Action::Fail(FailCause::Transport)])
        );
    }

    #[test]
    fn completed_ack_goes_to_confirmed_with_timer_i() {
        let now = origin();
        let (state, actions) = run(false, completed(), now, Input::Ack);
        assert_eq!(state, InviteServer::Confirmed);
        assert!(actions.contains(&Action::Start(Timer::I, now + MS(5000))));
    }

    #[test]
    fn reliable_ack_terminates_because_i_is_zero() {
        assert_eq!(
            run(true, completed(), origin(), Input::Ack).0,
            InviteServer::Terminated
        );
    }

    #[test]
    fn confirmed_ack_is_absorbed() {
        let (state, actions) = run(false, InviteServer::Confirmed, origin(), Input::Ack);
        assert_eq!((state, actions), (InviteServer::Confirmed, vec![]));
    }

    #[test]
    fn confirmed_timer_i_terminates() {
        assert_eq!(
            run(
                false,
                InviteServer::Confirmed,
                origin(),
                Input::Timer(Timer::I)
            )
            .0,
            InviteServer::Terminated
        );
    }

    #[test]
    fn accepted_invite_is_absorbed() {
        let (state, actions) = run(false, InviteServer::Accepted, origin(), Input::Invite);
        assert_eq!((state, actions), (InviteServer::Accepted, vec![]));
    }

    #[test]
    fn accepted_ack_is_passed_to_the_tu() {
        let (state, actions) = run(false, InviteServer::Accepted, origin(), Input::Ack);
        assert_eq!(
            (state, actions),
            (InviteServer::Accepted, vec![Action::Deliver])
        );
    }

    #[test]
    fn accepted_2xx_from_tu_is_sent() {
        let (state, actions) = run(
            false,
            InviteServer::Accepted,
            origin(),
            Input::Success(bytes("200")),
        );
        assert_eq!(
            (state, actions),
            (InviteServer::Accepted, vec![Action::Transmit(bytes("200"))])
        );
    }

    #[test]
    fn accepted_ignores_a_second_verdict() {
        let (state, actions) = run(
            false,
            InviteServer::Accepted,
            origin(),
            Input::Failure(bytes("486")),
        );
        assert_eq!((state, actions), (InviteServer::Accepted, vec![]));
    }

    #[test]
    fn accepted_transport_error_informs_the_tu() {
        let (state, actions) = run(
            false,
            InviteServer::Accepted,
            origin(),
            Input::TransportError,
        );
        assert_eq!(
            (state, actions),
            (
                InviteServer::Accepted,
                vec![Action::Fail(FailCause::Transport)]
            )
        );
    }

    #[test]
    fn accepted_timer_l_terminates() {
        assert_eq!(
            run(
                false,
                InviteServer::Accepted,
                origin(),
                Input::Timer(Timer::L)
            )
            .0,
            InviteServer::Terminated
        );
    }
}
