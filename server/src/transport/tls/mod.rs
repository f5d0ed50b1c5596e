//! TLS: the configuration of listeners and of connections we open, from certificate files.
//!
//! rustls over aws-lc-rs, driven without a runtime by the connection that owns it ([`super::stream`]). Everything is
//! read and judged before a port is bound; what does not load is a fault of the configuration, with its line.
//!
//! What it deliberately does not do: a version below 1.2, renegotiation, early data, client certificates as a
//! condition (who shows none logs in by digest), revocation lists.

mod certificate;

use std::path::PathBuf;
use std::sync::Arc;

use conf::{Located, TlsVersion, Transport};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use certificate::Fault;
pub(crate) use certificate::{Expiry, names};

/// Everything loaded for one configuration.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// By listener, in the configuration's order; `None` where nothing is encrypted.
    pub(crate) listeners: Vec<Option<Arc<ServerConfig>>>,
    /// When each certificate ends.
    pub(crate) expiries: Vec<Expiry>,
    client: Option<Client>,
}

/// What we show and whom we trust where we connect to; the roots are read when the server starts.
#[derive(Clone, Debug)]
enum Client {
    Roots(Arc<RootCertStore>, Option<Arc<CertifiedKey>>),
    System(Option<Arc<CertifiedKey>>),
}

/// Reads every certificate the configuration names.
///
/// # Errors
/// Everything wrong with them, each in its place.
pub(crate) fn load(conf: &conf::Resolved) -> Result<Loaded, conf::Errors> {
    let mut loaded = Loaded::default();
    let mut errors = Vec::new();
    for listener in &conf.listeners {
        let side = listener.tls.as_ref().map(|tls| {
            let name = format!("{} {}", listener.transport.as_str(), listener.bind);
            server(tls, listener.transport, &name, &mut loaded.expiries)
        });
        match side.transpose() {
            Ok(side) => loaded.listeners.push(side),
            Err(faults) => errors.extend(faults),
        }
    }
    match client(&conf.outbound, &mut loaded.expiries) {
        Ok(client) => loaded.client = Some(client),
        Err(fault) => errors.push(fault),
    }
    if errors.is_empty() {
        Ok(loaded)
    } else {
        Err(conf::Errors(
            errors.into_iter().map(|fault| *fault).collect(),
        ))
    }
}

/// Days before a certificate's end from which on it is spoken of.
pub(crate) const SOON: i64 = 30;

/// The one provider: X25519MLKEM768 first, then X25519 and the NIST curves.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn server(
    tls: &conf::Tls,
    transport: Transport,
    listener: &str,
    expiries: &mut Vec<Expiry>,
) -> Result<Arc<ServerConfig>, Vec<Fault>> {
    let mut errors = Vec::new();
    let mut keys = Vec::new();
    for certificate in &tls.certificates {
        match certificate::load(certificate, &provider()) {
            Ok(key) => {
                expiries.extend(Expiry::of(listener, &certificate.chain.value, &key));
                keys.push(key);
            }
            Err(fault) => errors.push(fault),
        }
    }
    let authorities = tls.client_ca.as_ref().map(|file| (file, roots(file)));
    let authorities = match authorities {
        None => None,
        Some((file, Ok(roots))) => Some((file, roots)),
        Some((_, Err(fault))) => {
            errors.push(fault);
            None
        }
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let versions: &[&SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let of_rustls = |error: &dyn std::fmt::Display| {
        let at = &tls.certificates.first().map(|c| &c.chain);
        at.map(|at| vec![Box::new(at.fault(error, "see `openssl x509 -noout -text`"))])
            .unwrap_or_default()
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| of_rustls(&error))?;
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some((file, roots)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .allow_unauthenticated()
                .build()
                .map_err(|error| {
                    vec![Box::new(
                        file.fault(error, "name a PEM file of authorities"),
                    )]
                })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName(keys)));
    if transport == Transport::Wss {
        // What a browser meant for another protocol ends here (ALPACA).
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    Ok(Arc::new(config))
}

/// The certificate that proves the name a client asks for, else the first.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let proves = |key: &&Arc<CertifiedKey>| {
            let name = named.as_ref()?;
            let parsed = ParsedCertificate::try_from(key.end_entity_cert().ok()?).ok()?;
            rustls::client::verify_server_name(&parsed, name).ok()
        };
        self.0
            .iter()
            .find(|key| proves(key).is_some())
            .or_else(|| self.0.first())
            .cloned()
    }
}

fn roots(file: &Located<PathBuf>) -> Result<Arc<RootCertStore>, Fault> {
    let mut store = RootCertStore::empty();
    for authority in certificate::chain(file)? {
        store.add(authority).map_err(|error| {
            Box::new(file.fault(
                error,
                "every certificate in the file must be an authority's",
            ))
        })?;
    }
    Ok(Arc::new(store))
}

fn client(outbound: &conf::Outbound, expiries: &mut Vec<Expiry>) -> Result<Client, Fault> {
    let certificate = match &outbound.certificate {
        None => None,
        Some(files) => {
            let key = certificate::load(files, &provider())?;
            expiries.extend(Expiry::of("outbound", &files.chain.value, &key));
            Some(key)
        }
    };
    Ok(match &outbound.roots {
        Some(file) => Client::Roots(roots(file)?, certificate),
        None => Client::System(certificate),
    })
}

impl Loaded {
    /// Says which certificates are over, or soon will be.
    pub(crate) fn remark(&self, now: jiff::Timestamp) {
        for expiry in &self.expiries {
            let (file, listener) = (&expiry.file, &expiry.listener);
            match expiry.days_left(now) {
                ..0 => {
                    tracing::error!(file, listener, "the certificate has ended; peers refuse it");
                }
                days @ 0..SOON => tracing::warn!(file, listener, days, "the certificate ends soon"),
                _ => {}
            }
        }
    }

    /// The client side. The system's authorities are read here; without any, nobody proves a name to us.
    pub(crate) fn client(&self) -> Option<Arc<ClientConfig>> {
        let (roots, certificate) = match self.client.as_ref()? {
            Client::Roots(roots, certificate) => (Arc::clone(roots), certificate),
            Client::System(certificate) => {
                let mut store = RootCertStore::empty();
                let system = rustls_native_certs::load_native_certs();
                store.add_parsable_certificates(system.certs);
                (Arc::new(store), certificate)
            }
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .ok()?
            .with_root_certificates(roots);
        Some(Arc::new(match certificate {
            None => builder.with_no_client_auth(),
            Some(key) => builder.with_client_cert_resolver(Arc::new(Shown(Arc::clone(key)))),
        }))
    }
}

/// Our certificate, for whoever asks for one.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl rustls::client::ResolvesClientCert for Shown {
    fn resolve(
        &self,
        _: &[&[u8]],
        schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.0
            .key
            .choose_scheme(schemes)
            .is_some()
            .then(|| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// One word on why a handshake failed, for metrics. Bounded: these and no others.
pub(crate) fn reason(error: &rustls::Error) -> &'static str {
    use rustls::{AlertDescription as Alert, Error, PeerIncompatible};
    match error {
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "version",
        Error::PeerIncompatible(_) => "no-common-parameters",
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => "certificate",
        Error::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::UnsupportedCertificate,
        ) => "our-certificate-refused",
        Error::AlertReceived(Alert::ProtocolVersion) => "version",
        Error::AlertReceived(_) => "alert",
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => "not-tls",
        Error::NoApplicationProtocol => "application-protocol",
        _ => "other",
    }
}

/// The certificate a peer proved to have, when one was asked for.
pub(crate) fn proved(chain: Option<&[CertificateDer<'_>]>) -> Vec<String> {
    chain.and_then(<[_]>::first).map(names).unwrap_or_default()
}
