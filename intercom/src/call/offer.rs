//! What an INVITE of ours says. Everything in it is ours: nothing of the caller's INVITE passes but the count of hops
//! and, through the negotiation, the wish for a codec both sides speak.

use media_bridge::Codec;
use sip_proxy::{Body, HeaderName, Method, OutgoingRequest};

use super::branch::{Branch, BranchKind, BranchState};
use super::call::{Call, Phase};
use super::leg::{Leg, Party};
use crate::Now;
use crate::site::{Site, Target};
use crate::story::Line;

/// Methods we serve (RFC 3261 §20.5).
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, PRACK, OPTIONS, INFO, MESSAGE, UPDATE, REGISTER, REFER, SUBSCRIBE, \
     PUBLISH";
/// Extensions we understand (RFC 3261 §20.37).
pub(crate) const SUPPORTED: &str = "100rel, timer, path, outbound, norefersub, replaces";

/// An SDP body.
pub(crate) fn sdp(bytes: bytes::Bytes) -> Body {
    Body {
        content_type: "application/sdp".to_owned(),
        bytes,
    }
}

impl Call {
    /// Sends an INVITE to a contact; `false` when it cannot be sent (no media port).
    pub(crate) fn invite(
        &mut self,
        site: &mut Site,
        now: Now,
        member: usize,
        party: Party,
        target: &Target,
    ) -> bool {
        let Some(index) = self.take_leg() else {
            return false;
        };
        let tag = super::tag(self.number, index, site.random());
        let profile = site.profile(&party.user);
        let mut leg = Leg::new(index, party, profile, target.flow, tag, None);
        if !leg.lease_media(site, self.number, self.caller.worker()) {
            self.note(
                now,
                Line::Media(format!("{}: no media port free", leg.party.device)),
            );
            return false;
        }
        let prefer = self.common_codec(&leg);
        let Some(offer) = leg
            .negotiation()
            .map(|negotiation| negotiation.offer(prefer))
        else {
            return false;
        };
        let request = self.invitation(site, &leg, target, offer);
        let tx = self.take_tx();
        let step = match &self.phase {
            Phase::Ringing(fork) => fork.step,
            _ => self.step,
        };
        site.sip(sip_proxy::Input::Request {
            tx,
            request: request.clone(),
            to: target.flow,
        });
        self.times.routed.get_or_insert(now.mono);
        self.note(
            now,
            Line::Out {
                to: leg.party.device.clone(),
                what: "INVITE (SDP)".to_owned(),
            },
        );
        self.branches.push(Branch {
            leg,
            kind: BranchKind::Device,
            step,
            member,
            tx,
            request: Box::new(request),
            state: BranchState::Invited,
            earlies: Vec::new(),
            diverted: target.diverted.clone(),
            min_se: 0,
            key: target.key.clone(),
            tried: Vec::new(),
        });
        true
    }

    /// The caller's first codec that the callee's profile speaks too: then both legs relay untouched.
    fn common_codec(&mut self, leg: &Leg) -> Option<Codec> {
        let agreed = self.caller.codec();
        let offered = self.caller.negotiation()?.offered_codecs();
        // What the caller's early media has settled comes first.
        agreed
            .into_iter()
            .chain(offered)
            .find(|codec| leg.profile.codecs.contains(codec))
    }

    fn invitation(
        &mut self,
        site: &mut Site,
        leg: &Leg,
        target: &Target,
        offer: bytes::Bytes,
    ) -> OutgoingRequest {
        let random = site.random();
        let domain = site.config.domain();
        let mut headers = vec![
            (HeaderName::Allow, ALLOW.to_owned()),
            (HeaderName::Supported, SUPPORTED.to_owned()),
        ];
        // What a station that takes no re-INVITE agreed to, nobody could keep up (doors.md).
        if leg.takes_reinvite() {
            headers.extend(site.config.session.fields(0).into_iter().flatten());
        }
        let auto_answer = matches!(&self.phase, Phase::Ringing(fork) if fork.ring.auto_answer);
        if auto_answer {
            let extra = leg.profile.auto_answer.headers.iter();
            headers
                .extend(extra.map(|(name, value)| (HeaderName::from_token(name), value.clone())));
        }
        if let Some(diverted) = &target.diverted {
            headers.extend(diverted.headers(site, &leg.party.user));
        }
        // A trunk knows neither our accounts nor our domain.
        if site.trunk(&leg.party.user).is_none() {
            headers.extend(self.referred_by(site));
        }
        let identity = self.identity(site, leg, target);
        headers.extend(identity.headers);
        OutgoingRequest {
            method: Method::Invite,
            uri: target.uri.clone(),
            from: format!("{};tag={}", identity.from, leg.local_tag),
            to: identity.to,
            call_id: format!("{:016x}-{}-{}@{domain}", random, self.number, leg.index),
            cseq: 1,
            max_forwards: self.max_forwards,
            route: target.route.clone(),
            contact: Some(site.contact(&target.flow)),
            headers,
            body: Some(sdp(offer)),
        }
    }
}
