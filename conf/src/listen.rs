//! `[[listen]]` and `[tls]`: where SIP is spoken, with which certificates, and who may come in.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use sip_proxy::Transport;
use toml::Spanned;

use crate::error::Located;
use crate::resolve::Check;
use crate::resolved::{Certificate, Listener, Outbound, Tls, TlsVersion};
use crate::written::{self, OneOrMany, Written};

/// Certificates of one listener; a handshake looks at each.
const CERTIFICATES: usize = 32;

impl Check<'_> {
    pub(crate) fn listeners(&mut self, written: &[Spanned<written::Listen>]) -> Vec<Listener> {
        if written.is_empty() {
            let bind = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5060));
            return [Transport::Udp, Transport::Tcp]
                .map(|transport| Listener {
                    transport,
                    bind,
                    advertise: None,
                    tls: None,
                    origins: Vec::new(),
                })
                .into();
        }
        let mut listeners: Vec<Listener> = Vec::new();
        for (n, spanned) in written.iter().enumerate() {
            let listen = spanned.get_ref();
            let bind = *listen.address.get_ref();
            let transport = match listen.transport.get_ref() {
                written::Transport::Udp => Transport::Udp,
                written::Transport::Tcp => Transport::Tcp,
                written::Transport::Tls => Transport::Tls,
                written::Transport::Ws => Transport::Ws,
                written::Transport::Wss => Transport::Wss,
            };
            self.bind(n, listen, transport, &listeners);
            let advertise = listen.advertise.as_ref().map(|advertise| {
                let written::Advertise { ip, port } = *advertise.get_ref();
                if ip.is_unspecified() || ip.is_multicast() || ip.is_ipv4() != bind.is_ipv4() {
                    let hint = "write an address phones can reach, of the same family as `address`";
                    self.fault(
                        &advertise.span(),
                        &format!("listen[{n}].advertise"),
                        "nobody can send there",
                        hint,
                    );
                }
                SocketAddr::new(ip, port.unwrap_or(bind.port()))
            });
            listeners.push(Listener {
                transport,
                bind,
                advertise,
                tls: self.tls(n, listen, transport),
                origins: self.origins(n, listen, transport),
            });
        }
        listeners
    }

    fn bind(
        &mut self,
        n: usize,
        listen: &written::Listen,
        transport: Transport,
        listeners: &[Listener],
    ) {
        let bind = *listen.address.get_ref();
        let key = format!("listen[{n}].address");
        if bind.ip().is_multicast() || bind.port() == 0 {
            self.fault(
                &listen.address.span(),
                &key,
                "cannot listen there",
                "write an address of this machine and a port, \"0.0.0.0:5060\"",
            );
        }
        // TCP, TLS and WebSocket share their ports.
        let taken = |other: &Listener| {
            other.bind == bind && other.transport.is_stream() == transport.is_stream()
        };
        if let Some(other) = listeners.iter().find(|other| taken(other)) {
            let hint = if other.transport == transport {
                "remove one of the two".to_owned()
            } else {
                format!(
                    "{transport} usually has port {}; {} is there already",
                    transport.default_port(),
                    other.transport
                )
            };
            self.fault(&listen.address.span(), &key, "listened on twice", hint);
        }
    }

    fn tls(&mut self, n: usize, listen: &written::Listen, transport: Transport) -> Option<Tls> {
        if !transport.is_secure() {
            let of_tls = [
                (
                    "certificate",
                    listen.certificate.as_ref().map(Spanned::span),
                ),
                ("key", listen.key.as_ref().map(Spanned::span)),
                ("client-ca", listen.client_ca.as_ref().map(Spanned::span)),
                (
                    "min-version",
                    listen.min_version.as_ref().map(Spanned::span),
                ),
            ];
            for (name, span) in of_tls {
                if let Some(span) = span {
                    self.fault(
                        &span,
                        &format!("listen[{n}].{name}"),
                        format_args!("nothing is encrypted on {transport}"),
                        "write transport = \"tls\" or \"wss\", or remove the key",
                    );
                }
            }
            return None;
        }
        let key = format!("listen[{n}].certificate");
        if listen.certificate.is_none() {
            self.fault(
                &listen.transport.span(),
                &key,
                format_args!("{transport} needs one"),
                "add certificate = \"server.pem\" (PEM, the server's own first) and key = \"server.key\"",
            );
        }
        let certificates = self.certificates(
            &format!("listen[{n}]"),
            listen.certificate.as_ref(),
            listen.key.as_ref(),
        );
        let min_version = match &listen.min_version {
            None => TlsVersion::V1_3,
            Some(version) => match version.get_ref().as_str() {
                "1.3" => TlsVersion::V1_3,
                "1.2" => TlsVersion::V1_2,
                _ => {
                    self.fault(
                        &version.span(),
                        &format!("listen[{n}].min-version"),
                        "not a version that is spoken here",
                        "write \"1.3\", or \"1.2\" for old door stations; older ones are broken",
                    );
                    TlsVersion::V1_3
                }
            },
        };
        Some(Tls {
            certificates,
            client_ca: self.file(&listen.client_ca, &format!("listen[{n}].client-ca")),
            min_version,
        })
    }

    /// Certificates and keys side by side.
    fn certificates(
        &mut self,
        table: &str,
        chains: Option<&Spanned<OneOrMany>>,
        keys: Option<&Spanned<OneOrMany>>,
    ) -> Vec<Certificate> {
        let chains_at = format!("{table}.certificate");
        let keys_at = format!("{table}.key");
        let (Some(chains), keys) = (chains, keys) else {
            if let Some(keys) = keys {
                self.fault(
                    &keys.span(),
                    &keys_at,
                    "a key without certificate",
                    "add certificate = \"…\"",
                );
            }
            return Vec::new();
        };
        let count = chains.get_ref().0.len();
        if count == 0 || count > CERTIFICATES {
            self.fault(
                &chains.span(),
                &chains_at,
                format_args!("{count} certificates"),
                format!("name 1 to {CERTIFICATES}"),
            );
        }
        if let Some(keys) = keys
            && keys.get_ref().0.len() != count
        {
            self.fault(
                &keys.span(),
                &keys_at,
                format_args!("{} keys for {count} certificates", keys.get_ref().0.len()),
                "name one key for each certificate, in the same order",
            );
        }
        let files = chains.get_ref().0.iter().enumerate();
        files
            .map(|(n, file)| {
                let chain = self.located(file, chains.span(), &chains_at);
                // Without a key of its own it stands in the same file.
                let key = keys.and_then(|keys| Some((keys.get_ref().0.get(n)?, keys.span())));
                let key = key.map_or_else(
                    || chain.clone(),
                    |(file, span)| self.located(file, span, &keys_at),
                );
                Certificate { chain, key }
            })
            .collect()
    }

    fn located(&self, file: &str, span: Range<usize>, key: &str) -> Located<PathBuf> {
        Located::new(self.base.join(file), self.source, span, key)
    }

    fn file(&self, file: &Written<String>, key: &str) -> Option<Located<PathBuf>> {
        file.as_ref()
            .map(|file| self.located(file.get_ref(), file.span(), key))
    }

    fn origins(&mut self, n: usize, listen: &written::Listen, transport: Transport) -> Vec<String> {
        let Some(written) = &listen.origins else {
            return Vec::new();
        };
        let key = format!("listen[{n}].origins");
        if !matches!(transport, Transport::Ws | Transport::Wss) {
            self.fault(
                &written.span(),
                &key,
                format_args!("no web page connects to {transport}"),
                "write transport = \"wss\", or remove the key",
            );
        }
        let mut origins = Vec::new();
        for origin in written.get_ref() {
            if !is_origin(origin.get_ref()) {
                self.fault(
                    &origin.span(),
                    &key,
                    "not an origin",
                    "write \"https://intercom.example.org\", with :port where it is not 443, and no path",
                );
            }
            origins.push(origin.get_ref().to_ascii_lowercase());
        }
        origins
    }

    /// `[tls]`: what we trust and show where we connect to.
    pub(crate) fn outbound(&mut self, written: &written::Tls) -> Outbound {
        let mut certificates =
            self.certificates("tls", written.certificate.as_ref(), written.key.as_ref());
        if let (Some(certificate), true) = (&written.certificate, certificates.len() > 1) {
            self.fault(
                &certificate.span(),
                "tls.certificate",
                "more than one",
                "one certificate is shown to those we call",
            );
        }
        Outbound {
            roots: self.file(&written.roots, "tls.roots"),
            certificate: (!certificates.is_empty()).then(|| certificates.remove(0)),
        }
    }
}

/// `scheme://host` or `scheme://host:port` (RFC 6454 section 6.2).
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let host = rest
        .strip_prefix('[')
        .and_then(|v6| v6.split_once(']'))
        .map_or_else(|| rest.split(':').next().unwrap_or_default(), |(v6, _)| v6);
    scheme.bytes().all(|b| b.is_ascii_alphanumeric())
        && !scheme.is_empty()
        && !host.is_empty()
        && rest
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_no_path() {
        for right in [
            "https://a.example",
            "http://127.0.0.1:8080",
            "https://[::1]:8443",
        ] {
            assert!(is_origin(right), "{right}");
        }
        for wrong in [
            "",
            "a.example",
            "https://",
            "https://a/",
            "https://a b",
            "*",
        ] {
            assert!(!is_origin(wrong), "{wrong}");
        }
    }
}
