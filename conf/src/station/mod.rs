//! Station profiles: what a make of door station or phone can do, says and trips over. Data, not code.

mod read;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use media_bridge::Codec;

pub(crate) use read::read;

/// One make's profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name in plan and store: `2n`. The file's name without `.toml`.
    pub name: String,
    /// For people: `2N IP intercoms`.
    pub title: String,
    /// What its SIP side can.
    pub sip: Sip,
    /// How it sends digits to us.
    pub dtmf_in: Vec<DtmfMethod>,
    /// How it wants digits from us.
    pub dtmf_out: DtmfOut,
    /// The ways it can be told to open.
    pub unlock: Unlock,
    /// What it does by itself during a call.
    pub in_call: InCall,
    /// What its MESSAGEs mean: a phrase looked for in the body, in any case, and the event's name.
    pub message_events: Vec<(String, String)>,
}

/// What a station's SIP side can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sip {
    /// Transports it speaks, preferred first: `udp`, `tcp`, `tls`.
    pub transports: Vec<String>,
    /// Audio codecs offered to it, preferred first.
    pub codecs: Vec<Codec>,
    /// Packet time in milliseconds.
    pub ptime_ms: u16,
    /// It survives a re-INVITE or UPDATE of ours. If not, hold and codec changes end at our side.
    pub reinvite: bool,
    /// It plays a 183 with SDP (our ringback) while it waits.
    pub early_media: bool,
    /// It can send video.
    pub video: bool,
    /// It gives up ringing after this long.
    pub ring_limit: Option<Duration>,
    /// It hangs up after this long.
    pub call_limit: Option<Duration>,
    /// Header lines that make it answer by itself, name and value.
    pub auto_answer: Vec<(String, String)>,
    /// How often it is asked by OPTIONS whether it is there; `None`: as `[qualify]` says, `Some(None)`: never.
    pub qualify: Option<Option<Duration>>,
    /// Header lines of a call from a door, name and value.
    pub door_call: Vec<(String, String)>,
    /// It answers challenges with a nonce count it has used before: taken from the same address, but for unlocking.
    pub repeats_nonce: bool,
    /// It is rung although it is in a call.
    pub call_waiting: bool,
    /// It is asked by OPTIONS whether it is still in its call.
    pub probe: bool,
}

/// A way digits travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DtmfMethod {
    /// RFC 4733 telephone-event.
    Rfc4733,
    /// SIP INFO.
    Info,
    /// Tones in the audio.
    InBand,
}

/// How a station wants digits from us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtmfOut {
    /// The way.
    pub method: DtmfMethod,
    /// Length of a tone.
    pub tone: Duration,
    /// Silence between tones.
    pub gap: Duration,
    /// What closes a code (2N: `*`); empty when nothing does.
    pub terminator: String,
}

/// The ways a station can be told to open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unlock {
    /// By an HTTP request.
    pub http: Option<HttpUnlock>,
    /// By `Action: buzz`.
    pub buzz: Option<BuzzUnlock>,
    /// By digits in its call (the code itself stands in the plan's output).
    pub dtmf: bool,
}

/// An HTTP request that opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUnlock {
    /// `GET`, `PUT` or `POST`.
    pub method: String,
    /// Path and query with places: `/api/switch/ctrl?switch={switch}&action=trigger`. `{name}` is percent-encoded,
    /// `{+name}` is put in as it stands (RFC 6570 §3.2.3) and may bring a whole path.
    pub path: String,
    /// Body with `{name}` places.
    pub body: Option<String>,
    /// Content-Type of the body.
    pub content_type: Option<String>,
    /// How it authenticates us.
    pub auth: HttpAuth,
    /// Values for places the plan's output does not fill.
    pub defaults: BTreeMap<String, String>,
    /// Statuses that mean success.
    pub success_status: Vec<u16>,
    /// Text the answer's body must hold besides, white space ignored.
    pub success_body: Option<String>,
    /// Time for one try.
    pub timeout: Duration,
    /// Further tries after a connection failure; never after the request may have arrived.
    pub retries: u8,
}

/// HTTP authentication towards a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpAuth {
    /// None, or by places in the path.
    None,
    /// RFC 7617. Only sent over TLS or to the station named in `doorward.toml`.
    Basic,
    /// RFC 7616.
    Digest,
}

/// `Action: buzz` sent to a station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuzzUnlock {
    /// `INFO`, `MESSAGE` or `INVITE`.
    pub method: String,
    /// Header name.
    pub header: String,
    /// Header value, with `{output}` for the output's name.
    pub value: String,
}

/// What a station does by itself during a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InCall {
    /// Digits with a meaning of its own: `#` on a 2N prolongs the call.
    pub keys: BTreeMap<char, String>,
    /// Hanging up after opening is no error.
    pub hangs_up_after_opening: bool,
}

/// A request with every place filled.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `PUT` or `POST`.
    pub method: String,
    /// Path and query. May hold a password: never log it.
    pub path: String,
    /// Body.
    pub body: Option<String>,
}

impl HttpUnlock {
    /// Fills the places from `values` (the plan's output options, `user`, `password`), then from the defaults. Values
    /// are percent-encoded in the path.
    ///
    /// # Errors
    /// The name of a place nothing fills.
    pub fn fill(&self, values: &BTreeMap<String, String>) -> Result<HttpRequest, String> {
        let value = |name: &str| values.get(name).or_else(|| self.defaults.get(name));
        let path = fill(&self.path, |name| match name.strip_prefix('+') {
            // What would end the request line, or start elsewhere than at the root, fills nothing.
            Some(name) => value(name)
                .filter(|v| v.starts_with('/') && v.chars().all(|c| c.is_ascii_graphic()))
                .cloned(),
            None => value(name).map(|v| percent_encode(v)),
        })?;
        let body = self
            .body
            .as_ref()
            .map(|body| fill(body, |name| value(name).cloned()))
            .transpose()?;
        Ok(HttpRequest {
            method: self.method.clone(),
            path,
            body,
        })
    }

    /// Whether an answer means that the door was told to open.
    #[must_use]
    pub fn is_success(&self, status: u16, body: &str) -> bool {
        let bare = |text: &str| {
            text.chars()
                .filter(|c| !c.is_whitespace())
                .collect::<String>()
        };
        self.success_status.contains(&status)
            && self
                .success_body
                .as_ref()
                .is_none_or(|wanted| bare(body).contains(&bare(wanted)))
    }
}

/// Replaces each `{name}`; text in other braces (JSON) stays.
fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        match after.split_once('}') {
            Some((name, tail)) if is_place(name) => {
                filled.push_str(&value(name).ok_or_else(|| name.to_owned())?);
                rest = tail;
            }
            _ => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

fn is_place(name: &str) -> bool {
    let name = name.strip_prefix('+').unwrap_or(name);
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c == '-' || c == '_')
}

/// RFC 3986 §2.1, everything but unreserved characters.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The profiles that are part of the program.
#[must_use]
pub fn built_in() -> BTreeMap<String, Profile> {
    const SHIPPED: [(&str, &str); 5] = [
        ("2n.toml", include_str!("../../stations/2n.toml")),
        ("akuvox.toml", include_str!("../../stations/akuvox.toml")),
        ("dahua.toml", include_str!("../../stations/dahua.toml")),
        ("fanvil.toml", include_str!("../../stations/fanvil.toml")),
        ("generic.toml", include_str!("../../stations/generic.toml")),
    ];
    // A test reads each of them without errors.
    SHIPPED
        .iter()
        .filter_map(|(file, text)| read(Path::new(file), text).ok())
        .map(|profile| (profile.name.clone(), profile))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn http(name: &str) -> HttpUnlock {
        built_in().remove(name).unwrap().unlock.http.unwrap()
    }

    #[test]
    fn every_shipped_profile_reads() {
        for (file, text) in [
            ("2n", include_str!("../../stations/2n.toml")),
            ("akuvox", include_str!("../../stations/akuvox.toml")),
            ("dahua", include_str!("../../stations/dahua.toml")),
            ("fanvil", include_str!("../../stations/fanvil.toml")),
            ("generic", include_str!("../../stations/generic.toml")),
        ] {
            read(Path::new(&format!("{file}.toml")), text).unwrap_or_else(|e| panic!("{e}"));
        }
        assert_eq!(
            built_in().keys().collect::<Vec<_>>(),
            ["2n", "akuvox", "dahua", "fanvil", "generic"]
        );
    }

    #[test]
    fn what_a_station_reports_by_message_has_a_name() {
        let fanvil = built_in().remove("fanvil").unwrap();
        let named = |phrase: &str| {
            let found = fanvil.message_events.iter().find(|(p, _)| p == phrase);
            found.map(|(_, name)| name.as_str())
        };
        assert_eq!(named("ALERT=tamper"), Some("tamper"));
        assert_eq!(fanvil.sip.qualify, Some(Some(Duration::from_secs(30))));
        let text = "title = \"x\"\n[sip]\nqualify = \"1s\"\n[message-events]\n\"\" = \"tamper\"\n\"x\" = \"two words\"\n";
        let errors = read(Path::new("x.toml"), text).unwrap_err().to_string();
        for part in ["sip.qualify", "empty phrase", "not a name"] {
            assert!(errors.contains(part), "{part} not in {errors}");
        }
    }

    #[test]
    fn a_2n_switch_is_triggered_by_its_number() {
        let request = http("2n").fill(&values(&[("switch", "2")])).unwrap();
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("GET", "/api/switch/ctrl?switch=2&action=trigger")
        );
        assert!(http("2n").is_success(200, "{\n  \"success\" : true\n}"));
        assert!(
            !http("2n").is_success(200, "{ \"success\": false, \"error\": {} }"),
            "a 2N refuses with status 200"
        );
        assert!(!http("2n").is_success(401, "{\"success\":true}"));
    }

    #[test]
    fn values_cannot_leave_their_place_in_the_path() {
        let request = http("akuvox")
            .fill(&values(&[
                ("user", "a&b"),
                ("password", "p#/ é"),
                ("relay", "1"),
            ]))
            .unwrap();
        assert_eq!(
            request.path,
            "/fcgi/do?action=OpenDoor&UserName=a%26b&Password=p%23%2F%20%C3%A9&DoorNum=1"
        );
    }

    #[test]
    fn a_whole_path_may_come_from_the_plan_but_no_second_line() {
        let fill = |path| {
            http("generic")
                .fill(&values(&[("path", path)]))
                .map(|r| r.path)
        };
        assert_eq!(fill("/relay/0?turn=on").as_deref(), Ok("/relay/0?turn=on"));
        assert_eq!(fill("/x HTTP/1.1\r\nHost: y"), Err("+path".to_owned()));
        assert_eq!(
            fill("//evil@host".trim_start_matches('/')),
            Err("+path".to_owned())
        );
    }

    #[test]
    fn a_place_nothing_fills_is_named() {
        assert_eq!(
            http("akuvox")
                .fill(&values(&[("relay", "1")]))
                .err()
                .as_deref(),
            Some("user")
        );
    }

    #[test]
    fn braces_of_a_json_body_stay() {
        assert_eq!(
            fill("{\"door\": {door}, \"x\": {}}", |_| Some("1".into())).unwrap(),
            "{\"door\": 1, \"x\": {}}"
        );
        assert_eq!(fill("open {", |_| None).unwrap(), "open {");
    }
}
