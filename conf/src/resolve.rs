//! Written -> resolved: defaults, cross-checks, paths. Every fault is collected, so one run shows them all.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sip_proxy::Transport;
use sip_proxy::digest::Algorithm;
use toml::Spanned;

use crate::error::{Error, Errors, Source};
use crate::resolved::{
    Audit, Door, Limits, Listener, Media, MediaAddress, Resolved, Sip, Site, Unlock,
};
use crate::secret::Secret;
use crate::written::{self, Ports, Span, Written};
use crate::{Files, station};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn resolve(file: &Path, text: &str, files: &dyn Files) -> Result<Resolved, Errors> {
    let source = Source::new(file, text);
    let written: written::File = written::read(&source)?;
    let mut check = Check {
        source: &source,
        files,
        base: file.parent().unwrap_or(Path::new("")),
        errors: Vec::new(),
    };

    let site = check.site(&written.site);
    let listeners = check.listeners(&written.listen);
    let limits = check.limits(&written.limits);
    let (trusted, certified) = check.trusted(&written.trusted, &listeners);
    let resolved = Resolved {
        file: file.to_owned(),
        sip: check.sip(&written.sip),
        media: check.media(&written.media, &listeners, limits.calls),
        store: check.path(&written.store.path, "store.path", "doorward.db"),
        plan: check.path(&written.plan.file, "plan.file", "plan.kdl"),
        http: check.http(&written.http),
        http_token: check.http_token(&written.http),
        unlock: Unlock {
            per_minute: check.number("unlock.per-minute", &written.unlock.per_minute, 10, 1..=600),
            intent_life: check.span(
                "unlock.intent-life",
                &written.unlock.intent_life,
                10 * SECOND,
                SECOND,
                10 * SECOND,
            ),
        },
        audit: Audit {
            queue: check.count("audit.queue", &written.audit.queue, 1_024, 1..=100_000),
            batch: check.count("audit.batch", &written.audit.batch, 256, 1..=10_000),
            commit_within: check.span(
                "audit.commit-within",
                &written.audit.commit_within,
                500 * MILLI,
                50 * MILLI,
                Audit::LONGEST_COMMIT,
            ),
        },
        trace: check.trace(&written.trace),
        events: check.events(&written.events),
        qualify: check.qualify(&written.qualify),
        outbound: check.outbound(&written.tls),
        trusted,
        certified,
        trunks: check.trunks(&written.trunk),
        dns: check.dns(&written.dns),
        doors: written
            .door
            .iter()
            .map(|(name, door)| (name.clone(), check.door(name, door.get_ref())))
            .collect(),
        stations: check.stations(&written.stations),
        site,
        listeners,
        limits,
    };
    if check.errors.is_empty() {
        Ok(resolved)
    } else {
        Err(Errors(check.errors))
    }
}

pub(crate) struct Check<'a> {
    pub(crate) source: &'a Source,
    files: &'a dyn Files,
    pub(crate) base: &'a Path,
    errors: Vec<Error>,
}

impl Check<'_> {
    pub(crate) fn fault(
        &mut self,
        span: &Range<usize>,
        key: &str,
        message: impl Display,
        hint: impl Into<String>,
    ) {
        let error = self
            .source
            .error(span, key, format!("`{key}`: {message}"))
            .hint(hint);
        self.errors.push(error);
    }

    pub(crate) fn number(
        &mut self,
        key: &str,
        value: &Written<u32>,
        default: u32,
        range: std::ops::RangeInclusive<u32>,
    ) -> u32 {
        let Some(value) = value else { return default };
        let number = *value.get_ref();
        if !range.contains(&number) {
            let hint = format!("write a number from {} to {}", range.start(), range.end());
            self.fault(
                &value.span(),
                key,
                format_args!("{number} is out of range"),
                hint,
            );
        }
        number
    }

    pub(crate) fn count(
        &mut self,
        key: &str,
        value: &Written<u32>,
        default: u32,
        range: std::ops::RangeInclusive<u32>,
    ) -> usize {
        usize::try_from(self.number(key, value, default, range)).unwrap_or(usize::MAX)
    }

    pub(crate) fn span(
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
                format_args!("{span:?} is out of range"),
                format!("write {least:?} to {most:?}"),
            );
        }
        span
    }

    fn path(&mut self, value: &Written<String>, key: &str, default: &str) -> PathBuf {
        let Some(value) = value else {
            return self.base.join(default);
        };
        if value.get_ref().is_empty() {
            self.fault(
                &value.span(),
                key,
                "a path is missing",
                "relative paths start at this file's directory",
            );
        }
        self.base.join(value.get_ref())
    }

    fn site(&mut self, written: &written::Site) -> Site {
        let name = match &written.name {
            Some(name) => {
                if !is_name(name.get_ref()) {
                    self.fault(
                        &name.span(),
                        "site.name",
                        "not a name",
                        "use letters, digits, `-`, `_` and `.`",
                    );
                }
                name.get_ref().clone()
            }
            None => "home".to_owned(),
        };
        let mut domains = Vec::new();
        match &written.domains {
            Some(list) => {
                for domain in list.get_ref() {
                    let text = domain.get_ref().to_ascii_lowercase();
                    if !is_host(&text) {
                        self.fault(
                            &domain.span(),
                            "site.domains",
                            "not a host name",
                            "write a name such as \"sip.example.org\" or an address",
                        );
                    }
                    domains.push(text);
                }
                if domains.is_empty() {
                    self.fault(
                        &list.span(),
                        "site.domains",
                        "empty",
                        "name at least one domain",
                    );
                }
            }
            None => domains.push("doorward.local".to_owned()),
        }
        let realm = match &written.realm {
            Some(realm) => {
                let text = realm.get_ref();
                if text.is_empty()
                    || text.contains(['"', '\\', ':'])
                    || text.chars().any(char::is_control)
                {
                    self.fault(
                        &realm.span(),
                        "site.realm",
                        "not a realm",
                        "use plain text without quotes, backslash and colon",
                    );
                }
                text.clone()
            }
            None => domains.first().cloned().unwrap_or_default(),
        };
        Site {
            name,
            domains,
            realm,
        }
    }

    /// The algorithms of a challenge; SHA-256 before MD5 when nothing is written.
    fn digest(&mut self, written: Option<&Spanned<Vec<written::Digest>>>) -> Vec<Algorithm> {
        let Some(written) = written else {
            return vec![Algorithm::Sha256, Algorithm::Md5];
        };
        let algorithm = |digest: &written::Digest| match digest {
            written::Digest::Sha256 => Algorithm::Sha256,
            written::Digest::Md5 => Algorithm::Md5,
        };
        let algorithms: Vec<Algorithm> = written.get_ref().iter().map(algorithm).collect();
        let twice = algorithms.len() > 1 && algorithms.first() == algorithms.last();
        if algorithms.is_empty() || twice {
            self.fault(
                &written.span(),
                "sip.digest",
                "each algorithm at most once, and at least one",
                "write [\"sha-256\", \"md5\"], [\"md5\", \"sha-256\"], [\"sha-256\"] or [\"md5\"]",
            );
        }
        algorithms
    }

    /// Each a SIP URI with `lr`, for devices would take one without for a strict router (RFC 3608 §6.3).
    fn service_route(&mut self, written: &[Spanned<String>]) -> Vec<String> {
        for route in written {
            let fits = sip_proxy::Uri::parse(route.get_ref()).is_ok_and(|uri| uri.is_loose_route());
            if !fits {
                self.fault(
                    &route.span(),
                    "sip.service-route",
                    "not a SIP URI with `lr`",
                    "write \"sip:192.0.2.1:5060;lr\"",
                );
            }
        }
        let name_addr = |route: &Spanned<String>| format!("<{}>", route.get_ref());
        written.iter().map(name_addr).collect()
    }

    fn push_services(&mut self, written: &[Spanned<String>]) -> Vec<String> {
        for service in written {
            let name = service.get_ref();
            let fits = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
            if !fits {
                self.fault(
                    &service.span(),
                    "sip.push-services",
                    "not the name of a push notification service",
                    "write a name registered for `pn-provider`: \"apns\", \"fcm\", \"webpush\"",
                );
            }
        }
        written
            .iter()
            .map(|service| service.get_ref().clone())
            .collect()
    }

    fn sip(&mut self, written: &written::Sip) -> Sip {
        let sip = Sip {
            t1: self.span("sip.t1", &written.t1, 500 * MILLI, 50 * MILLI, 4 * SECOND),
            t2: self.span("sip.t2", &written.t2, 4 * SECOND, 100 * MILLI, 32 * SECOND),
            t4: self.span("sip.t4", &written.t4, 5 * SECOND, 100 * MILLI, 60 * SECOND),
            register_min: self.span(
                "sip.register-min",
                &written.register_min,
                MINUTE,
                SECOND,
                24 * HOUR,
            ),
            register_default: self.span(
                "sip.register-default",
                &written.register_default,
                HOUR,
                SECOND,
                24 * HOUR,
            ),
            register_max: self.span(
                "sip.register-max",
                &written.register_max,
                2 * HOUR,
                SECOND,
                24 * HOUR,
            ),
            contacts_max: self.count("sip.contacts-max", &written.contacts_max, 8, 1..=64),
            nonce_life: self.span(
                "sip.nonce-life",
                &written.nonce_life,
                5 * MINUTE,
                10 * SECOND,
                24 * HOUR,
            ),
            session_expires: self.span(
                "sip.session-expires",
                &written.session_expires,
                30 * MINUTE,
                Duration::ZERO,
                24 * HOUR,
            ),
            // RFC 4028 section 4 knows no shorter one.
            min_se: self.span(
                "sip.min-se",
                &written.min_se,
                90 * SECOND,
                90 * SECOND,
                24 * HOUR,
            ),
            digest: self.digest(written.digest.as_ref()),
            path_strict: written.path_strict,
            service_route: self.service_route(&written.service_route),
            flow_timer: written.flow_timer.as_ref().map(|_| {
                self.span(
                    "sip.flow-timer",
                    &written.flow_timer,
                    2 * MINUTE,
                    10 * SECOND,
                    HOUR,
                )
            }),
            push_services: self.push_services(&written.push_services),
        };
        let place = |value: &Written<Span>| value.as_ref().map_or(0..0, Spanned::span);
        if sip.t2 < sip.t1 {
            self.fault(
                &place(&written.t2),
                "sip.t2",
                "shorter than t1",
                "T2 caps what starts at T1 and doubles",
            );
        }
        if !sip.session_expires.is_zero() && sip.session_expires < sip.min_se {
            self.fault(
                &place(&written.session_expires),
                "sip.session-expires",
                "shorter than min-se",
                "0s offers no session timer, else min-se <= session-expires",
            );
        }
        if sip.register_min > sip.register_default || sip.register_default > sip.register_max {
            let span = [
                &written.register_default,
                &written.register_min,
                &written.register_max,
            ]
            .into_iter()
            .flatten()
            .map(Spanned::span)
            .next()
            .unwrap_or(0..0);
            self.fault(
                &span,
                "sip.register-default",
                "the three times do not fit",
                "register-min <= register-default <= register-max",
            );
        }
        sip
    }

    fn media(&mut self, written: &written::Media, listeners: &[Listener], calls: usize) -> Media {
        let mut addresses: Vec<MediaAddress> = Vec::new();
        for (n, address) in written.address.iter().enumerate() {
            let address = address.get_ref();
            let bind = *address.ip.get_ref();
            let key = format!("media.address[{n}].ip");
            if addresses
                .iter()
                .any(|other| other.bind.is_ipv4() == bind.is_ipv4())
            {
                self.fault(
                    &address.ip.span(),
                    &key,
                    "a second address of one family",
                    "one IPv4 and one IPv6 address at most",
                );
            }
            let advertise = address.advertise.as_ref().map(|advertise| {
                let ip = *advertise.get_ref();
                if ip.is_unspecified() || ip.is_multicast() || ip.is_ipv4() != bind.is_ipv4() {
                    let hint = "write an address phones can reach, of the same family as `ip`";
                    self.fault(
                        &advertise.span(),
                        &format!("media.address[{n}].advertise"),
                        "nobody can send there",
                        hint,
                    );
                }
                ip
            });
            addresses.push(MediaAddress { bind, advertise });
        }
        if written.address.is_empty() {
            // As the signalling does: one family each that a listener has.
            for listener in listeners {
                if addresses
                    .iter()
                    .all(|other| other.bind.is_ipv4() != listener.bind.is_ipv4())
                {
                    addresses.push(MediaAddress {
                        bind: listener.bind.ip(),
                        advertise: listener.advertise.map(|a| a.ip()),
                    });
                }
            }
        }
        let ports = written.ports.as_ref().map_or(
            Ports {
                first: 30_000,
                last: 33_999,
            },
            |ports| *ports.get_ref(),
        );
        let span = written.ports.as_ref().map_or(0..0, Spanned::span);
        self.ports(ports, &span, listeners, calls);
        Media {
            addresses,
            port_first: ports.first,
            port_last: ports.last,
            workers: u16::try_from(
                self.number(
                    "media.workers",
                    &written
                        .workers
                        .as_ref()
                        .map(|w| Spanned::new(w.span(), u32::from(*w.get_ref()))),
                    0,
                    0..=64,
                ),
            )
            .unwrap_or(0),
            silence: self.span("media.silence", &written.silence, 30 * SECOND, SECOND, HOUR),
        }
    }

    fn ports(&mut self, ports: Ports, span: &Range<usize>, listeners: &[Listener], calls: usize) {
        let key = "media.ports";
        if ports.first < 1_024
            || !ports.first.is_multiple_of(2)
            || ports.last.is_multiple_of(2)
            || ports.last < ports.first
        {
            self.fault(
                span,
                key,
                "not a usable range",
                "an even first port from 1024, an odd last one above it: \"30000-33999\"",
            );
            return;
        }
        // RTP and RTCP of each of a call's two legs.
        let legs = usize::from(ports.last - ports.first).div_ceil(2);
        if legs < calls.saturating_mul(2) {
            self.fault(
                span,
                key,
                format_args!(
                    "room for {legs} legs, but limits.calls = {calls} needs {}",
                    calls * 2
                ),
                "widen the range or lower limits.calls",
            );
        }
        let taken = |l: &&Listener| {
            l.transport == Transport::Udp && (ports.first..=ports.last).contains(&l.bind.port())
        };
        if let Some(listener) = listeners.iter().find(taken) {
            self.fault(
                span,
                key,
                format_args!("holds the SIP port {}", listener.bind.port()),
                "move the range",
            );
        }
    }

    fn http(&mut self, written: &written::Http) -> Option<SocketAddr> {
        let listen = written
            .listen
            .as_ref()
            .map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 9060)), |l| {
                *l.get_ref()
            });
        written.enabled.unwrap_or(true).then_some(listen)
    }

    fn http_token(&mut self, written: &written::Http) -> Option<Secret> {
        let file = written.token_file.as_ref()?;
        let read = self.files.read(&self.base.join(file.get_ref()));
        let token = read.map(|text| text.trim().to_owned());
        match token {
            Ok(token) if token.len() >= 16 => Some(Secret::new(token)),
            Ok(_) => {
                self.fault(
                    &file.span(),
                    "http.token-file",
                    "the token is too short",
                    "16 characters or more: `openssl rand -hex 16`",
                );
                None
            }
            Err(why) => {
                self.fault(
                    &file.span(),
                    "http.token-file",
                    why,
                    "the file holds the token alone, mode 0600",
                );
                None
            }
        }
    }

    fn limits(&mut self, written: &written::Limits) -> Limits {
        Limits {
            calls: self.count("limits.calls", &written.calls, 500, 1..=16_000),
            calls_per_account: self.count(
                "limits.calls-per-account",
                &written.calls_per_account,
                4,
                1..=16_000,
            ),
            call_duration: self.span(
                "limits.call-duration",
                &written.call_duration,
                HOUR,
                10 * SECOND,
                24 * HOUR,
            ),
            hold_duration: self.span(
                "limits.hold-duration",
                &written.hold_duration,
                HOUR / 2,
                10 * SECOND,
                24 * HOUR,
            ),
            call_probe: self.span(
                "limits.call-probe",
                &written.call_probe,
                90 * SECOND,
                Duration::ZERO,
                HOUR,
            ),
            registrations: self.count(
                "limits.registrations",
                &written.registrations,
                50_000,
                1..=1_000_000,
            ),
            requests_per_source: self.number(
                "limits.requests-per-source",
                &written.requests_per_source,
                50,
                1..=100_000,
            ),
            connections: self.count(
                "limits.connections",
                &written.connections,
                4_096,
                1..=100_000,
            ),
            connections_per_source: self.count(
                "limits.connections-per-source",
                &written.connections_per_source,
                64,
                1..=100_000,
            ),
            connection_handshake: self.span(
                "limits.connection-handshake",
                &written.connection_handshake,
                10 * SECOND,
                SECOND,
                MINUTE,
            ),
            connection_first_message: self.span(
                "limits.connection-first-message",
                &written.connection_first_message,
                20 * SECOND,
                SECOND,
                HOUR,
            ),
            connection_idle: self.span(
                "limits.connection-idle",
                &written.connection_idle,
                15 * MINUTE,
                10 * SECOND,
                24 * HOUR,
            ),
            message_bytes: self.count(
                "limits.message-bytes",
                &written.message_bytes,
                65_536,
                2_048..=65_536,
            ),
            queue_delay: self.span(
                "limits.queue-delay",
                &written.queue_delay,
                20 * MILLI,
                MILLI,
                SECOND,
            ),
        }
    }

    /// By address, and by a name in a client certificate.
    fn trusted(
        &mut self,
        written: &[Spanned<written::Trusted>],
        listeners: &[Listener],
    ) -> (BTreeMap<IpAddr, String>, BTreeMap<String, String>) {
        let (mut trusted, mut certified) = (BTreeMap::new(), BTreeMap::new());
        for (n, spanned) in written.iter().enumerate() {
            let peer = spanned.get_ref();
            let account = peer.account.get_ref();
            if !is_name(account) {
                self.fault(
                    &peer.account.span(),
                    &format!("trusted[{n}].account"),
                    "not an account name",
                    "see `doorward account list`",
                );
            }
            let twice = match (&peer.address, &peer.certificate) {
                (Some(address), None) => {
                    let key = format!("trusted[{n}].address");
                    let ip = *address.get_ref();
                    if ip.is_unspecified() || ip.is_multicast() {
                        self.fault(
                            &address.span(),
                            &key,
                            "not one station's address",
                            "name the station itself",
                        );
                    }
                    let before = trusted.insert(ip, account.clone());
                    before.map(|_| (address.span(), key, "one address"))
                }
                (None, Some(name)) => {
                    let key = format!("trusted[{n}].certificate");
                    if name.get_ref().is_empty() || name.get_ref().contains('*') {
                        self.fault(
                            &name.span(),
                            &key,
                            "not one station's name",
                            "write the DNS name or URI in its certificate (subjectAltName)",
                        );
                    }
                    let asks = |listener: &Listener| {
                        listener
                            .tls
                            .as_ref()
                            .is_some_and(|tls| tls.client_ca.is_some())
                    };
                    if !listeners.iter().any(asks) {
                        self.fault(
                            &name.span(),
                            &key,
                            "no listener asks for certificates",
                            "add client-ca = \"ca.pem\" to the [[listen]] it connects to",
                        );
                    }
                    let before =
                        certified.insert(name.get_ref().to_ascii_lowercase(), account.clone());
                    before.map(|_| (name.span(), key, "one certificate"))
                }
                _ => {
                    self.fault(
                        &spanned.span(),
                        &format!("trusted[{n}]"),
                        "how is it known?",
                        "write either address = \"192.0.2.20\" or certificate = \"lobby.example.org\"",
                    );
                    None
                }
            };
            if let Some((span, key, what)) = twice {
                let hint = format!("{what} speaks for one account");
                self.fault(&span, &key, "named twice", hint);
            }
        }
        (trusted, certified)
    }

    /// A password written here or in a file of its own.
    pub(crate) fn password(
        &mut self,
        file_key: &str,
        password: &Written<Secret>,
        file: &Written<String>,
    ) -> Option<Secret> {
        match (password, file) {
            (Some(_), Some(file)) => {
                self.fault(
                    &file.span(),
                    file_key,
                    "the password is given twice",
                    "keep one of the two",
                );
                None
            }
            (Some(password), None) => Some(password.get_ref().clone()),
            (None, Some(file)) => match self.files.read(&self.base.join(file.get_ref())) {
                Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']))),
                Err(why) => {
                    self.fault(
                        &file.span(),
                        file_key,
                        why,
                        "the file holds the password alone, mode 0600",
                    );
                    None
                }
            },
            (None, None) => None,
        }
    }

    fn door(&mut self, name: &str, written: &written::Door) -> Door {
        let key = |field: &str| format!("door.{name}.{field}");
        if let Some(url) = &written.url
            && !is_base_url(url.get_ref())
        {
            let hint =
                "write \"https://192.0.2.20\" or \"http://door.lan:8080\": no user, path or query";
            self.fault(&url.span(), &key("url"), "not a station's base URL", hint);
        }
        let password = self.password(
            &key("password-file"),
            &written.password,
            &written.password_file,
        );
        if let (Some(user), None, None) = (&written.user, &written.password, &written.password_file)
        {
            self.fault(
                &user.span(),
                &key("user"),
                "a user without password",
                "add password-file",
            );
        }
        let tls_pin = written.tls_pin.as_ref().and_then(|pin| {
            let hash = hex32(pin.get_ref());
            if hash.is_none() {
                self.fault(
                    &pin.span(),
                    &key("tls-pin"),
                    "not a SHA-256",
                    "64 hexadecimal digits of the certificate's fingerprint",
                );
            }
            if written
                .url
                .as_ref()
                .is_some_and(|url| url.get_ref().starts_with("http://"))
            {
                self.fault(
                    &pin.span(),
                    &key("tls-pin"),
                    "a pin without TLS",
                    "write https:// in `url`",
                );
            }
            hash
        });
        if let Some(picture) = &written.picture
            && !is_picture(picture.get_ref())
        {
            let hint = "write \"https://192.0.2.20/still.jpg\": no space, quotes or angle brackets";
            self.fault(
                &picture.span(),
                &key("picture"),
                "not a picture's URL",
                hint,
            );
        }
        let text = |value: &Written<String>| value.as_ref().map(|v| v.get_ref().clone());
        Door {
            url: text(&written.url),
            user: text(&written.user),
            password,
            tls_pin,
            picture: text(&written.picture),
        }
    }

    fn stations(&mut self, written: &written::Stations) -> BTreeMap<String, station::Profile> {
        let mut profiles = station::built_in();
        let Some(dir) = &written.dir else {
            return profiles;
        };
        let paths = match self.files.list(&self.base.join(dir.get_ref())) {
            Ok(paths) => paths,
            Err(why) => {
                self.fault(
                    &dir.span(),
                    "stations.dir",
                    why,
                    "leave the key out to use the built-in profiles alone",
                );
                return profiles;
            }
        };
        for path in paths {
            let profile = self
                .files
                .read(&path)
                .map_err(|why| Error::of_file(&path, why));
            match profile
                .map_err(Errors::from)
                .and_then(|text| station::read(&path, &text))
            {
                Ok(profile) => {
                    profiles.insert(profile.name.clone(), profile);
                }
                Err(errors) => self.errors.extend(errors.0),
            }
        }
        profiles
    }
}

/// A name as the plan and the store write it.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || "-_.".contains(c))
}

fn is_host(text: &str) -> bool {
    let name = |t: &str| {
        t.chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
    };
    !text.is_empty() && text.len() <= 253 && (name(text) || text.parse::<IpAddr>().is_ok())
}

/// An HTTP URL that can stand between angle brackets in a header.
fn is_picture(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | '\\');
        !rest.is_empty() && rest.chars().all(plain)
    })
}

fn is_base_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let Some(host) = rest.map(|r| r.strip_suffix('/').unwrap_or(r)) else {
        return false;
    };
    if host.parse::<SocketAddr>().is_ok() {
        return true;
    }
    if let Some(v6) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return v6.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let (name, port) = host
        .split_once(':')
        .map_or((host, "80"), |(name, port)| (name, port));
    is_host(name) && port.parse::<u16>().is_ok()
}

fn hex32(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    (digits.len() == 64)
        .then(|| bytes.try_into().ok())
        .flatten()
}
