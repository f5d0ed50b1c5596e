//! A profile file, written -> resolved.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use media_bridge::Codec;
use toml::Spanned;

use super::{BuzzUnlock, DtmfMethod, DtmfOut, HttpAuth, HttpUnlock, InCall, Profile, Sip, Unlock};
use crate::error::{Error, Errors, Source};
use crate::events::Every;
use crate::written::{self, Span, Written, nearest};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    title: String,
    #[serde(default)]
    sip: WrittenSip,
    #[serde(default)]
    dtmf: WrittenDtmf,
    #[serde(default)]
    unlock: WrittenUnlock,
    #[serde(default)]
    in_call: WrittenInCall,
    #[serde(default)]
    message_events: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct WrittenSip {
    transports: Written<Vec<Spanned<String>>>,
    codecs: Written<Vec<Spanned<String>>>,
    ptime: Written<Span>,
    reinvite: Option<Reinvite>,
    early_media: Option<bool>,
    video: Option<bool>,
    ring_limit: Written<Span>,
    call_limit: Written<Span>,
    auto_answer: Vec<Spanned<String>>,
    qualify: Written<Every>,
    door_call: Vec<Spanned<String>>,
    repeats_nonce: Option<bool>,
    call_waiting: Option<bool>,
    probe: Option<bool>,
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reinvite {
    Allowed,
    Never,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct WrittenDtmf {
    receive: Option<Vec<Method>>,
    send: Option<Method>,
    tone: Written<Span>,
    gap: Written<Span>,
    terminator: Written<String>,
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Method {
    Rfc4733,
    Info,
    InBand,
}

impl From<Method> for DtmfMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::Rfc4733 => Self::Rfc4733,
            Method::Info => Self::Info,
            Method::InBand => Self::InBand,
        }
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct WrittenUnlock {
    dtmf: bool,
    http: Option<WrittenHttp>,
    action_buzz: Option<WrittenBuzz>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenHttp {
    method: Spanned<String>,
    path: Spanned<String>,
    body: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    auth: Option<Auth>,
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    success_status: Written<Vec<u16>>,
    success_body: Option<String>,
    timeout: Written<Span>,
    retries: Option<u8>,
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Auth {
    None,
    Basic,
    Digest,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenBuzz {
    method: Spanned<String>,
    header: Spanned<String>,
    value: Spanned<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct WrittenInCall {
    keys: BTreeMap<Spanned<String>, String>,
    hangs_up_after_opening: bool,
}

/// Reads the profile in `file`; its name is the file's name without `.toml`.
///
/// # Errors
/// Everything wrong with it.
pub(crate) fn read(file: &Path, text: &str) -> Result<Profile, Errors> {
    let source = Source::new(file, text);
    let written: File = written::read(&source)?;
    let name = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default()
        .to_owned();
    let mut check = Check {
        source: &source,
        errors: Vec::new(),
    };
    if !crate::resolve::is_name(&name) {
        check.errors.push(Error::of_file(
            file,
            "the file's name is the profile's name: use letters, digits and `-`",
        ));
    }
    let ms = Duration::from_millis;
    let profile = Profile {
        name,
        title: written.title,
        sip: check.sip(&written.sip),
        dtmf_in: written
            .dtmf
            .receive
            .map_or(vec![DtmfMethod::Rfc4733, DtmfMethod::Info], |list| {
                list.into_iter().map(Into::into).collect()
            }),
        dtmf_out: DtmfOut {
            method: written.dtmf.send.map_or(DtmfMethod::Rfc4733, Into::into),
            tone: check.span("dtmf.tone", &written.dtmf.tone, ms(120), ms(40), ms(2_000)),
            gap: check.span("dtmf.gap", &written.dtmf.gap, ms(80), ms(30), ms(2_000)),
            terminator: check.terminator(&written.dtmf.terminator),
        },
        unlock: Unlock {
            dtmf: written.unlock.dtmf,
            http: written.unlock.http.map(|http| check.http(http)),
            buzz: written.unlock.action_buzz.map(|buzz| check.buzz(&buzz)),
        },
        in_call: check.in_call(written.in_call),
        message_events: check.message_events(written.message_events),
    };
    if check.errors.is_empty() {
        Ok(profile)
    } else {
        Err(Errors(check.errors))
    }
}

struct Check<'a> {
    source: &'a Source,
    errors: Vec<Error>,
}

impl Check<'_> {
    fn fault(
        &mut self,
        span: &std::ops::Range<usize>,
        key: &str,
        message: &str,
        hint: impl Into<String>,
    ) {
        self.errors.push(
            self.source
                .error(span, key, format!("`{key}`: {message}"))
                .hint(hint),
        );
    }

    fn span(
        &mut self,
        key: &str,
        value: &Written<Span>,
        default: Duration,
        least: Duration,
        most: Duration,
    ) -> Duration {
        let Some(value) = value else { return default };
        let span = value.get_ref().0;
        if span < least || span > most {
            self.fault(
                &value.span(),
                key,
                "out of range",
                format!("write {least:?} to {most:?}"),
            );
        }
        span
    }

    fn one_of(&mut self, key: &str, value: &Spanned<String>, known: &[&str]) -> String {
        let text = value.get_ref().as_str();
        if !known.contains(&text) {
            let hint = nearest(text, known).map_or_else(
                || format!("one of {}", known.join(", ")),
                |n| format!("did you mean `{n}`?"),
            );
            self.fault(
                &value.span(),
                key,
                &format!("`{text}` is not known here"),
                hint,
            );
        }
        text.to_owned()
    }

    fn sip(&mut self, written: &WrittenSip) -> Sip {
        const TRANSPORTS: [&str; 3] = ["udp", "tcp", "tls"];
        let transports = match &written.transports {
            None => vec!["udp".to_owned(), "tcp".to_owned()],
            Some(list) => list
                .get_ref()
                .iter()
                .map(|t| self.one_of("sip.transports", t, &TRANSPORTS))
                .collect(),
        };
        let codecs = match &written.codecs {
            None => vec![Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu],
            Some(list) => {
                if list.get_ref().is_empty() {
                    self.fault(
                        &list.span(),
                        "sip.codecs",
                        "empty",
                        "name at least one codec",
                    );
                }
                list.get_ref()
                    .iter()
                    .filter_map(|codec| self.codec(codec))
                    .collect()
            }
        };
        let optional = |value: &Written<Span>| value.as_ref().map(|v| v.get_ref().0);
        let ptime = self.span(
            "sip.ptime",
            &written.ptime,
            Duration::from_millis(20),
            Duration::from_millis(10),
            Duration::from_millis(60),
        );
        let mut lines = |key: &str, lines: &[Spanned<String>]| {
            let lines = lines.iter();
            lines
                .filter_map(|line| self.header_line(key, line))
                .collect()
        };
        let auto_answer = lines("sip.auto-answer", &written.auto_answer);
        let door_call = lines("sip.door-call", &written.door_call);
        Sip {
            transports,
            codecs,
            ptime_ms: u16::try_from(ptime.as_millis()).unwrap_or(20),
            reinvite: !matches!(written.reinvite, Some(Reinvite::Never)),
            early_media: written.early_media.unwrap_or(false),
            video: written.video.unwrap_or(false),
            ring_limit: optional(&written.ring_limit),
            call_limit: optional(&written.call_limit),
            auto_answer,
            qualify: self.qualify(&written.qualify),
            door_call,
            repeats_nonce: written.repeats_nonce.unwrap_or(false),
            call_waiting: written.call_waiting.unwrap_or(true),
            probe: written.probe.unwrap_or(true),
        }
    }

    fn qualify(&mut self, written: &Written<Every>) -> Option<Option<Duration>> {
        let written = written.as_ref()?;
        let every = *written.get_ref();
        if !every.is_sensible() {
            let hint = format!("write {:?} to {:?}, or \"off\"", Every::LEAST, Every::MOST);
            self.fault(&written.span(), "sip.qualify", "out of range", hint);
        }
        Some(every.0)
    }

    fn message_events(
        &mut self,
        written: BTreeMap<Spanned<String>, Spanned<String>>,
    ) -> Vec<(String, String)> {
        let mut events = Vec::new();
        for (phrase, name) in written {
            if phrase.get_ref().trim().is_empty() {
                let hint = "write what the message holds: \"ALERT=tamper\"";
                self.fault(
                    &phrase.span(),
                    "message-events",
                    "an empty phrase is in every message",
                    hint,
                );
            }
            if !crate::resolve::is_name(name.get_ref()) {
                let hint = "use letters, digits and `-`: \"tamper\"";
                self.fault(&name.span(), "message-events", "not a name", hint);
            }
            events.push((phrase.into_inner(), name.into_inner()));
        }
        events
    }

    fn codec(&mut self, name: &Spanned<String>) -> Option<Codec> {
        match self
            .one_of("sip.codecs", name, &["opus", "G722", "PCMA", "PCMU", "L16"])
            .as_str()
        {
            "opus" => Some(Codec::Opus),
            "G722" => Some(Codec::G722),
            "PCMA" => Some(Codec::Pcma),
            "PCMU" => Some(Codec::Pcmu),
            "L16" => Some(Codec::L16),
            _ => None,
        }
    }

    fn header_line(&mut self, key: &str, line: &Spanned<String>) -> Option<(String, String)> {
        let parts = line
            .get_ref()
            .split_once(": ")
            .filter(|(name, value)| is_token(name) && is_value(value));
        if parts.is_none() {
            self.fault(
                &line.span(),
                key,
                "not a header line",
                "write \"Alert-Info: Ring Answer\"",
            );
        }
        parts.map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    fn terminator(&mut self, written: &Written<String>) -> String {
        let Some(text) = written else {
            return String::new();
        };
        if !text.get_ref().chars().all(is_digit) {
            self.fault(
                &text.span(),
                "dtmf.terminator",
                "not digits",
                "0-9, *, # and A-D",
            );
        }
        text.get_ref().clone()
    }

    fn http(&mut self, written: WrittenHttp) -> HttpUnlock {
        let method = self.one_of(
            "unlock.http.method",
            &written.method,
            &["GET", "PUT", "POST"],
        );
        let path = written.path.get_ref().clone();
        if !(path.starts_with('/') || path.starts_with("{+"))
            || path.chars().any(|c| c.is_whitespace() || c.is_control())
        {
            self.fault(
                &written.path.span(),
                "unlock.http.path",
                "not a path",
                "start with `/`, encode spaces as %20",
            );
        }
        let success_status = written.success_status.map_or(vec![200, 204], |list| {
            if !list
                .get_ref()
                .iter()
                .all(|status| (200..300).contains(status))
            {
                let span = list.span();
                self.fault(
                    &span,
                    "unlock.http.success-status",
                    "only 2xx can mean success",
                    "200 to 299; redirects are not followed",
                );
            }
            list.into_inner()
        });
        HttpUnlock {
            method,
            path,
            body: written.body,
            content_type: written.content_type,
            auth: match written.auth {
                None | Some(Auth::None) => HttpAuth::None,
                Some(Auth::Basic) => HttpAuth::Basic,
                Some(Auth::Digest) => HttpAuth::Digest,
            },
            defaults: written.defaults,
            success_status,
            success_body: written.success_body,
            timeout: self.span(
                "unlock.http.timeout",
                &written.timeout,
                Duration::from_secs(3),
                Duration::from_millis(100),
                Duration::from_secs(10),
            ),
            retries: written.retries.unwrap_or(1).min(5),
        }
    }

    fn buzz(&mut self, written: &WrittenBuzz) -> BuzzUnlock {
        if !is_token(written.header.get_ref()) {
            self.fault(
                &written.header.span(),
                "unlock.action-buzz.header",
                "not a header name",
                "write \"Action\"",
            );
        }
        if !is_value(written.value.get_ref()) {
            self.fault(
                &written.value.span(),
                "unlock.action-buzz.value",
                "not a header value",
                "write \"buzz\"",
            );
        }
        BuzzUnlock {
            method: self.one_of(
                "unlock.action-buzz.method",
                &written.method,
                &["INFO", "MESSAGE", "INVITE"],
            ),
            header: written.header.get_ref().clone(),
            value: written.value.get_ref().clone(),
        }
    }

    fn in_call(&mut self, written: WrittenInCall) -> InCall {
        let mut keys = BTreeMap::new();
        for (key, meaning) in written.keys {
            let mut chars = key.get_ref().chars();
            match (chars.next().filter(|c| is_digit(*c)), chars.next()) {
                (Some(digit), None) => {
                    keys.insert(digit, meaning);
                }
                _ => self.fault(
                    &key.span(),
                    "in-call.keys",
                    "not one key",
                    "0-9, *, # or A-D",
                ),
            }
        }
        InCall {
            keys,
            hangs_up_after_opening: written.hangs_up_after_opening,
        }
    }
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || "*#ABCD".contains(c)
}

/// RFC 3261 §25.1 token.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c))
}

fn is_value(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        read(Path::new("stations/acme.toml"), text)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_profile_needs_little() {
        let profile = read(Path::new("stations/acme.toml"), "title = \"Acme\"").unwrap();
        assert_eq!(
            (profile.name.as_str(), profile.sip.reinvite),
            ("acme", true)
        );
    }

    #[test]
    fn an_unknown_codec_gets_the_nearest_name() {
        let text = faults("title = \"Acme\"\n[sip]\ncodecs = [\"PCMX\"]\n");
        insta::assert_snapshot!(text, @r#"
        error: `sip.codecs`: `PCMX` is not known here
          --> stations/acme.toml:3:11
           |
         3 | codecs = ["PCMX"]
           |           ^^^^^^ did you mean `PCMA`?
        "#);
    }

    #[test]
    fn a_redirect_is_never_success() {
        let text = faults(
            "title = \"A\"\n[unlock.http]\nmethod = \"GET\"\npath = \"/o\"\nsuccess-status = [302]\n",
        );
        assert!(text.contains("only 2xx can mean success"), "{text}");
    }

    #[test]
    fn a_header_value_cannot_start_a_second_line() {
        let text = faults(
            "title = \"A\"\n[unlock.action-buzz]\nmethod = \"INFO\"\nheader = \"Action\"\nvalue = \"buzz\\r\\nVia: x\"\n",
        );
        assert!(text.contains("not a header value"), "{text}");
    }

    #[test]
    fn an_in_call_key_is_one_key() {
        let text = faults("title = \"A\"\n[in-call.keys]\n\"##\" = \"?\"\n");
        assert!(
            text.contains("not one key") && text.contains("acme.toml:3:1"),
            "{text}"
        );
    }
}
