//! What of a message may be shown: no credential, no digit, no key, no display name, no telephone number.
//!
//! Denied by default: a body is shown only when its kind is known here, and octets that are no SIP not at all.

use crate::story::masked;

/// Stands for what is not shown.
const HIDDEN: &str = "***";
/// Stands for a display name.
const NAME: &str = "\"…\"";
/// A user part with so many digits is somebody's number.
const NUMBER_DIGITS: usize = 7;
/// What is left of it.
const NUMBER_SHOWN: usize = 4;

/// Headers (and compact forms) shown as they are: they hold what the protocol needs and nothing of people.
const PLAIN: [&str; 62] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "action",
    "allow",
    "allow-events",
    "call-id",
    "content-disposition",
    "content-encoding",
    "content-type",
    "cseq",
    "date",
    "event",
    "expires",
    "flow-timer",
    "i",
    "join",
    "k",
    "max-breadth",
    "max-forwards",
    "mime-version",
    "min-expires",
    "min-se",
    "o",
    "priority",
    "privacy",
    "proxy-authenticate",
    "proxy-require",
    "rack",
    "reason",
    "refer-sub",
    "replaces",
    "require",
    "retry-after",
    "rseq",
    "security-client",
    "security-server",
    "security-verify",
    "server",
    "session-expires",
    "sip-etag",
    "sip-if-match",
    "subscription-state",
    "supported",
    "target-dialog",
    "timestamp",
    "u",
    "unsupported",
    "user-agent",
    "v",
    "via",
    "warning",
    "www-authenticate",
    "x",
    "c",
    "alert-info",
    "call-info",
    "answer-mode",
    "priv-answer-mode",
    "suppress-if-match",
    "request-disposition",
    "d",
];

/// Headers of addresses.
const ADDRESSES: [&str; 24] = [
    "b",
    "contact",
    "diversion",
    "f",
    "from",
    "history-info",
    "m",
    "p-asserted-identity",
    "p-associated-uri",
    "p-called-party-id",
    "p-preferred-identity",
    "path",
    "r",
    "record-route",
    "refer-to",
    "referred-by",
    "remote-party-id",
    "reply-to",
    "route",
    "service-route",
    "t",
    "to",
    "p-profile-key",
    "permission-missing",
];

/// In the name of a header of nobody's standard: its value is a secret.
const SECRET_WORDS: [&str; 9] = [
    "auth", "token", "pass", "pin", "secret", "key", "cookie", "code", "identity",
];

/// Parameters whose value lets anybody wake a phone (RFC 8599).
const SECRET_PARAMETERS: [&str; 3] = ["pn-prid", "pn-param", "pn-purr"];

/// The message as text.
#[must_use]
pub fn redacted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = parted(&text);
    let mut lines = unfolded(head).into_iter();
    let Some(start) = lines.next().as_deref().and_then(start_line) else {
        return format!("({} octets that are no SIP)", bytes.len());
    };
    let lines: Vec<String> = lines.collect();
    let value = |long: &str, short: &str| {
        lines.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let name = name.trim();
            (name.eq_ignore_ascii_case(long) || name.eq_ignore_ascii_case(short))
                .then(|| value.trim())
        })
    };
    let kind = value("content-type", "c").unwrap_or_default();
    let body = body_shown(kind, body);
    let mut out = String::with_capacity(bytes.len() + 32);
    push(&mut out, &start);
    for line in &lines {
        push(&mut out, &header_shown(line, body.len()));
    }
    out.push_str("\r\n");
    out.push_str(&body);
    out
}

/// Head and body, where the first empty line stands: lines may end in a bare LF, and the body may hold an empty one.
fn parted(text: &str) -> (&str, &str) {
    ["\r\n\r\n", "\n\n", "\n\r\n"]
        .iter()
        .filter_map(|end| text.find(end).map(|at| (at, at + end.len())))
        .min()
        .and_then(|(at, body)| Some((text.get(..at)?, text.get(body..)?)))
        .unwrap_or((text, ""))
}

fn push(out: &mut String, line: &str) {
    out.extend(line.chars().map(printable));
    out.push_str("\r\n");
}

fn printable(c: char) -> char {
    if c.is_control() { '·' } else { c }
}

/// Header lines with their continuations (RFC 3261 §7.3.1) joined.
fn unfolded(head: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in head.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        match lines.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

fn start_line(line: &str) -> Option<String> {
    if line.starts_with("SIP/2.0 ") {
        return Some(masked(line.to_owned()));
    }
    let line = line.strip_suffix(" SIP/2.0")?;
    let (method, uri) = line.split_once(' ')?;
    Some(format!("{method} {} SIP/2.0", uri_shown(uri.trim())))
}

fn header_shown(line: &str, body: usize) -> String {
    let Some((name, value)) = line.split_once(':') else {
        return HIDDEN.to_owned();
    };
    let (name, value) = (name.trim(), value.trim());
    let lower = name.to_ascii_lowercase();
    let shown = match lower.as_str() {
        "content-length" | "l" => body.to_string(),
        "authorization" | "proxy-authorization" | "authentication-info" => credentials(value),
        word if PLAIN.contains(&word) => value.to_owned(),
        word if ADDRESSES.contains(&word) => addresses(value),
        "feature-caps" => features(value),
        "subject" | "s" | "organization" => NAME.to_owned(),
        word if SECRET_WORDS.iter().any(|secret| word.contains(secret)) => HIDDEN.to_owned(),
        _ => masked(value.to_owned()),
    };
    format!("{name}: {shown}")
}

/// Who logs in where stays, what proves it goes.
fn credentials(value: &str) -> String {
    const SHOWN: [&str; 8] = [
        "username",
        "realm",
        "uri",
        "algorithm",
        "qop",
        "nc",
        "nonce",
        "opaque",
    ];
    let (scheme, params) = match value.split_once(' ') {
        Some((scheme, params)) if scheme.eq_ignore_ascii_case("digest") => (scheme, params),
        Some((scheme, _)) if !scheme.contains('=') => return format!("{scheme} {HIDDEN}"),
        _ => return HIDDEN.to_owned(),
    };
    let params: Vec<String> = split(params, ',')
        .into_iter()
        .map(|param| {
            let name = param.split('=').next().unwrap_or_default().trim();
            let lower = name.to_ascii_lowercase();
            match lower.as_str() {
                "username" => masked(param.trim().to_owned()),
                "uri" => {
                    let uri = param
                        .split_once('=')
                        .map_or("", |(_, uri)| uri.trim().trim_matches('"'));
                    format!("{name}=\"{}\"", uri_shown(uri))
                }
                word if SHOWN.contains(&word) => param.trim().to_owned(),
                _ => format!("{name}=\"{HIDDEN}\""),
            }
        })
        .collect();
    format!("{scheme} {}", params.join(", "))
}

/// Splits where `at` stands outside quotes and angle brackets.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut parts, mut begin) = (Vec::new(), 0);
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            _ if c == at && !quoted && !angle => {
                parts.push(text.get(begin..index).unwrap_or_default());
                begin = index + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(begin..).unwrap_or_default());
    parts
}

/// Feature-Caps (RFC 6809): the PURR (RFC 8599) that a phone is reached by is hidden.
fn features(value: &str) -> String {
    let shown: Vec<String> = split(value, ';')
        .into_iter()
        .map(|feature| match feature.split_once('=') {
            Some((name, _)) if name.trim().eq_ignore_ascii_case("+sip.pnspurr") => {
                format!("{}=\"{HIDDEN}\"", name.trim())
            }
            _ => feature.trim().to_owned(),
        })
        .collect();
    shown.join(";")
}

/// A list of name-addr or addr-spec with parameters.
fn addresses(value: &str) -> String {
    let shown: Vec<String> = split(value, ',').into_iter().map(address).collect();
    shown.join(", ")
}

fn address(value: &str) -> String {
    let value = value.trim();
    let mut parts = split(value, ';').into_iter();
    let first = parts.next().unwrap_or_default().trim();
    let mut out = match first.find('<').filter(|_| first.ends_with('>')) {
        // A quoted name may hold a bracket: the address is in the last pair.
        Some(_) => {
            let open = first.rfind('<').unwrap_or(0);
            let name = first.get(..open).unwrap_or_default().trim();
            let uri = first.get(open + 1..first.len() - 1).unwrap_or_default();
            let name = if name.is_empty() {
                String::new()
            } else {
                format!("{NAME} ")
            };
            format!("{name}<{}>", uri_shown(uri))
        }
        None => uri_shown(first),
    };
    for parameter in parts {
        out.push(';');
        out.push_str(&parameter_shown(parameter.trim()));
    }
    out
}

/// A parameter; where a phone is woken by push (RFC 8599) is as good as a password.
fn parameter_shown(parameter: &str) -> String {
    let name = parameter.split('=').next().unwrap_or_default().trim();
    let secret = SECRET_PARAMETERS
        .iter()
        .any(|secret| name.eq_ignore_ascii_case(secret));
    if secret {
        format!("{name}={HIDDEN}")
    } else {
        parameter.to_owned()
    }
}

/// Host and parameters of a URI.
fn host_shown(host: &str) -> String {
    let shown: Vec<String> = host.split(';').map(parameter_shown).collect();
    shown.join(";")
}

/// A URI with its number cut short and its password hidden.
fn uri_shown(uri: &str) -> String {
    if uri == "*" {
        return uri.to_owned();
    }
    let Some((scheme, rest)) = uri.split_once(':') else {
        return masked(uri.to_owned());
    };
    match scheme.to_ascii_lowercase().as_str() {
        "sip" | "sips" => {
            let (user, host) = match rest.rsplit_once('@') {
                Some((user, host)) => {
                    let user = match user.split_once(':') {
                        Some((user, _)) => format!("{}:{HIDDEN}", number(user)),
                        None => number(user),
                    };
                    (format!("{user}@"), host)
                }
                None => (String::new(), rest),
            };
            match host.split_once('?') {
                Some((host, headers)) => {
                    let headers = masked(headers.to_owned());
                    format!("{scheme}:{user}{}?{headers}", host_shown(host))
                }
                None => format!("{scheme}:{user}{}", host_shown(host)),
            }
        }
        "urn" => uri.to_owned(),
        _ => format!("{scheme}:{}", number(rest)),
    }
}

/// A user part, cut short when it is a telephone number however it is written.
fn number(user: &str) -> String {
    let mut plain = user.to_owned();
    if plain.contains("%3") {
        for digit in '0'..='9' {
            plain = plain.replace(&format!("%3{digit}"), &digit.to_string());
        }
    }
    let (main, _) = plain.split_once(';').unwrap_or((&plain, ""));
    let digits = main.chars().filter(char::is_ascii_digit).count();
    let visual = |c: char| c.is_ascii_digit() || "+-.()*#%".contains(c);
    if digits >= NUMBER_DIGITS && main.chars().all(visual) {
        let plus = if main.starts_with('+') { "+" } else { "" };
        let shown: String = main
            .chars()
            .filter(char::is_ascii_digit)
            .take(NUMBER_SHOWN)
            .collect();
        return format!("{plus}{shown}…");
    }
    masked(plain)
}

fn body_shown(kind: &str, body: &str) -> String {
    if body.is_empty() {
        return String::new();
    }
    let lower = kind.to_ascii_lowercase();
    let main = lower.split(';').next().unwrap_or_default().trim();
    let lines = body.lines();
    let shown: Vec<String> = match main {
        "application/sdp" => lines.map(sdp_line).collect(),
        "application/dtmf-relay" => lines.map(relay_line).collect(),
        "application/dtmf" => vec![HIDDEN.to_owned()],
        "message/sipfrag" => lines.take(1).filter_map(start_line_of_fragment).collect(),
        "application/simple-message-summary" => lines
            .filter(|line| !line.to_ascii_lowercase().starts_with("message-account"))
            .map(|line| masked(line.to_owned()))
            .collect(),
        _ => vec![format!(
            "({} octets of {} not shown)",
            body.len(),
            masked(kind.chars().take(60).collect())
        )],
    };
    let mut out = String::with_capacity(body.len());
    shown.iter().for_each(|line| push(&mut out, line));
    out
}

fn start_line_of_fragment(line: &str) -> Option<String> {
    line.starts_with("SIP/2.0 ")
        .then(|| masked(line.to_owned()))
}

fn relay_line(line: &str) -> String {
    match line.split_once('=') {
        Some((name, _)) if name.trim().eq_ignore_ascii_case("duration") => line.to_owned(),
        Some((name, _)) => format!("{}={HIDDEN}", masked(name.to_owned())),
        None => HIDDEN.to_owned(),
    }
}

/// A line of SDP without keys (RFC 4568, 8839, 4567) and without whose session it is.
fn sdp_line(line: &str) -> String {
    let Some((kind, value)) = line.split_once('=') else {
        return HIDDEN.to_owned();
    };
    match kind {
        "k" | "e" | "p" | "i" | "u" => format!("{kind}={HIDDEN}"),
        "s" if value.trim() != "-" => format!("s={NAME}"),
        "o" => {
            let (user, rest) = value.split_once(' ').unwrap_or((value, ""));
            let user = if user == "-" { "-" } else { "…" };
            format!("o={user} {rest}")
        }
        "a" => {
            let attribute = value.split(':').next().unwrap_or_default();
            match attribute.to_ascii_lowercase().as_str() {
                "crypto" => {
                    let shown: Vec<&str> = value.split(' ').take(2).collect();
                    format!("a={} inline:{HIDDEN}", shown.join(" "))
                }
                "ice-pwd" | "key-mgmt" | "identity" => format!("a={attribute}:{HIDDEN}"),
                _ => line.to_owned(),
            }
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:+420777123456@elm.example;user=phone SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK4242424242\r\n\
        From: \"Anna, <Novak>\" <sip:lobby:geheim@elm.example>;tag=12345678\r\n\
        t: Petr Novak\r\n <tel:+420-777-123-456>\r\n\
        Contact: <sip:lobby@192.0.2.7:5060>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"\r\n\
        P-Asserted-Identity: <sip:%3777123456@x>, \"Vera\" <tel:777123456>\r\n\
        Call-ID: 1234567890@x\r\nCSeq: 7 INVITE\r\nSubject: for Anna\r\n\
        Authorization: Digest username=\"lobby\", realm=\"elm\", nonce=\"n1\", uri=\"sip:777123456@elm\", \
        response=\"0123456789abcdef\", cnonce=\"c1\", nc=00000001, qop=auth\r\n\
        X-Api-Token: hunter2\r\nX-Line: 777123456\r\n\
        Content-Type: application/sdp\r\nContent-Length: 999\r\n\r\n\
        v=0\r\no=anna 1 1 IN IP4 192.0.2.7\r\ns=Anna\r\nc=IN IP4 192.0.2.7\r\nk=clear:geheim\r\n\
        m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0a2V5\r\n\
        a=ice-ufrag:abcd\r\na=ice-pwd:geheimgeheimgeheimgeheim\r\na=rtpmap:0 PCMU/8000\r\n";

    #[test]
    fn nothing_secret_is_left_and_what_an_engineer_needs_is() {
        let text = redacted(INVITE.as_bytes());
        for secret in [
            "geheim",
            "777123",
            "777-123",
            "Anna",
            "Novak",
            "Petr",
            "Vera",
            "0123456789abcdef",
            "\"c1\"",
            "hunter2",
            "c2VjcmV0",
        ] {
            assert!(!text.contains(secret), "{secret} in\n{text}");
        }
        for kept in [
            "INVITE sip:+4207…@elm.example;user=phone SIP/2.0\r\n",
            "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK4242424242\r\n",
            "From: \"…\" <sip:lobby:***@elm.example>;tag=12345678\r\n",
            "t: \"…\" <tel:+4207…>\r\n",
            "Contact: <sip:lobby@192.0.2.7:5060>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"\r\n",
            "Call-ID: 1234567890@x\r\n",
            "username=\"lobby\", realm=\"elm\"",
            "response=\"***\"",
            "X-Api-Token: ***\r\nX-Line: 7771…\r\n",
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:***\r\na=ice-ufrag:abcd\r\na=ice-pwd:***\r\na=rtpmap:0 PCMU/8000",
        ] {
            assert!(text.contains(kept), "{kept} not in\n{text}");
        }
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.ends_with(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
    }

    #[test]
    fn where_a_phone_is_woken_is_hidden_in_uris_and_in_headers() {
        let push = "pn-provider=apns;PN-PRID=hush1;pn-param=hush2;pn-purr=hush3";
        let text = redacted(
            format!(
                "REGISTER sip:elm.example;{push} SIP/2.0\r\nContact: <sip:anna@192.0.2.7;{push};ob>;{push};expires=60,\
                 sip:192.0.2.7;{push}\r\nFeature-Caps: *;+sip.pns=\"apns\";+sip.pnspurr=\"hush4\"\r\n\
                 Route: <sip:192.0.2.1;{push}?a=b>\r\nContent-Length: 0\r\n\r\n"
            )
            .as_bytes(),
        );
        assert!(!text.contains("hush"), "{text}");
        assert!(text.contains("pn-provider=apns;PN-PRID=***;pn-param=***;pn-purr=***;ob>"));
        assert!(text.contains(";expires=60"), "{text}");
    }

    #[test]
    fn a_body_begins_at_the_first_empty_line_however_lines_end() {
        for end in ["\n\n", "\n\r\n", "\r\n\r\n"] {
            let message = format!(
                "INVITE sip:a@x SIP/2.0\nContent-Type: application/sdp{end}v=0\r\na=ice-pwd:geheim\r\n\r\n\
                 a=crypto:1 AES inline:geheim\n\na=ice-pwd:geheim\n"
            );
            let text = redacted(message.as_bytes());
            assert!(!text.contains("geheim") && text.contains("v=0"), "{text}");
        }
    }

    #[test]
    fn digits_in_info_are_not_shown() {
        for (kind, body) in [
            ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"),
            ("application/dtmf", "5"),
            ("text/plain", "code 5"),
            ("multipart/mixed;boundary=x", "--x\r\nSignal=5\r\n--x--"),
            ("", "5"),
        ] {
            let message = format!(
                "INFO sip:a@x SIP/2.0\r\nContent-Type: {kind}\r\nContent-Length: 9\r\n\r\n{body}"
            );
            let text = redacted(message.as_bytes());
            let (_, shown) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                !shown.replace("(5 oct", "").contains('5'),
                "{kind}: {shown}"
            );
        }
    }

    #[test]
    fn other_credentials_and_bodies_are_hidden_whole() {
        let text = redacted(
            b"MESSAGE sip:a@x SIP/2.0\r\nAuthorization: Basic QWxhZGRpbg==\r\nProxy-Authorization: junk\r\n\
            Identity: eyJhbGciOi\r\nrubbish\r\nContent-Type: text/plain\r\n\r\nmeet me at noon",
        );
        assert_eq!(
            text,
            "MESSAGE sip:a@x SIP/2.0\r\nAuthorization: Basic ***\r\nProxy-Authorization: ***\r\nIdentity: ***\r\n***\r\n\
             Content-Type: text/plain\r\n\r\n(15 octets of text/plain not shown)\r\n"
        );
    }

    #[test]
    fn what_is_no_sip_is_not_shown() {
        for bytes in [
            &b""[..],
            b"\x16\x03\x01 password",
            b"GET /?pin=1 HTTP/1.1\r\n\r\n",
            b"\r\n\r\n",
        ] {
            assert_eq!(
                redacted(bytes),
                format!("({} octets that are no SIP)", bytes.len())
            );
        }
        let bell = redacted(b"SIP/2.0 200 \x1b[31mOK\r\nServer: a\x07b\r\n\r\n");
        assert_eq!(bell, "SIP/2.0 200 ·[31mOK\r\nServer: a·b\r\n\r\n");
    }
}
