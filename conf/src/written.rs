//! `doorward.toml` as written: every key optional, every value with its place, unknown keys refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Errors, Source};
use crate::secret::Secret;

/// A value with its place, or nothing.
pub(crate) type Written<T> = Option<Spanned<T>>;

/// The whole file.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct File {
    pub(crate) site: Site,
    pub(crate) listen: Vec<Spanned<Listen>>,
    pub(crate) sip: Sip,
    pub(crate) media: Media,
    pub(crate) store: Store,
    pub(crate) plan: Plan,
    pub(crate) stations: Stations,
    pub(crate) http: Http,
    pub(crate) limits: Limits,
    pub(crate) unlock: Unlock,
    pub(crate) audit: Audit,
    pub(crate) trace: crate::trace::WrittenTrace,
    pub(crate) events: crate::events::WrittenEvents,
    pub(crate) qualify: crate::events::WrittenQualify,
    pub(crate) tls: Tls,
    pub(crate) trusted: Vec<Spanned<Trusted>>,
    pub(crate) trunk: BTreeMap<String, Spanned<crate::trunk::WrittenTrunk>>,
    pub(crate) dns: crate::trunk::WrittenDns,
    pub(crate) door: BTreeMap<String, Spanned<Door>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Site {
    pub(crate) name: Written<String>,
    pub(crate) domains: Written<Vec<Spanned<String>>>,
    pub(crate) realm: Written<String>,
}

#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub(crate) enum Digest {
    #[serde(rename = "sha-256")]
    Sha256,
    #[serde(rename = "md5")]
    Md5,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Listen {
    pub(crate) transport: Spanned<Transport>,
    pub(crate) address: Spanned<SocketAddr>,
    #[serde(default)]
    pub(crate) advertise: Written<Advertise>,
    #[serde(default)]
    pub(crate) certificate: Written<OneOrMany>,
    #[serde(default)]
    pub(crate) key: Written<OneOrMany>,
    #[serde(default)]
    pub(crate) client_ca: Written<String>,
    #[serde(default)]
    pub(crate) min_version: Written<String>,
    #[serde(default)]
    pub(crate) origins: Written<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Tls {
    pub(crate) roots: Written<String>,
    pub(crate) certificate: Written<OneOrMany>,
    pub(crate) key: Written<OneOrMany>,
}

/// `"a.pem"` or `["a.pem", "b.pem"]`.
#[derive(Debug)]
pub(crate) struct OneOrMany(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> serde::de::Visitor<'de> for Names {
            type Value = OneOrMany;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a file name or a list of them")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut names: A,
            ) -> Result<OneOrMany, A::Error> {
                let mut all = Vec::new();
                while let Some(name) = names.next_element()? {
                    all.push(name);
                }
                Ok(OneOrMany(all))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Sip {
    pub(crate) t1: Written<Span>,
    pub(crate) t2: Written<Span>,
    pub(crate) t4: Written<Span>,
    pub(crate) register_min: Written<Span>,
    pub(crate) register_default: Written<Span>,
    pub(crate) register_max: Written<Span>,
    pub(crate) contacts_max: Written<u32>,
    pub(crate) nonce_life: Written<Span>,
    pub(crate) session_expires: Written<Span>,
    pub(crate) min_se: Written<Span>,
    pub(crate) digest: Written<Vec<Digest>>,
    pub(crate) path_strict: bool,
    pub(crate) service_route: Vec<Spanned<String>>,
    pub(crate) flow_timer: Written<Span>,
    pub(crate) push_services: Vec<Spanned<String>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Media {
    pub(crate) address: Vec<Spanned<MediaAddress>>,
    pub(crate) ports: Written<Ports>,
    pub(crate) workers: Written<u16>,
    pub(crate) silence: Written<Span>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct MediaAddress {
    pub(crate) ip: Spanned<IpAddr>,
    #[serde(default)]
    pub(crate) advertise: Written<IpAddr>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Store {
    pub(crate) path: Written<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Plan {
    pub(crate) file: Written<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Stations {
    pub(crate) dir: Written<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Http {
    pub(crate) enabled: Option<bool>,
    pub(crate) listen: Written<SocketAddr>,
    pub(crate) token_file: Written<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Limits {
    pub(crate) calls: Written<u32>,
    pub(crate) calls_per_account: Written<u32>,
    pub(crate) call_duration: Written<Span>,
    pub(crate) hold_duration: Written<Span>,
    pub(crate) call_probe: Written<Span>,
    pub(crate) registrations: Written<u32>,
    pub(crate) requests_per_source: Written<u32>,
    pub(crate) connections: Written<u32>,
    pub(crate) connections_per_source: Written<u32>,
    pub(crate) connection_handshake: Written<Span>,
    pub(crate) connection_first_message: Written<Span>,
    pub(crate) connection_idle: Written<Span>,
    pub(crate) message_bytes: Written<u32>,
    pub(crate) queue_delay: Written<Span>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Unlock {
    pub(crate) per_minute: Written<u32>,
    pub(crate) intent_life: Written<Span>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Audit {
    pub(crate) queue: Written<u32>,
    pub(crate) batch: Written<u32>,
    pub(crate) commit_within: Written<Span>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Trusted {
    #[serde(default)]
    pub(crate) address: Written<IpAddr>,
    #[serde(default)]
    pub(crate) certificate: Written<String>,
    pub(crate) account: Spanned<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Door {
    pub(crate) url: Written<String>,
    pub(crate) user: Written<String>,
    pub(crate) password: Written<Secret>,
    pub(crate) password_file: Written<String>,
    pub(crate) tls_pin: Written<String>,
    pub(crate) picture: Written<String>,
}

/// A length of time: `500ms`, `20s`, `5m`, `2h`, `1d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is not a length of time: write \"500ms\", \"20s\", \"5m\", \"2h\" or \"1d\""))
        })
    }
}

/// A whole number and its unit; nothing longer than ten years.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    const LONGEST: u64 = 10 * 366 * 24 * 3_600 * 1_000;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let millis = number.parse::<u64>().ok()?.checked_mul(factor)?;
    (millis <= LONGEST).then_some(Duration::from_millis(millis))
}

/// A port range, `30000-33999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let range = text.split_once('-').and_then(|(first, last)| {
            Some(Self {
                first: first.trim().parse().ok()?,
                last: last.trim().parse().ok()?,
            })
        });
        range.ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is not a port range: write \"30000-33999\""
            ))
        })
    }
}

/// An address to tell others: `192.0.2.1` or `192.0.2.1:5060`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Advertise {
    pub(crate) ip: IpAddr,
    pub(crate) port: Option<u16>,
}

impl<'de> Deserialize<'de> for Advertise {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let whole = text.parse::<SocketAddr>().map(|a| Self {
            ip: a.ip(),
            port: Some(a.port()),
        });
        whole.or_else(|_| text.parse().map(|ip| Self { ip, port: None })).map_err(|_| {
            D::Error::custom(format!("`{text}` is not an address: write \"192.0.2.1\", \"192.0.2.1:5060\" or \"[2001:db8::1]:5060\""))
        })
    }
}

/// Reads a file into `T`; the first thing wrong with its form becomes an error with place, key and hint.
pub(crate) fn read<T: serde::de::DeserializeOwned>(source: &Source) -> Result<T, Errors> {
    toml::from_str(&source.text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let path = DeTable::parse(&source.text)
            .ok()
            .and_then(|table| path_at(table.get_ref(), &span))
            .unwrap_or_default();
        let message = error.message();
        let Some(unknown) = quoted(message, "unknown field `") else {
            let message = match path.is_empty() {
                true => message.to_owned(),
                false => format!("`{path}`: {message}"),
            };
            return source.error(&span, path, message).into();
        };
        let known: Vec<&str> = message
            .split_once("expected")
            .map_or("", |(_, list)| list)
            .split('`')
            .skip(1)
            .step_by(2)
            .collect();
        let place = path.rsplit_once('.').map_or("the file", |(table, _)| table);
        let error = source.error(
            &span,
            path.as_str(),
            format!("unknown key `{unknown}` in {place}"),
        );
        let hint = match nearest(unknown, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        error.hint(hint).into()
    })
}

/// The text after `start` up to the next back-quote.
fn quoted<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    message.strip_prefix(start)?.split('`').next()
}

/// The likeliest of `known` for a mistyped `word`, if any is near.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(word, k), *k))
        .min()?;
    (best.0 <= word.len() / 3 + 1).then_some(best.1)
}

/// The dotted path of the key or value at `span`.
fn path_at(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref();
        let rest = match value.get_ref() {
            DeValue::Table(inner) => path_at(inner, span),
            DeValue::Array(items) => items.iter().enumerate().find_map(|(n, item)| {
                let inner = match item.get_ref() {
                    DeValue::Table(table) => path_at(table, span),
                    _ => None,
                };
                let here = inner.map(|path| format!(".{path}"));
                here.or_else(|| (item.span() == *span).then(String::new))
                    .map(|path| format!("[{n}]{path}"))
            }),
            _ => None,
        };
        let here = key.span() == *span || value.span() == *span;
        match rest {
            Some(rest) if rest.starts_with('[') => Some(format!("{name}{rest}")),
            Some(rest) => Some(format!("{name}.{rest}")),
            None => here.then(|| name.to_string()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_stay_in_bounds() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("2h"), Some(Duration::from_secs(7_200)));
        for wrong in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "99999999999999999999s",
            "4000d",
            "5 s",
            "5é",
        ] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_nearest_word_is_near() {
        assert_eq!(
            nearest("addres", &["transport", "address"]),
            Some("address")
        );
        assert_eq!(nearest("colour", &["transport", "address"]), None);
    }
}
