//! What a URI says about where it leads, before any question is asked (RFC 3263 §4.1, §4.2).

use std::net::{IpAddr, SocketAddr};

use crate::transport::Transport;
use crate::uri::{Host, Scheme, Uri};

/// Host of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Address(IpAddr),
    Name(String),
}

/// Where a URI leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub(super) place: Place,
    pub(super) port: Option<u16>,
    /// As the URI says it, made secure for `sips:`.
    pub(super) transport: Option<Transport>,
    /// `sips:`: nothing but TLS will do.
    pub(super) secure: bool,
}

/// Why a URI leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Nowhere {
    /// `tel:` and other schemes have no host.
    #[error("only sip: and sips: URIs name a host")]
    Scheme,
    /// A transport we do not speak, or one that `sips:` does not allow.
    #[error("its transport parameter names none that can be used")]
    Transport,
    /// Not a name the DNS could know.
    #[error("its host is not a host name")]
    Host,
}

impl Destination {
    /// Reads a URI. `maddr` takes the place of the host (RFC 3261 §16.6 step 7, the target of RFC 3263 §4).
    ///
    /// # Errors
    /// [`Nowhere`] when it names no host or no transport we know.
    pub fn of(uri: &Uri) -> Result<Self, Nowhere> {
        let secure = match uri.scheme() {
            Scheme::Sip => false,
            Scheme::Sips => true,
            Scheme::Tel | Scheme::Other => return Err(Nowhere::Scheme),
        };
        let transport = match uri.param("transport") {
            None => None,
            Some(word) => {
                let transport = Transport::from_token(word).ok_or(Nowhere::Transport)?;
                Some(match (secure, transport) {
                    (false, transport) => transport,
                    (true, Transport::Tcp | Transport::Tls) => Transport::Tls,
                    (true, Transport::Ws | Transport::Wss) => Transport::Wss,
                    (true, Transport::Udp) => return Err(Nowhere::Transport),
                })
            }
        };
        let place = match uri.param("maddr") {
            Some(host) => place(host)?,
            None => match uri.host() {
                Host::V4(ip) => Place::Address(ip.into()),
                Host::V6(ip) => Place::Address(ip.into()),
                Host::Name(name) => place(name)?,
            },
        };
        Ok(Self {
            place,
            port: uri.port().filter(|port| *port != 0),
            transport,
            secure,
        })
    }

    /// The address of a numeric host, with the transport it names or else the usual one for it; `None` for a name.
    #[must_use]
    pub fn address(&self, usual: Transport) -> Option<(Transport, SocketAddr)> {
        let Place::Address(ip) = self.place else {
            return None;
        };
        let transport = self.transport.unwrap_or(usual);
        let port = self.port.unwrap_or(transport.default_port());
        Some((transport, SocketAddr::new(ip, port)))
    }

    /// The name a TLS peer must prove (RFC 5922 §4: that of the URI, not of the SRV target).
    #[must_use]
    pub fn name(&self) -> String {
        match &self.place {
            Place::Address(ip) => ip.to_string(),
            Place::Name(name) => name.clone(),
        }
    }
}

fn place(host: &str) -> Result<Place, Nowhere> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(ip) = bare.parse() {
        return Ok(Place::Address(ip));
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if is_name(&name) {
        Ok(Place::Name(name))
    } else {
        Err(Nowhere::Host)
    }
}

/// Whether a text may be asked for: DNS lengths (RFC 1035 §2.3.4), and no character that means something elsewhere.
/// The underscore is there for the SRV names of NAPTR replacements.
pub(super) fn is_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}
