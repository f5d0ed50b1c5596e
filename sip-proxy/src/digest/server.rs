//! The server's side: stateless challenges, checked answers (RFC 7616 §3.3 to §3.5, RFC 8760).

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::digest::fields::{Fields, quote, unescape};
use crate::digest::{Algorithm, Ha1, response, to_hex};
use crate::message::{HeaderName, Message};

/// How nonces live.
#[derive(Debug, Clone)]
pub struct AuthenticatorConfig {
    /// How long a nonce may be used; after it `stale=true`.
    pub nonce_lifetime: Duration,
    /// Nonces whose counts are remembered; the oldest makes room, and its later use is answered `stale=true`.
    pub max_nonces: usize,
    /// What a challenge offers, the preferred first (RFC 8760 §2.1). Devices that know MD5 only are to skip what they
    /// do not know, but some give up at it: where those must log in, MD5 stands first or alone.
    pub algorithms: Vec<Algorithm>,
}

impl Default for AuthenticatorConfig {
    fn default() -> Self {
        Self {
            nonce_lifetime: Duration::from_secs(300),
            max_nonces: 16_384,
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
        }
    }
}

/// What a request's credentials prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthVerdict {
    /// No credentials for our realm: challenge.
    Missing,
    /// Right credentials over a nonce no longer good: challenge with `stale=true`.
    Stale,
    /// Wrong, malformed, or an unknown user: challenge, and count against the source.
    Wrong {
        /// The user name claimed.
        user: String,
    },
    /// Proven.
    Granted {
        /// The account.
        user: String,
        /// By which algorithm.
        algorithm: Algorithm,
    },
}

/// How strictly nonce counts are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counting {
    /// A count must be above every one seen with its nonce.
    Strict,
    /// A count seen before passes when it comes from the address that used it: phones exist that never count.
    SameSource,
}

/// When a nonce was made and its number: the order in which nonces age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct NonceId {
    millis: u64,
    serial: u32,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    count: u32,
    source: IpAddr,
}

/// Challenges and checks for one realm.
///
/// A challenge costs no memory: the nonce carries its own time and an HMAC over it and the realm. Only a nonce that was
/// once answered *rightly* takes a place in the table of counts.
pub struct Authenticator {
    realm: String,
    /// Keyed once: HMAC's two key blocks are hashed already.
    keyed: Option<Hmac<Sha256>>,
    origin: Instant,
    config: AuthenticatorConfig,
    serial: u32,
    opaque: String,
    /// The stored hash of nobody, so that an unknown user is computed like any other.
    nobody: Ha1,
    /// Counts by nonce, at most `max_nonces`: over it the oldest goes and `floor` rises to it.
    used: BTreeMap<NonceId, Use>,
    /// Nonces up to this one that are not in the table are stale.
    floor: Option<NonceId>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("realm", &self.realm)
            .field("nonces", &self.used.len())
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    /// `key` is fresh randomness (nonces of an earlier life are then answered `stale=true`), `origin` a moment at or
    /// before the first call.
    #[must_use]
    pub fn new(
        realm: impl Into<String>,
        key: [u8; 32],
        origin: Instant,
        config: AuthenticatorConfig,
    ) -> Self {
        let key = Zeroizing::new(key);
        let mut this = Self {
            realm: realm.into(),
            // HMAC takes a key of any length, so this is never none.
            keyed: Hmac::new_from_slice(&key[..]).ok(),
            origin,
            config,
            serial: 0,
            opaque: String::new(),
            nobody: Ha1 {
                md5: None,
                sha256: None,
            },
            used: BTreeMap::new(),
            floor: None,
        };
        this.opaque = to_hex(this.mac(b"opaque", &[]).get(..8).unwrap_or(&[]));
        let secret = this.mac(b"nobody", &[]);
        this.nobody = Ha1 {
            md5: secret.first_chunk().copied(),
            sha256: Some(secret),
        };
        this
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Checks a request's Authorization or Proxy-Authorization for our realm. `lookup` gives an account's stored
    /// hash. Identity is the user name proven here, never From.
    ///
    /// A count already seen is refused (as stale, so that an honest device simply answers again).
    ///
    /// The `uri` field need not equal the Request-URI: proxies and field devices write the registrar's there
    /// (RFC 3261 §22.4), and a count is good for one request anyway.
    pub fn check<H: Borrow<Ha1>>(
        &mut self,
        now: Instant,
        request: &Message,
        source: SocketAddr,
        lookup: impl Fn(&str) -> Option<H>,
    ) -> AuthVerdict {
        self.check_lenient(now, request, source, lookup, |_| false)
    }

    /// As [`Authenticator::check`], where some phones repeat their nonce count: for a user that `repeats`, a count already
    /// seen passes from the address that used it first. Never for a request that unlocks.
    pub fn check_lenient<H: Borrow<Ha1>>(
        &mut self,
        now: Instant,
        request: &Message,
        source: SocketAddr,
        lookup: impl Fn(&str) -> Option<H>,
        repeats: impl FnOnce(&str) -> bool,
    ) -> AuthVerdict {
        let values = request
            .headers(&HeaderName::Authorization)
            .chain(request.headers(&HeaderName::ProxyAuthorization));
        let ours = values
            .filter_map(Fields::one)
            .find(|fields| fields.get("realm").map(unescape).as_deref() == Some(&self.realm));
        let Some(fields) = ours else {
            return AuthVerdict::Missing;
        };
        let user = fields.get("username").map(unescape).unwrap_or_default();
        let Some((algorithm, count)) =
            self.prove(&fields, &user, request.method().as_str(), lookup)
        else {
            return AuthVerdict::Wrong { user };
        };
        let counting = if repeats(&user) {
            Counting::SameSource
        } else {
            Counting::Strict
        };
        if self.admit(
            now,
            fields.get("nonce").unwrap_or(""),
            count,
            source.ip(),
            counting,
        ) {
            AuthVerdict::Granted { user, algorithm }
        } else {
            AuthVerdict::Stale
        }
    }

    /// The algorithm and count of a right response. An unknown user costs the same work as a known one.
    fn prove<H: Borrow<Ha1>>(
        &self,
        fields: &Fields<'_>,
        user: &str,
        method: &str,
        lookup: impl Fn(&str) -> Option<H>,
    ) -> Option<(Algorithm, u32)> {
        let algorithm = Algorithm::from_token(fields.get("algorithm"))?;
        // An answer by an algorithm that was not offered is not taken.
        if !self.config.algorithms.contains(&algorithm) {
            return None;
        }
        let (nonce, uri, claimed) = (
            fields.get("nonce")?,
            fields.get("uri")?,
            fields.get("response")?,
        );
        let (nc, cnonce) = (fields.get("nc")?, fields.get("cnonce")?);
        if !fields.get("qop")?.eq_ignore_ascii_case("auth") || nc.len() > 8 || user.is_empty() {
            return None;
        }
        let count = u32::from_str_radix(nc, 16)
            .ok()
            .filter(|_| nc.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let stored = lookup(user);
        let stored = stored.as_ref().map(Borrow::borrow);
        let stored = stored.filter(|ha1: &&Ha1| ha1.has(algorithm));
        let known = stored.is_some();
        let ha1 = stored.unwrap_or(&self.nobody).hex(algorithm)?;
        let right = response(algorithm, &ha1, nonce, Some((nc, cnonce)), method, uri);
        let claimed = claimed.to_ascii_lowercase();
        let equal = bool::from(right.as_bytes().ct_eq(claimed.as_bytes()));
        (equal & known).then_some((algorithm, count))
    }

    /// Whether a rightly answered nonce is ours, in time, and this use of it new; then it is noted as used.
    fn admit(
        &mut self,
        now: Instant,
        nonce: &str,
        count: u32,
        source: IpAddr,
        counting: Counting,
    ) -> bool {
        let Some(id) = self.read_nonce(nonce) else {
            return false;
        };
        let age = self.millis(now).checked_sub(id.millis);
        let lifetime = u64::try_from(self.config.nonce_lifetime.as_millis()).unwrap_or(u64::MAX);
        if age.is_none_or(|age| age > lifetime) {
            return false;
        }
        match self.used.get_mut(&id) {
            Some(last) if count > last.count => {
                *last = Use { count, source };
                true
            }
            Some(last) => counting == Counting::SameSource && last.source == source,
            None if count == 0 || self.floor.is_some_and(|floor| id <= floor) => false,
            None => {
                self.used.insert(id, Use { count, source });
                while self.used.len() > self.config.max_nonces.max(1) {
                    self.floor = self
                        .used
                        .pop_first()
                        .map(|(oldest, _)| oldest)
                        .or(self.floor);
                }
                self.used.contains_key(&id)
            }
        }
    }

    /// The challenge header fields in the configured order (RFC 8760 §2.1): WWW-Authenticate with a 401, or
    /// Proxy-Authenticate with a 407 when `proxy`.
    pub fn challenge(
        &mut self,
        now: Instant,
        stale: bool,
        proxy: bool,
    ) -> Vec<(HeaderName, String)> {
        self.forget_expired(now);
        self.serial = self.serial.wrapping_add(1);
        let nonce = self.write_nonce(NonceId {
            millis: self.millis(now),
            serial: self.serial,
        });
        let name = if proxy {
            HeaderName::ProxyAuthenticate
        } else {
            HeaderName::WwwAuthenticate
        };
        self.config
            .algorithms
            .iter()
            .map(|algorithm| {
                let mut value = String::with_capacity(220);
                value.push_str("Digest realm=");
                quote(&self.realm, &mut value);
                value.extend([
                    ", nonce=\"",
                    &nonce,
                    "\", opaque=\"",
                    &self.opaque,
                    "\", algorithm=",
                    algorithm.as_str(),
                ]);
                value.push_str(", qop=\"auth\"");
                if stale {
                    value.push_str(", stale=true");
                }
                (name.clone(), value)
            })
            .collect()
    }

    fn forget_expired(&mut self, now: Instant) {
        let lifetime = u64::try_from(self.config.nonce_lifetime.as_millis()).unwrap_or(u64::MAX);
        let Some(oldest) = self.millis(now).checked_sub(lifetime) else {
            return;
        };
        while self
            .used
            .first_key_value()
            .is_some_and(|(id, _)| id.millis < oldest)
        {
            self.used.pop_first();
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }

    /// 16 hex digits of time, 8 of number, 32 of HMAC.
    fn write_nonce(&self, id: NonceId) -> String {
        let mut octets = [0_u8; 12];
        let (time, serial) = octets.split_at_mut(8);
        time.copy_from_slice(&id.millis.to_be_bytes());
        serial.copy_from_slice(&id.serial.to_be_bytes());
        let mac = self.mac(b"nonce", &octets);
        let mut text = to_hex(&octets);
        text.push_str(&to_hex(mac.get(..16).unwrap_or(&mac)));
        text
    }

    fn read_nonce(&self, nonce: &str) -> Option<NonceId> {
        let millis = u64::from_str_radix(nonce.get(..16)?, 16).ok()?;
        let serial = u32::from_str_radix(nonce.get(16..24)?, 16).ok()?;
        let id = NonceId { millis, serial };
        bool::from(self.write_nonce(id).as_bytes().ct_eq(nonce.as_bytes())).then_some(id)
    }

    fn mac(&self, purpose: &[u8], octets: &[u8]) -> [u8; 32] {
        let Some(mut mac) = self.keyed.clone() else {
            return [0; 32];
        };
        for part in [purpose, b"\0", self.realm.as_bytes(), b"\0", octets] {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::digest::client::{self, Request, Secret};
    use crate::message::Limits;

    const REALM: &str = "house.example";

    struct Bench {
        now: Instant,
        server: Authenticator,
    }

    fn config() -> AuthenticatorConfig {
        AuthenticatorConfig::default()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "one origin for a test's virtual clock"
    )]
    fn bench(config: AuthenticatorConfig) -> Bench {
        let now = Instant::now();
        Bench {
            now,
            server: Authenticator::new(REALM, [7; 32], now, config),
        }
    }

    fn source(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn accounts(user: &str) -> Option<Ha1> {
        (user == "door").then(|| Ha1::of("door", REALM, "secret", true))
    }

    fn request(authorization: Option<&str>) -> Message {
        let line =
            authorization.map_or(String::new(), |value| format!("Authorization: {value}\r\n"));
        let text = format!(
            "INVITE sip:101@house.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:concierge@house.example>;tag=1\r\nTo: <sip:101@house.example>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n{line}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).unwrap()
    }

    impl Bench {
        fn challenge(&mut self, at: usize) -> String {
            self.server.challenge(self.now, false, false)[at].1.clone()
        }

        fn answer(challenge: &str, user: &str, password: &str, nc: u32) -> String {
            let request = Request {
                method: "INVITE",
                uri: "sip:101@house.example",
                cnonce: "abc",
                nc,
            };
            client::answer(challenge, user, Secret::Password(password), &request).unwrap()
        }

        fn check(&mut self, authorization: &str) -> AuthVerdict {
            self.server.check(
                self.now,
                &request(Some(authorization)),
                source(5060),
                accounts,
            )
        }
    }

    fn granted(algorithm: Algorithm) -> AuthVerdict {
        AuthVerdict::Granted {
            user: "door".into(),
            algorithm,
        }
    }

    #[test]
    fn a_right_answer_is_granted_in_either_algorithm() {
        let mut bench = bench(config());
        for (at, algorithm) in [(0, Algorithm::Sha256), (1, Algorithm::Md5)] {
            let challenge = bench.challenge(at);
            assert_eq!(
                bench.check(&Bench::answer(&challenge, "door", "secret", 1)),
                granted(algorithm)
            );
        }
    }

    #[test]
    fn without_credentials_for_our_realm_they_are_missing() {
        let mut bench = bench(config());
        assert_eq!(
            bench
                .server
                .check(bench.now, &request(None), source(1), accounts),
            AuthVerdict::Missing
        );
        let foreign = bench.challenge(0).replace(REALM, "elsewhere.example");
        assert_eq!(
            bench.check(&Bench::answer(&foreign, "door", "secret", 1)),
            AuthVerdict::Missing
        );
    }

    #[test]
    fn a_wrong_password_and_an_unknown_user_look_the_same() {
        let mut bench = bench(config());
        let challenge = bench.challenge(0);
        let wrong = |user: &str| AuthVerdict::Wrong { user: user.into() };
        assert_eq!(
            bench.check(&Bench::answer(&challenge, "door", "guess", 1)),
            wrong("door")
        );
        assert_eq!(
            bench.check(&Bench::answer(&challenge, "nobody", "secret", 1)),
            wrong("nobody")
        );
    }

    /// The least of many runs, so that what else the machine does is left out.
    #[test]
    fn a_wrong_password_and_an_unknown_user_take_the_same_time() {
        let mut bench = bench(config());
        let challenge = bench.challenge(0);
        let accounts: BTreeMap<String, Ha1> = (0..10_000)
            .map(|n| (format!("user-{n:05}"), Ha1::of("x", REALM, "secret", true)))
            .collect();
        let mut least = |user: &str| {
            let message = request(Some(&Bench::answer(&challenge, user, "guess", 1)));
            let spent = (0..3_000).map(|_| {
                #[expect(clippy::disallowed_methods, reason = "a test that measures time")]
                let start = Instant::now();
                let verdict = bench
                    .server
                    .check(bench.now, &message, source(5060), |user| accounts.get(user));
                assert!(matches!(verdict, AuthVerdict::Wrong { .. }));
                start.elapsed().as_nanos()
            });
            spent.min().unwrap_or(0)
        };
        // A busy machine may spoil one measure, not ten in a row.
        let alike = (0..10).any(|_| {
            let (known, unknown) = (least("user-05000"), least("user-0500x"));
            known.abs_diff(unknown) * 10 <= known.max(unknown)
        });
        assert!(alike, "more than a tenth apart");
    }

    #[test]
    fn the_hash_of_nobody_opens_nothing() {
        let mut bench = bench(config());
        let challenge = bench.challenge(0);
        let hex = bench.server.nobody.hex(Algorithm::Sha256).unwrap();
        let nonce = Fields::one(&challenge).unwrap().get("nonce").unwrap();
        let proof = response(
            Algorithm::Sha256,
            &hex,
            nonce,
            Some(("00000001", "c")),
            "INVITE",
            "sip:a",
        );
        let value = format!(
            r#"Digest username="ghost", realm="{REALM}", nonce="{nonce}", uri="sip:a", response="{proof}", algorithm=SHA-256, qop=auth, nc=00000001, cnonce="c""#
        );
        assert_eq!(
            bench.check(&value),
            AuthVerdict::Wrong {
                user: "ghost".into()
            }
        );
    }

    #[test]
    fn a_count_seen_before_is_stale_and_a_higher_one_good() {
        let mut bench = bench(config());
        let challenge = bench.challenge(0);
        for (nc, verdict) in [
            (1, granted(Algorithm::Sha256)),
            (1, AuthVerdict::Stale),
            (3, granted(Algorithm::Sha256)),
            (2, AuthVerdict::Stale),
        ] {
            assert_eq!(
                bench.check(&Bench::answer(&challenge, "door", "secret", nc)),
                verdict,
                "nc {nc}"
            );
        }
    }

    #[test]
    fn a_wrong_answer_uses_up_no_count_and_no_memory() {
        let mut bench = bench(config());
        let challenge = bench.challenge(0);
        bench.check(&Bench::answer(&challenge, "door", "guess", 9));
        assert_eq!(bench.server.used.len(), 0);
        assert_eq!(
            bench.check(&Bench::answer(&challenge, "door", "secret", 1)),
            granted(Algorithm::Sha256)
        );
    }

    #[test]
    fn an_expired_nonce_is_stale() {
        let mut bench = bench(config());
        let challenge = bench.challenge(0);
        bench.now += Duration::from_secs(300);
        assert_eq!(
            bench.check(&Bench::answer(&challenge, "door", "secret", 1)),
            granted(Algorithm::Sha256)
        );
        bench.now += Duration::from_millis(1);
        assert_eq!(
            bench.check(&Bench::answer(&challenge, "door", "secret", 2)),
            AuthVerdict::Stale
        );
        assert!(
            bench.server.challenge(bench.now, true, false)[0]
                .1
                .ends_with("stale=true")
        );
    }

    #[test]
    fn a_nonce_we_did_not_make_is_stale() {
        let mut bench = bench(config());
        let challenge = bench.challenge(0);
        let nonce = Fields::one(&challenge).unwrap().get("nonce").unwrap();
        let mut other = Authenticator::new(REALM, [8; 32], bench.now, config());
        let foreign = other.challenge(bench.now, false, false)[0].1.clone();
        let later = format!("{:016x}{}", 1, &nonce[16..]);
        for forged in [
            foreign,
            challenge.replace(nonce, &later),
            challenge.replace(nonce, "x"),
        ] {
            assert_eq!(
                bench.check(&Bench::answer(&forged, "door", "secret", 1)),
                AuthVerdict::Stale
            );
        }
    }

    #[test]
    fn a_nonce_of_another_realm_with_the_same_key_is_stale() {
        let mut bench = bench(config());
        let mut other = Authenticator::new("other.example", [7; 32], bench.now, config());
        let foreign = other.challenge(bench.now, false, false)[0]
            .1
            .replace("other.example", REALM);
        assert_eq!(
            bench.check(&Bench::answer(&foreign, "door", "secret", 1)),
            AuthVerdict::Stale
        );
    }

    #[test]
    fn the_table_is_bounded_and_a_forgotten_nonce_cannot_be_replayed() {
        let mut bench = bench(AuthenticatorConfig {
            max_nonces: 2,
            ..config()
        });
        let first = bench.challenge(0);
        let replay = Bench::answer(&first, "door", "secret", 1);
        assert_eq!(bench.check(&replay), granted(Algorithm::Sha256));
        for _ in 0..5 {
            let challenge = bench.challenge(0);
            assert_eq!(
                bench.check(&Bench::answer(&challenge, "door", "secret", 1)),
                granted(Algorithm::Sha256)
            );
        }
        assert_eq!(bench.server.used.len(), 2);
        assert_eq!(bench.check(&replay), AuthVerdict::Stale);
    }

    #[test]
    fn a_phone_that_never_counts_passes_leniently_from_its_own_address_only() {
        let mut bench = bench(config());
        let challenge = bench.challenge(0);
        let message = request(Some(&Bench::answer(&challenge, "door", "secret", 1)));
        let elsewhere = SocketAddr::from(([198, 51, 100, 1], 5060));
        assert_eq!(
            bench
                .server
                .check_lenient(bench.now, &message, source(5060), accounts, |_| true),
            granted(Algorithm::Sha256)
        );
        assert_eq!(
            bench
                .server
                .check_lenient(bench.now, &message, source(5062), accounts, |_| true),
            granted(Algorithm::Sha256)
        );
        assert_eq!(
            bench
                .server
                .check_lenient(bench.now, &message, elsewhere, accounts, |_| true),
            AuthVerdict::Stale
        );
        assert_eq!(
            bench
                .server
                .check(bench.now, &message, source(5060), accounts),
            AuthVerdict::Stale
        );
    }

    #[test]
    fn the_method_is_part_of_the_proof() {
        let mut bench = bench(config());
        let challenge = bench.challenge(0);
        let request = Request {
            method: "REGISTER",
            uri: "sip:house.example",
            cnonce: "abc",
            nc: 1,
        };
        let answer =
            client::answer(&challenge, "door", Secret::Password("secret"), &request).unwrap();
        assert_eq!(
            bench.check(&answer),
            AuthVerdict::Wrong {
                user: "door".into()
            }
        );
    }

    #[test]
    fn md5_is_refused_where_it_is_not_offered_or_not_stored() {
        let mut bench = bench(AuthenticatorConfig {
            algorithms: vec![Algorithm::Sha256],
            ..config()
        });
        assert_eq!(bench.server.challenge(bench.now, false, true).len(), 1);
        let downgraded = bench.challenge(0).replace("SHA-256", "MD5");
        assert_eq!(
            bench.check(&Bench::answer(&downgraded, "door", "secret", 1)),
            AuthVerdict::Wrong {
                user: "door".into()
            }
        );
        let mut bench = self::bench(config());
        let challenge = bench.challenge(1);
        let message = request(Some(&Bench::answer(&challenge, "door", "secret", 1)));
        let sha_only = |_: &str| Some(Ha1::of("door", REALM, "secret", false));
        assert_eq!(
            bench.server.check(bench.now, &message, source(1), sha_only),
            AuthVerdict::Wrong {
                user: "door".into()
            }
        );
    }

    #[test]
    fn credentials_without_qop_are_wrong() {
        let mut bench = bench(config());
        let challenge = bench.challenge(0).replace(", qop=\"auth\"", "");
        assert_eq!(
            bench.check(&Bench::answer(&challenge, "door", "secret", 1)),
            AuthVerdict::Wrong {
                user: "door".into()
            }
        );
    }

    #[test]
    fn nothing_secret_is_printed() {
        let bench = bench(config());
        let printed = format!(
            "{:?} {:?} {:?}",
            bench.server,
            Ha1::of("a", "b", "c", true),
            Secret::Password("c")
        );
        assert_eq!(printed.matches("***").count(), 2);
        assert!(!printed.contains("7, 7"));
    }
}
