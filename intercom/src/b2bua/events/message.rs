//! MESSAGE (RFC 3428) of a station: its own word becomes an event. From one device to another it is the proxy's.

use std::time::{Duration, Instant};

use sip_proxy::{Message, OutgoingResponse, ServerTx};

use super::B2bua;
use crate::audit::Kind;
use crate::call::Party;
use crate::{Now, SiteEvent};

/// Characters of a station's message that an event repeats.
const TEXT: usize = 160;
/// Octets of a message that are looked at for a known alarm.
const LOOKED_AT: usize = 4_096;
/// Alarms and messages of stations written to the log a minute; more are counted and told, so that a station gone mad
/// fills no disk.
const STATION_RECORDS: u32 = 60;

/// Records of stations' messages in the current minute.
#[derive(Debug, Default)]
pub(crate) struct StationRecords(Option<Instant>, u32);

impl StationRecords {
    fn takes(&mut self, now: Instant) -> bool {
        if self
            .0
            .is_none_or(|since| now >= since + Duration::from_secs(60))
        {
            *self = StationRecords(Some(now), 0);
        }
        self.1 += 1;
        self.1 <= STATION_RECORDS
    }
}

impl B2bua {
    /// A station reports. It takes anything but 200 for a broken server, so it gets 200, always.
    pub(in super::super) fn station_message(
        &mut self,
        now: Now,
        tx: ServerTx,
        message: &Message,
        party: &Party,
        door: &str,
    ) {
        let body = message.body();
        let seen = body.get(..body.len().min(LOOKED_AT)).unwrap_or_default();
        let text = String::from_utf8_lossy(seen);
        let known = self.alarm_named(party, door, &text);
        let event = match known {
            Some(kind) => SiteEvent::StationAlarm {
                door: door.to_owned(),
                device: party.device.clone(),
                kind,
                text: brief(&text),
            },
            None => SiteEvent::StationMessage {
                door: door.to_owned(),
                device: party.device.clone(),
                octets: body.len(),
            },
        };
        if event.is_alarm() && self.station_records.takes(now.mono) {
            self.log_event(now, &event);
        }
        self.happened(event);
        self.answer(tx, OutgoingResponse::new(200));
    }

    /// An alarm into the log that cannot be changed unseen.
    pub(super) fn log_event(&mut self, now: Now, event: &SiteEvent) {
        let mut entry = self.journal.entry(now.civil, Kind::Alarm);
        entry.door = event.door().map(str::to_owned);
        entry.actor = Some(format!("device:{}", event.device()));
        entry.result = Some(event.kind().to_owned());
        entry.detail = Some(event.to_string());
        let record = self.journal.record(entry);
        self.queue.push_back(crate::Output::Record(record));
    }

    /// The profile's word for what a station said: of the phrases found in it the longest.
    fn alarm_named(&self, party: &Party, door: &str, text: &str) -> Option<String> {
        let planned = self.site.plan.door(door).map(|door| &door.station);
        let mine = self.site.accounts.get(&party.user).map(|a| &a.profile);
        let text = text.to_ascii_lowercase();
        planned
            .into_iter()
            .chain(mine)
            .filter_map(|profile| self.speech.out.get(profile))
            .flat_map(|out| &out.message_events)
            .filter(|(phrase, _)| !phrase.is_empty() && text.contains(&phrase.to_ascii_lowercase()))
            .max_by_key(|(phrase, _)| phrase.len())
            .map(|(_, kind)| kind.clone())
    }
}

/// One line of it, without control characters.
fn brief(text: &str) -> String {
    let clean = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    clean.take(TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_station_says_is_one_bounded_line() {
        assert_eq!(brief(" ALERT=tamper\r\nx\0y \n"), "ALERT=tamper  x y");
        assert_eq!(brief(&"é".repeat(1_000)).chars().count(), TEXT);
    }
}
