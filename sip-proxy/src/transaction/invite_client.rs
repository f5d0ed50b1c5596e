//! INVITE client transaction: RFC 3261 figure 5 as replaced by RFC 6026 section 8.4.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Action, Actions, FailCause, Timer};

/// The states of the figure, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InviteClient {
    /// The request is out, nothing came back.
    Calling {
        /// What timer A repeats.
        request: Bytes,
        /// Timer A's current interval.
        interval: Duration,
    },
    /// A provisional came; the request is kept because ACK and CANCEL are built from it.
    Proceeding {
        /// The request as sent.
        request: Bytes,
    },
    /// A 300-699 came and was acknowledged.
    Completed {
        /// What answers a retransmitted final.
        ack: Bytes,
    },
    /// A 2xx came (RFC 6026); more may follow from other branches.
    Accepted,
    /// Over.
    Terminated,
}

/// The labels on the figure's arrows.
pub enum Input<'a> {
    /// 100-199.
    Provisional,
    /// 200-299.
    Success,
    /// 300-699; the closure builds the ACK of 17.1.1.3 and is called only for the first.
    Failure(&'a dyn Fn() -> Bytes),
    /// A CANCEL for this request went out (9.1).
    Cancelled,
    /// A timer fired.
    Timer(Timer),
    /// The transport could not deliver.
    TransportError,
}

impl InviteClient {
    /// Sends `request` and enters Calling.
    pub fn start(now: Instant, request: Bytes, out: &mut Actions) -> Self {
        out.push(Action::Transmit(request.clone()));
        let interval = out.timers.t1;
        if !out.reliable {
            out.start(now, Timer::A, interval);
        }
        out.start(now, Timer::B, out.timers.sixty_four_t1());
        Self::Calling { request, interval }
    }

    /// One arrow of the figure.
    #[must_use]
    pub fn handle(self, now: Instant, input: Input<'_>, out: &mut Actions) -> Self {
        match (self, input) {
            (Self::Calling { request, interval }, Input::Timer(Timer::A)) => {
                out.push(Action::Retransmit(request.clone()));
                let interval = interval.saturating_mul(2);
                out.start(now, Timer::A, interval);
                Self::Calling { request, interval }
            }
            (Self::Calling { .. }, Input::Timer(Timer::B)) => {
                out.push(Action::Fail(FailCause::Timeout));
                Self::Terminated
            }
            (Self::Calling { .. }, Input::TransportError) => {
                out.push(Action::Fail(FailCause::Transport));
                Self::Terminated
            }
            (Self::Calling { request, .. }, Input::Provisional) => {
                stop_calling(out);
                out.push(Action::Deliver);
                Self::Proceeding { request }
            }
            (Self::Calling { .. } | Self::Proceeding { .. }, Input::Success) => {
                stop_calling(out);
                out.push(Action::Deliver);
                out.start(now, Timer::M, out.timers.sixty_four_t1());
                Self::Accepted
            }
            (Self::Calling { .. } | Self::Proceeding { .. }, Input::Failure(ack)) => {
                stop_calling(out);
                let ack = ack();
                out.push(Action::Transmit(ack.clone()));
                out.push(Action::Deliver);
                if out.reliable {
                    return Self::Terminated;
                }
                out.start(now, Timer::D, out.timers.timer_d);
                Self::Completed { ack }
            }
            (Self::Proceeding { request }, Input::Provisional) => {
                out.push(Action::Deliver);
                Self::Proceeding { request }
            }
            // 9.1: no final within 64*T1 of the CANCEL ends the transaction; B is free to measure it here.
            (Self::Proceeding { request }, Input::Cancelled) => {
                out.start(now, Timer::B, out.timers.sixty_four_t1());
                Self::Proceeding { request }
            }
            (Self::Proceeding { .. }, Input::Timer(Timer::B)) => {
                out.push(Action::Fail(FailCause::Timeout));
                Self::Terminated
            }
            (Self::Completed { ack }, Input::Failure(_)) => {
                out.push(Action::Retransmit(ack.clone()));
                Self::Completed { ack }
            }
            (Self::Completed { .. }, Input::Timer(Timer::D)) => Self::Terminated,
            // The final response was delivered already: a second verdict would contradict it.
            (Self::Completed { .. }, Input::TransportError) => Self::Terminated,
            (Self::Accepted, Input::Success) => {
                out.push(Action::Deliver);
                Self::Accepted
            }
            (Self::Accepted, Input::Timer(Timer::M)) => Self::Terminated,
            (state, _) => state,
        }
    }
}

fn stop_calling(out: &mut Actions) {
    out.push(Action::Stop(Timer::A));
    out.push(Action::Stop(Timer::B));
}

#[cfg(test)]
mod tests {
    use super::super::tests::{origin, step};
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn request() -> Bytes {
        Bytes::from_static(b"INVITE")
    }
    fn ack() -> Bytes {
        Bytes::from_static(b"ACK")
    }
    fn calling() -> InviteClient {
        InviteClient::Calling {
            request: request(),
            interval: MS(500),
        }
    }
    fn proceeding() -> InviteClient {
        InviteClient::Proceeding { request: request() }
    }
    fn run(
        reliable: bool,
        state: InviteClient,
        now: Instant,
        input: Input<'_>,
    ) -> (InviteClient, Vec<Action>) {
        step(reliable, state, |s, out| s.handle(now, input, out))
    }

    #[test]
    fn invite_from_tu_is_sent_and_arms_a_and_b() {
        let now = origin();
        let (state, actions) = step(false, InviteClient::Terminated, |_, out| {
            InviteClient::start(now, request(), out)
        });
        assert_eq!(state, calling());
        assert_eq!(
            actions,
            [
                Action::Transmit(request()),
                Action::Start(Timer::A, now + MS(500)),
                Action::Start(Timer::B, now + MS(32_000))
            ]
        );
    }

    #[test]
    fn a_reliable_transport_has_no_timer_a() {
        let now = origin();
        let (_, actions) = step(true, InviteClient::Terminated, |_, out| {
            InviteClient::start(now, request(), out)
        });
        assert!(
            !actions
                .iter()
                .any(|a| matches!(a, Action::Start(Timer::A, _)))
        );
    }

    #[test]
    fn calling_timer_a_resends_and_doubles() {
        let now = origin();
        let (state, actions) = run(false, calling(), now, Input::Timer(Timer::A));
        assert_eq!(
            actions,
            [
                Action::Retransmit(request()),
                Action::Start(Timer::A, now + MS(1000))
            ]
        );
        assert_eq!(
            state,
            InviteClient::Calling {
                request: request(),
                interval: MS(1000)
            }
        );
    }

    #[test]
    fn calling_timer_b_informs_the_tu_and_terminates() {
        let (state, actions) = run(false, calling(), origin(), Input::Timer(Timer::B));
        assert_eq!(
            (state, actions),
            (
                InviteClient::Terminated,
                vec![Action::Fail(FailCause::Timeout)]
            )
        );
    }

    #[test]
    fn calling_transport_error_informs_the_tu_and_terminates() {
        let (state, actions) = run(false, calling(), origin(), Input::TransportError);
        assert_eq!(
            (state, actions),
            (
                InviteClient::Terminated,
                vec![Action::Fail(FailCause::Transport)]
            )
        );
    }

    #[test]
    fn calling_1xx_goes_to_proceeding_and_stops_retransmitting() {
        let (state, actions) = run(false, calling(), origin(), Input::Provisional);
        assert_eq!(state, proceeding());
        assert_eq!(
            actions,
            [
                Action::Stop(Timer::A),
                Action::Stop(Timer::B),
                Action::Deliver
            ]
        );
    }

    #[test]
    fn calling_2xx_goes_to_accepted_with_timer_m() {
        let now = origin();
        let (state, actions) = run(false, calling(), now, Input::Success);
        assert_eq!(state, InviteClient::Accepted);
        assert!(actions.contains(&Action::Deliver));
        assert!(actions.contains(&Action::Start(Timer::M, now + MS(32_000))));
    }

    #[test]
    fn calling_300_699_sends_the_ack_and_goes_to_completed() {
        let now = origin();
        let (state, actions) = run(false, calling(), now, Input::Failure(&ack));
        assert_eq!(state, InviteClient::Completed { ack: ack() });
        assert!(actions.contains(&Action::Transmit(ack())));
        assert!(actions.contains(&Action::Start(Timer::D, now + MS(32_000))));
    }

    #[test]
    fn reliable_300_699_terminates_because_d_is_zero() {
        let (state, actions) = run(true, proceeding(), origin(), Input::Failure(&ack));
        assert_eq!(state, InviteClient::Terminated);
        assert!(actions.contains(&Action::Transmit(ack())));
        assert!(actions.contains(&Action::Deliver));
    }

    #[test]
    fn proceeding_1xx_is_passed_to_the_tu() {
        let (state, actions) = run(false, proceeding(), origin(), Input::Provisional);
        assert_eq!((state, actions), (proceeding(), vec![Action::Deliver]));
    }

    #[test]
    fn proceeding_2xx_goes_to_accepted() {
        assert_eq!(
            run(false, proceeding(), origin(), Input::Success).0,
            InviteClient::Accepted
        );
    }

    #[test]
    fn proceeding_300_699_goes_to_completed() {
        assert_eq!(
            run(false, proceeding(), origin(), Input::Failure(&ack)).0,
            InviteClient::Completed { ack: ack() }
        );
    }

    #[test]
    fn proceeding_cancelled_gives_up_after_64_t1() {
        let now = origin();
        let (state, actions) = run(false, proceeding(), now, Input::Cancelled);
        assert_eq!(actions, [Action::Start(Timer::B, now + MS(32_000))]);
        let (state, actions) = run(false, state, now + MS(32_000), Input::Timer(Timer::B));
        assert_eq!(
            (state, actions),
            (
                InviteClient::Terminated,
                vec![Action::Fail(FailCause::Timeout)]
            )
        );
    }

    #[test]
    fn completed_300_699_is_acked_again_and_not_passed_up() {
        let state = InviteClient::Completed { ack: ack() };
        let (after, actions) = run(false, state.clone(), origin(), Input::Failure(&ack));
        assert_eq!((after, actions), (state, vec![Action::Retransmit(ack())]));
    }

    #[test]
    fn completed_transport_error_terminates_without_a_second_verdict() {
        let completed = InviteClient::Completed { ack: ack() };
        let (state, actions) = run(false, completed, origin(), Input::TransportError);
        assert_eq!((state, actions), (InviteClient::Terminated, vec![]));
    }

    #[test]
    fn completed_absorbs_late_provisionals_and_2xx() {
        for input in [Input::Provisional, Input::Success] {
            let completed = InviteClient::Completed { ack: ack() };
            let (state, actions) = run(false, completed.clone(), origin(), input);
            assert_eq!((state, actions), (completed, vec![]));
        }
    }

    #[test]
    fn completed_timer_d_terminates() {
        let state = InviteClient::Completed { ack: ack() };
        assert_eq!(
            run(false, state, origin(), Input::Timer(Timer::D)).0,
            InviteClient::Terminated
        );
    }

    #[test]
    fn accepted_2xx_is_passed_to_the_tu() {
        let (state, actions) = run(false, InviteClient::Accepted, origin(), Input::Success);
        assert_eq!(
            (state, actions),
            (InviteClient::Accepted, vec![Action::Deliver])
        );
    }

    #[test]
    fn accepted_ignores_a_late_failure() {
        let (state, actions) = run(
            false,
            InviteClient::Accepted,
            origin(),
            Input::Failure(&ack),
        );
        assert_eq!((state, actions), (InviteClient::Accepted, vec![]));
    }

    #[test]
    fn accepted_timer_m_terminates() {
        assert_eq!(
            run(
                false,
                InviteClient::Accepted,
                origin(),
                Input::Timer(Timer::M)
            )
            .0,
            InviteClient::Terminated
        );
    }
}
