//! Non-INVITE server transaction: RFC 3261 figure 8 with RFC 4320's rules on provisionals and 408.

use std::time::Instant;

use bytes::Bytes;

use super::{Action, Actions, FailCause, Timer};

/// The states of the figure, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NonInviteServer {
    /// The request was passed up.
    Trying,
    /// A 100 was sent (4320 allows no other provisional).
    Proceeding {
        /// What answers a repeated request.
        response: Bytes,
    },
    /// The final response was sent.
    Completed {
        /// What answers a repeated request.
        response: Bytes,
    },
    /// Over.
    Terminated,
}

/// The labels on the figure's arrows.
#[derive(Debug, Clone)]
pub enum Input {
    /// The request again.
    Request,
    /// A 100, the only provisional 4320 leaves.
    Provisional(Bytes),
    /// 200-699 from the transaction user, except 408.
    Final(Bytes),
    /// The transaction user gave up (its 408): RFC 4320 section 4.2 sends nothing.
    GivenUp,
    /// A timer fired.
    Timer(Timer),
    /// The transport could not deliver.
    TransportError,
}

impl NonInviteServer {
    /// Passes the request up and arms the 100 of 4320 section 4.1.
    ///
    /// Where that 100 is needed, J starts with it: once the client's timer F is over no answer matters to anyone, and
    /// a transaction user that never answers must not keep the transaction for ever.
    pub fn start(now: Instant, out: &mut Actions) -> Self {
        out.push(Action::Deliver);
        out.start(now, Timer::E, out.timers.until_e_reaches_t2());
        Self::Trying
    }

    /// One arrow of the figure.
    #[must_use]
    pub fn handle(self, now: Instant, input: Input, out: &mut Actions) -> Self {
        match (self, input) {
            (Self::Trying, Input::Request) => Self::Trying,
            (Self::Trying, Input::Timer(Timer::E)) => {
                out.start(now, Timer::J, out.timers.sixty_four_t1());
                out.push(Action::Trying);
                Self::Trying
            }
            (Self::Trying | Self::Proceeding { .. }, Input::Provisional(response)) => {
                out.push(Action::Stop(Timer::E));
                out.start(now, Timer::J, out.timers.sixty_four_t1());
                out.push(Action::Transmit(response.clone()));
                Self::Proceeding { response }
            }
            (Self::Trying | Self::Proceeding { .. }, Input::Final(response)) => {
                out.push(Action::Stop(Timer::E));
                out.push(Action::Transmit(response.clone()));
                if out.reliable {
                    return Self::Terminated;
                }
                out.start(now, Timer::J, out.timers.sixty_four_t1());
                Self::Completed { response }
            }
            (Self::Trying | Self::Proceeding { .. }, Input::GivenUp | Input::Timer(Timer::J)) => {
                Self::Terminated
            }
            (Self::Proceeding { response }, Input::Request) => {
                out.push(Action::Retransmit(response.clone()));
                Self::Proceeding { response }
            }
            (Self::Proceeding { .. } | Self::Completed { .. }, Input::TransportError) => {
                out.push(Action::Fail(FailCause::Transport));
                Self::Terminated
            }
            (Self::Completed { response }, Input::Request) => {
                out.push(Action::Retransmit(response.clone()));
                Self::Completed { response }
            }
            (Self::Completed { .. }, Input::Timer(Timer::J)) => Self::Terminated,
            (state, _) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{origin, step};
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }
    fn proceeding() -> NonInviteServer {
        NonInviteServer::Proceeding {
            response: bytes("100"),
        }
    }
    fn completed() -> NonInviteServer {
        NonInviteServer::Completed {
            response: bytes("200"),
        }
    }
    fn run(
        reliable: bool,
        state: NonInviteServer,
        now: Instant,
        input: Input,
    ) -> (NonInviteServer, Vec<Action>) {
        step(reliable, state, |s, out| s.handle(now, input, out))
    }

    #[test]
    fn request_is_passed_up_and_its_100_waits_until_e_reaches_t2() {
        let now = origin();
        let (state, actions) = step(false, NonInviteServer::Terminated, |_, out| {
            NonInviteServer::start(now, out)
        });
        assert_eq!(state, NonInviteServer::Trying);
        assert_eq!(
            actions,
            [Action::Deliver, Action::Start(Timer::E, now + MS(3500)),]
        );
    }

    #[test]
    fn trying_request_is_absorbed() {
        let (state, actions) = run(false, NonInviteServer::Trying, origin(), Input::Request);
        assert_eq!((state, actions), (NonInviteServer::Trying, vec![]));
    }

    #[test]
    fn trying_timer_e_answers_100_and_arms_timer_j() {
        let now = origin();
        let (state, actions) = run(false, NonInviteServer::Trying, now, Input::Timer(Timer::E));
        assert_eq!(state, NonInviteServer::Trying);
        assert_eq!(
            actions,
            [Action::Start(Timer::J, now + MS(32_000)), Action::Trying]
        );
    }

    #[test]
    fn trying_100_goes_to_proceeding() {
        let (state, actions) = run(
            false,
            NonInviteServer::Trying,
            origin(),
            Input::Provisional(bytes("100")),
        );
        assert_eq!(state, proceeding());
        assert!(actions.contains(&Action::Transmit(bytes("100"))));
    }

    #[test]
    fn trying_200_699_goes_to_completed_with_timer_j() {
        let now = origin();
        let (state, actions) = run(
            false,
            NonInviteServer::Trying,
            now,
            Input::Final(bytes("200")),
        );
        assert_eq!(state, completed());
        assert!(actions.contains(&Action::Transmit(bytes("200"))));
        assert!(actions.contains(&Action::Start(Timer::J, now + MS(32_000))));
    }

    #[test]
    fn reliable_200_699_terminates_because_j_is_zero() {
        assert_eq!(
            run(
                true,
                NonInviteServer::Trying,
                origin(),
                Input::Final(bytes("200"))
            )
            .0,
            NonInviteServer::Terminated
        );
    }

    #[test]
    fn giving_up_sends_nothing() {
        for state in [NonInviteServer::Trying, proceeding()] {
            let (state, actions) = run(false, state, origin(), Input::GivenUp);
            assert_eq!((state, actions), (NonInviteServer::Terminated, vec![]));
        }
    }

    #[test]
    fn an_unanswered_request_ends_with_the_clients_timer_f() {
        let (state, actions) = run(
            false,
            NonInviteServer::Trying,
            origin(),
            Input::Timer(Timer::J),
        );
        assert_eq!((state, actions), (NonInviteServer::Terminated, vec![]));
    }

    #[test]
    fn proceeding_1xx_from_tu_is_sent() {
        let again = Input::Provisional(bytes("100"));
        let (state, actions) = run(false, proceeding(), origin(), again);
        assert_eq!(state, proceeding());
        assert!(actions.contains(&Action::Transmit(bytes("100"))));
    }

    #[test]
    fn proceeding_timer_j_ends_what_nobody_answers() {
        let (state, actions) = run(false, proceeding(), origin(), Input::Timer(Timer::J));
        assert_eq!((state, actions), (NonInviteServer::Terminated, vec![]));
    }

    #[test]
    fn proceeding_request_repeats_the_100() {
        let (state, actions) = run(false, proceeding(), origin(), Input::Request);
        assert_eq!(
            (state, actions),
            (proceeding(), vec![Action::Retransmit(bytes("100"))])
        );
    }

    #[test]
    fn proceeding_200_699_goes_to_completed() {
        assert_eq!(
            run(false, proceeding(), origin(), Input::Final(bytes("200"))).0,
            completed()
        );
    }

    #[test]
    fn proceeding_transport_error_informs_the_tu_and_terminates() {
        let (state, actions) = run(false, proceeding(), origin(), Input::TransportError);
        assert_eq!(
            (state, actions),
            (
                NonInviteServer::Terminated,
                vec![Action::Fail(FailCause::Transport)]
            )
        );
    }

    #[test]
    fn completed_request_repeats_the_final() {
        let (state, actions) = run(false, completed(), origin(), Input::Request);
        assert_eq!(
            (state, actions),
            (completed(), vec![Action::Retransmit(bytes("200"))])
        );
    }

    #[test]
    fn completed_transport_error_informs_the_tu_and_terminates() {
        let (state, actions) = run(false, completed(), origin(), Input::TransportError);
        assert_eq!(
            (state, actions),
            (
                NonInviteServer::Terminated,
                vec![Action::Fail(FailCause::Transport)]
            )
        );
    }

    #[test]
    fn completed_ignores_a_second_final() {
        let (state, actions) = run(false, completed(), origin(), Input::Final(bytes("500")));
        assert_eq!((state, actions), (completed(), vec![]));
    }

    #[test]
    fn completed_timer_j_terminates() {
        assert_eq!(
            run(false, completed(), origin(), Input::Timer(Timer::J)).0,
            NonInviteServer::Terminated
        );
    }
}
