//! Session timers (RFC 4028) of an answered call: each side has its own, agreed with its own peer.

use std::time::{Duration, Instant};

use sip_proxy::session_timer::{self, Agreed, Due, Refresher};
use sip_proxy::{HeaderName, Message, Method, OutgoingRequest, OutgoingResponse, SessionTimer};

use super::call::Call;
use super::leg::{Leg, OurReinvite};
use super::offer::{ALLOW, SUPPORTED, sdp};
use crate::Now;
use crate::cdr::EndReason;
use crate::config::Config;
use crate::profile::Reinvite;
use crate::site::Site;
use crate::story::Line;

/// A refresh that could not be sent, or was refused for now, is tried again after this.
const AGAIN: Duration = Duration::from_secs(2);
/// The same for a refusal that says nothing of when.
const LATER: Duration = Duration::from_secs(10);

impl Leg {
    /// When a re-INVITE that met another request is due again; while another of ours is out, its answer comes first.
    pub(crate) fn retry_due(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.ours.is_none())
    }

    /// What a 2xx of ours to an INVITE or UPDATE of this peer agrees to; and the timer runs from here. A station that
    /// takes no re-INVITE is refreshed by nobody, but may refresh by itself.
    pub(crate) fn grant_timer(
        &mut self,
        now: Now,
        agreed: Option<Agreed>,
        response: OutgoingResponse,
    ) -> OutgoingResponse {
        let ours = |agreed: &Agreed| agreed.refresher == Refresher::Uas;
        let agreed =
            agreed.filter(|agreed| !ours(agreed) || self.profile.reinvite != Reinvite::Never);
        self.session = agreed
            .as_ref()
            .map(|agreed| SessionTimer::new(now.mono, agreed.interval, ours(agreed)));
        let Some(agreed) = agreed else {
            return response;
        };
        let response = response.with_header(HeaderName::SessionExpires, agreed.value());
        if agreed.refresher == Refresher::Uac {
            // Section 9: the peer must know that it has to refresh.
            return response.with_header(HeaderName::Require, session_timer::OPTION);
        }
        response
    }

    /// What a 2xx to a request of ours agreed to.
    pub(crate) fn accept_timer(&mut self, now: Now, response: &Message) {
        self.session = session_timer::accept(response).map(|agreed| {
            let ours = agreed.refresher == Refresher::Uac;
            SessionTimer::new(now.mono, agreed.interval, ours)
        });
    }

    /// The timer's fields in a request of ours within the dialog: a request without them would end it (section 7.4).
    pub(crate) fn renew_timer(&self, config: &Config, request: &mut OutgoingRequest) {
        let Some(timer) = &self.session else { return };
        let headers = &mut request.headers;
        headers.push((HeaderName::Supported, SUPPORTED.to_owned()));
        headers.push((HeaderName::SessionExpires, timer.value()));
        let min = config.session.min().min(timer.interval());
        headers.push((HeaderName::MinSe, min.to_string()));
    }
}

impl Call {
    /// Refreshes what is due, and ends a call that nobody refreshed.
    pub(crate) fn session_timers(&mut self, site: &mut Site, now: Now) {
        let due: Vec<_> = self
            .established_mut()
            .filter_map(|leg| Some((leg.index, leg.session.as_mut()?.due(now.mono)?)))
            .collect();
        for (index, due) in due {
            match due {
                Due::Refresh => self.refresh(site, now, index),
                Due::Expired => {
                    let name = self.party_name(index);
                    self.note(now, Line::Call(format!("{name}: session timer expired")));
                    return self.finish(site, now, EndReason::SessionExpired, 0);
                }
            }
        }
    }

    /// Sends a refresh: UPDATE where the peer takes it, else the same offer again by re-INVITE (section 7.4).
    fn refresh(&mut self, site: &mut Site, now: Now, index: u16) {
        let tx = self.take_tx();
        let name = self.party_name(index);
        let Some(leg) = self.leg(index) else { return };
        if leg.ours.is_some() || leg.unacked.is_some() {
            if let Some(timer) = &mut leg.session {
                timer.postpone(now.mono, AGAIN);
            }
            return;
        }
        let update = leg.flags.takes_update;
        let method = if update {
            Method::Update
        } else {
            Method::Invite
        };
        let what = method.as_str().to_owned();
        let offer = (!update).then(|| leg.reoffer()).flatten();
        let Some(mut request) = leg.request(site, method) else {
            return;
        };
        request.headers.push((HeaderName::Allow, ALLOW.to_owned()));
        leg.renew_timer(&site.config, &mut request);
        request.body = offer.map(sdp);
        leg.ours = Some(OurReinvite {
            tx,
            cseq: request.cseq,
            update,
            refresh: true,
            renews: false,
        });
        let to = leg.flow;
        site.sip(sip_proxy::Input::Request { tx, request, to });
        let what = format!("{what} (session refresh)");
        self.note(now, Line::Out { to: name, what });
    }

    /// The answer to a refresh by UPDATE, or a refusal of a refresh by re-INVITE. Without a 2xx the timer runs on, and
    /// what it was sent for is tried again while there is time.
    pub(crate) fn refreshed(
        &mut self,
        site: &mut Site,
        now: Now,
        index: u16,
        ours: &OurReinvite,
        message: &Message,
    ) {
        let status = message.status().unwrap_or(0);
        let owner = self.peek(index).is_some_and(|leg| leg.flags.uac);
        let wait = glare_wait(site, owner);
        let Some(leg) = self.leg(index) else { return };
        match status {
            200..=299 => {
                if let Some(dialog) = leg.dialog.as_mut() {
                    dialog.refresh_target(message);
                }
                leg.learn(message);
                leg.accept_timer(now, message);
                return;
            }
            408 | 481 => return self.gone(site, now, index),
            405 | 501 if ours.update => leg.flags.takes_update = false,
            _ => {}
        }
        let raised = (status == 422)
            .then(|| leg.session.map(|timer| timer.interval()))
            .flatten()
            .and_then(|before| session_timer::raise(before, message));
        let Some(timer) = &mut leg.session else {
            return;
        };
        let wait = match status {
            405 | 501 => Duration::ZERO,
            422 => match raised {
                Some(interval) => {
                    *timer = SessionTimer::new(now.mono, interval, true);
                    Duration::ZERO
                }
                None => LATER,
            },
            491 => wait,
            _ => retry_after(message).unwrap_or(LATER),
        };
        timer.postpone(now.mono, wait);
    }
}

/// How long to wait after a 491 (RFC 3261 §14.1): the owner of the Call-ID longer, so that the two do not meet again.
pub(crate) fn glare_wait(site: &mut Site, owner: bool) -> Duration {
    let random = site.random();
    let wait = if owner {
        2_100 + random % 1_900
    } else {
        random % 2_000
    };
    Duration::from_millis(wait)
}

fn retry_after(message: &Message) -> Option<Duration> {
    let value = message.header(&HeaderName::RetryAfter)?;
    let seconds = value.split([';', '(']).next()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LATER))
}
