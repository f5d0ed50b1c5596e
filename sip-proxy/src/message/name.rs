//! Header field names (RFC 3261 §7.3.1, §20, §25): known ones as an enum, all others carried as written.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

macro_rules! header_names {
    ($($variant:ident $text:literal $($compact:literal)?,)+) => {
        /// A header field name. Comparison ignores case; a compact form is the same name (RFC 3261 §7.3.3).
        #[derive(Debug, Clone)]
        pub enum HeaderName {
            $(#[doc = concat!("`", $text, "`")] $variant,)+
            /// Any other token, as written.
            Other(Box<str>),
        }

        /// The known names in the order of their index numbers.
        const KNOWN: &[HeaderName] = &[$(HeaderName::$variant,)+];

        impl HeaderName {
            /// The name in the spelling its RFC gives, or as it was written when unknown.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(token) => token,
                }
            }

            /// The index number; [`OTHER`] when unknown.
            pub(crate) fn id(&self) -> NameId {
                #[derive(Clone, Copy)]
                #[repr(u8)]
                enum Index {
                    $($variant,)+
                }
                match self {
                    $(Self::$variant => Index::$variant as NameId,)+
                    // A known name spelled out by hand is still that name.
                    Self::Other(token) => id_of(token.as_bytes()),
                }
            }

            fn compact(letter: u8) -> Option<Self> {
                match letter.to_ascii_lowercase() {
                    $($($compact => Some(Self::$variant),)?)+
                    _ => None,
                }
            }
        }
    };
}

header_names! {
    Accept "Accept",
    AcceptContact "Accept-Contact" b'a',
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    AlertInfo "Alert-Info",
    Allow "Allow",
    AllowEvents "Allow-Events" b'u',
    AuthenticationInfo "Authentication-Info",
    Authorization "Authorization",
    CallId "Call-ID" b'i',
    CallInfo "Call-Info",
    Contact "Contact" b'm',
    ContentDisposition "Content-Disposition",
    ContentEncoding "Content-Encoding" b'e',
    ContentLanguage "Content-Language",
    ContentLength "Content-Length" b'l',
    ContentType "Content-Type" b'c',
    CSeq "CSeq",
    Date "Date",
    Diversion "Diversion",
    ErrorInfo "Error-Info",
    Event "Event" b'o',
    Expires "Expires",
    FlowTimer "Flow-Timer",
    From "From" b'f',
    HistoryInfo "History-Info",
    Identity "Identity" b'y',
    InReplyTo "In-Reply-To",
    InfoPackage "Info-Package",
    Join "Join",
    MaxBreadth "Max-Breadth",
    MaxForwards "Max-Forwards",
    MimeVersion "MIME-Version",
    MinExpires "Min-Expires",
    MinSe "Min-SE",
    Organization "Organization",
    PAssertedIdentity "P-Asserted-Identity",
    PPreferredIdentity "P-Preferred-Identity",
    Path "Path",
    Priority "Priority",
    Privacy "Privacy",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    ProxyRequire "Proxy-Require",
    RAck "RAck",
    Reason "Reason",
    RecordRoute "Record-Route",
    RecvInfo "Recv-Info",
    ReferSub "Refer-Sub",
    ReferTo "Refer-To" b'r',
    ReferredBy "Referred-By" b'b',
    RejectContact "Reject-Contact" b'j',
    Replaces "Replaces",
    ReplyTo "Reply-To",
    RequestDisposition "Request-Disposition" b'd',
    Require "Require",
    RetryAfter "Retry-After",
    Route "Route",
    RSeq "RSeq",
    Server "Server",
    ServiceRoute "Service-Route",
    SessionExpires "Session-Expires" b'x',
    SipETag "SIP-ETag",
    SipIfMatch "SIP-If-Match",
    Subject "Subject" b's',
    SubscriptionState "Subscription-State",
    Supported "Supported" b'k',
    TargetDialog "Target-Dialog",
    Timestamp "Timestamp",
    To "To" b't',
    Unsupported "Unsupported",
    UserAgent "User-Agent",
    Via "Via" b'v',
    Warning "Warning",
    WwwAuthenticate "WWW-Authenticate",
}

/// The number under which a header index files a name: small, `Copy`, and enough to compare known names by.
pub(crate) type NameId = u8;

/// The index number of every name that is not known.
pub(crate) const OTHER: NameId = u8::MAX;

/// Slots of the hash table over the known names; a power of two, a few times their number.
const SLOTS: usize = 512;

/// Known names by [`slot_of`], the next free slot taken on collision.
static BY_SLOT: std::sync::LazyLock<[NameId; SLOTS]> = std::sync::LazyLock::new(|| {
    let mut table = [OTHER; SLOTS];
    for (id, name) in KNOWN.iter().enumerate() {
        let mut slot = slot_of(name.as_str().as_bytes());
        while table.get(slot).is_some_and(|taken| *taken != OTHER) {
            slot = (slot + 1) % SLOTS;
        }
        if let (Some(free), Ok(id)) = (table.get_mut(slot), NameId::try_from(id)) {
            *free = id;
        }
    }
    table
});

/// A number from length, first, middle and last octet, the same in upper and lower case.
fn slot_of(token: &[u8]) -> usize {
    let at = |index: usize| usize::from(token.get(index).copied().unwrap_or(0) | 0x20);
    let len = token.len();
    (len * 67 + at(0) * 31 + at(len / 2) * 17 + at(len.wrapping_sub(1)) * 5) % SLOTS
}

/// The index number of a name as written, compact or long, in any case.
pub(crate) fn id_of(token: &[u8]) -> NameId {
    if let [letter] = token {
        return HeaderName::compact(*letter).map_or(OTHER, |name| name.id());
    }
    let table = &*BY_SLOT;
    let mut slot = slot_of(token);
    while let Some(id) = table.get(slot).copied().filter(|id| *id != OTHER) {
        let known = KNOWN.get(usize::from(id)).map_or("", HeaderName::as_str);
        if known.as_bytes().eq_ignore_ascii_case(token) {
            return id;
        }
        slot = (slot + 1) % SLOTS;
    }
    OTHER
}

impl HeaderName {
    /// Reads a name as written, long or compact, in any case.
    #[must_use]
    pub fn from_token(token: &str) -> Self {
        match KNOWN.get(usize::from(id_of(token.as_bytes()))) {
            Some(name) => name.clone(),
            None => Self::Other(token.into()),
        }
    }

    fn lowercase(&self) -> impl Iterator<Item = u8> + '_ {
        self.as_str().bytes().map(|byte| byte.to_ascii_lowercase())
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str().eq_ignore_ascii_case(other.as_str())
    }
}

impl Eq for HeaderName {}

impl PartialOrd for HeaderName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HeaderName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.lowercase().cmp(other.lowercase())
    }
}

impl Hash for HeaderName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.lowercase() {
            state.write_u8(byte);
        }
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_and_long_forms_are_one_name() {
        assert_eq!(HeaderName::from_token("v"), HeaderName::Via);
        assert_eq!(HeaderName::from_token("VIA"), HeaderName::Via);
        assert_eq!(HeaderName::from_token("L"), HeaderName::ContentLength);
    }

    #[test]
    fn an_unknown_name_keeps_its_spelling_and_ignores_case_in_comparison() {
        let name = HeaderName::from_token("X-Door");
        assert_eq!(name.as_str(), "X-Door");
        assert_eq!(name, HeaderName::Other("x-dOOR".into()));
    }

    #[test]
    fn every_known_name_is_found_by_its_own_spelling() {
        for (id, name) in KNOWN.iter().enumerate() {
            assert_eq!(usize::from(id_of(name.as_str().as_bytes())), id, "{name}");
            assert_eq!(usize::from(name.id()), id, "{name}");
        }
    }
}
