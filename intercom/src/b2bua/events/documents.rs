//! NOTIFY with its document: the state as it is when the message leaves.

use std::collections::BTreeSet;

use sip_proxy::Body;
use sip_proxy::event::Notification;

use super::{B2bua, Entity, Resource, Sight, Watch, user_of};
use crate::Now;
use crate::call::{Call, Watched};
use crate::event::{dialog_info, message_summary, pidf, reg_info};

/// Dialogs in one document; a desk with more calls than this at once shows the newest ones.
const DIALOGS: usize = 32;

impl B2bua {
    /// Sends one NOTIFY.
    pub(super) fn notify(&mut self, now: Now, notification: Notification<Resource, Watch>) {
        let Notification {
            id,
            resource,
            content_type,
            mut request,
            to,
            last,
            ..
        } = notification;
        let (version, sight, told) = match (&last, self.events.notifier.data_mut(id)) {
            (Some(watch), _) => (watch.version, watch.sight, watch.told.clone()),
            (None, Some(watch)) => (watch.version, watch.sight, std::mem::take(&mut watch.told)),
            (None, None) => return,
        };
        let (text, told) = self.document(now, &resource, sight, version, told);
        request.body = Some(Body {
            content_type: content_type.to_owned(),
            bytes: text.into(),
        });
        let tx = self.events.serials.next();
        if let Some(watch) = self.events.notifier.data_mut(id) {
            watch.version = version.wrapping_add(1);
            watch.told = told;
        }
        self.events.notifier.sent(now.mono, id, tx);
        self.site.sip(sip_proxy::Input::Request { tx, request, to });
    }

    /// A document and what it told of.
    fn document(
        &self,
        now: Now,
        resource: &Resource,
        sight: Sight,
        version: u32,
        told: Vec<(String, String)>,
    ) -> (String, Vec<(String, String)>) {
        let address = |name: &str| self.site.aor(name);
        match resource {
            Resource::Dialog(entity) => {
                let dialogs = self.dialogs(entity, sight);
                let ended: Vec<String> = told
                    .into_iter()
                    .map(|(id, _)| id)
                    .filter(|id| dialogs.iter().all(|dialog| dialog.id != *id))
                    .collect();
                let text = dialog_info::write(&address(entity.name()), version, &dialogs, &ended);
                let told = dialogs.into_iter().map(|dialog| (dialog.id, String::new()));
                (text, told.collect())
            }
            Resource::Presence(entity) => {
                let presence = self.presence(now, entity);
                (pidf::write(&address(entity.name()), &presence), Vec::new())
            }
            Resource::Messages(account) => {
                let waiting = self
                    .events
                    .waiting
                    .get(account)
                    .copied()
                    .unwrap_or_default();
                let text = message_summary::write(&address(account), waiting);
                (text, Vec::new())
            }
            Resource::Reg(user) => self.registrations(now, user, version, &told),
        }
    }

    /// The dialogs of an entity: one for each call it has a part in, in the state of its most advanced leg there.
    fn dialogs(&self, entity: &Entity, sight: Sight) -> Vec<dialog_info::Dialog> {
        let devices = entity.devices(&self.site);
        let calls: BTreeSet<u64> = devices
            .iter()
            .flat_map(|device| self.events.lines.calls_of(device))
            .collect();
        let mut dialogs: Vec<_> = calls
            .into_iter()
            .rev()
            .take(DIALOGS)
            .filter_map(|number| {
                let call = self.calls.get(&number)?;
                let mine = call
                    .watched()
                    .filter(|leg| devices.contains(&leg.leg.party.device));
                // Of equals the first, so that the dialog shown does not wander from one desk phone to the next.
                let leg =
                    mine.reduce(|best, leg| if leg.state > best.state { leg } else { best })?;
                Some(self.dialog(call, leg, sight))
            })
            .collect();
        dialogs.reverse();
        dialogs
    }

    fn dialog(&self, call: &Call, leg: Watched<'_>, sight: Sight) -> dialog_info::Dialog {
        let identity = (sight == Sight::Full).then(|| {
            let shown = call.shown(leg.leg);
            let other = call
                .watched()
                .find(|other| other.initiator != leg.initiator && other.state == leg.state);
            let name = match other {
                // Rung in parallel: the other side is what was dialled.
                Some(other) if !leg.initiator || call.times.answered.is_some() => {
                    let party = &other.leg.party;
                    Some((party.door.as_ref().unwrap_or(&party.device), &party.user))
                }
                _ => crate::story::is_name(&call.dial).then_some((&call.dial, &call.dial)),
            };
            let (name, user) = name.map_or(("?", "anonymous"), |(name, user)| (name, user));
            dialog_info::Identity {
                call_id: shown.call_id,
                local_tag: shown.local_tag,
                remote_tag: shown.remote_tag,
                remote_name: name.to_owned(),
                remote: self.site.aor(user),
            }
        });
        dialog_info::Dialog {
            id: call.id.clone(),
            state: leg.state,
            initiator: leg.initiator,
            identity,
        }
    }

    /// Whether an entity can be called: registered and answering, unless it published otherwise.
    fn presence(&self, now: Now, entity: &Entity) -> pidf::Presence {
        let devices = entity.devices(&self.site);
        let registered = devices
            .iter()
            .any(|device| !self.site.targets(device, now.mono).is_empty() && !self.is_lost(device));
        let published = self
            .events
            .publications
            .latest(entity, now.mono)
            .and_then(|body| pidf::read(body));
        let (open, note) = published.unwrap_or((None, None));
        pidf::Presence {
            // Nobody is made reachable by saying so.
            open: registered && open.unwrap_or(true),
            on_the_phone: devices.iter().any(|device| self.events.lines.talks(device)),
            note,
        }
    }

    fn registrations(
        &self,
        now: Now,
        user: &str,
        version: u32,
        told: &[(String, String)],
    ) -> (String, Vec<(String, String)>) {
        let aor = self.site.aor(user);
        let mut contacts: Vec<reg_info::Contact> = self
            .site
            .location
            .lookup(&aor, now.mono)
            .into_iter()
            .map(|binding| reg_info::Contact {
                id: contact_id(&binding.contact),
                uri: binding.contact.to_string(),
                left: Ok(binding.remaining(now.mono)),
                call_id: binding.call_id.to_string(),
                cseq: binding.cseq,
                q: binding.q,
                agent: binding.user_agent.as_ref().map(ToString::to_string),
            })
            .collect();
        let live: Vec<_> = contacts
            .iter()
            .map(|contact| (contact.id.clone(), contact.uri.clone()))
            .collect();
        for (id, uri) in told.iter().filter(|known| !live.contains(known)) {
            let why = self
                .events
                .removed
                .iter()
                .rev()
                .find(|(of, contact, _)| of == user && contact == uri)
                .map_or(sip_proxy::RemovalCause::Expired, |(.., why)| *why);
            contacts.push(reg_info::Contact {
                id: id.clone(),
                uri: uri.clone(),
                left: Err(why),
                call_id: String::new(),
                cseq: 0,
                q: 1_000,
                agent: None,
            });
        }
        let text = reg_info::write(&aor, user_of(&aor), version, &contacts);
        (text, live)
    }
}

/// A contact's id in documents: the same as long as its URI is.
fn contact_id(uri: &str) -> String {
    // FNV-1a: names, nothing secret.
    let hash = uri.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}
