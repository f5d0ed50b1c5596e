//! Certificate files: chain and key together, what is wrong with them in clear words, and when they end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use conf::Located;
use jiff::Timestamp;
use jiff::civil::DateTime;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

/// What is wrong with a file.
pub(super) type Fault = Box<conf::Error>;

/// Longest certificate file.
const LONGEST: u64 = 1 << 20;
const KEYS: &str = "an RSA key of 2048 to 8192 bits, an ECDSA key on P-256, P-384 or P-521, or Ed25519: \
    `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`";

/// When a certificate ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expiry {
    /// The listener that shows it: `tls 0.0.0.0:5061`.
    pub(crate) listener: String,
    /// Its file's name.
    pub(crate) file: String,
    /// The end.
    pub(crate) at: Timestamp,
}

impl Expiry {
    /// Of a certificate just loaded; `None` when its end cannot be read.
    pub(super) fn of(listener: &str, file: &Path, key: &CertifiedKey) -> Option<Self> {
        Some(Self {
            listener: listener.to_owned(),
            file: file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            at: not_after(key.end_entity_cert().ok()?)?,
        })
    }

    /// Whole days left; negative once it is over.
    pub(crate) fn days_left(&self, now: Timestamp) -> i64 {
        (self.at.as_second() - now.as_second()).div_euclid(86_400)
    }
}

/// Reads a chain and its key.
pub(super) fn load(
    files: &conf::Certificate,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Fault> {
    let chain = chain(&files.chain)?;
    let text = read(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        Box::new(if memmem(&text, b"ENCRYPTED") {
            files.key.fault(
                "the key is encrypted",
                "store it in the clear, readable by the server's user alone: `openssl pkey -in … -out …`",
            )
        } else {
            files.key.fault(
                format_args!("{} holds no private key", files.key.value.display()),
                "name a PEM file with a BEGIN PRIVATE KEY",
            )
        })
    })?;
    let kind = kind(&chain);
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        Box::new(files.key.fault(
            format_args!("this key cannot be used{kind}"),
            format!("make {KEYS}"),
        ))
    })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
        Err(Error::InconsistentKeys(_)) => Err(Box::new(files.key.fault(
            format_args!(
                "the key is not the one of the certificate in {}",
                files.chain.value.display()
            ),
            "name the key the certificate was made for; the server's own certificate stands first in its file",
        ))),
        Err(error) => Err(Box::new(files.chain.fault(error, "the server's own certificate (X.509 v3) stands first"))),
    }
}

/// The certificates of a file, at least one, each readable.
pub(super) fn chain(file: &Located<PathBuf>) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let text = read(file)?;
    let name = file.value.display();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            Box::new(file.fault(
                format_args!("{name} is damaged: {error}"),
                "copy the PEM file again, whole",
            ))
        })?;
    if chain.is_empty() {
        return Err(Box::new(file.fault(
            format_args!("{name} holds no certificate"),
            "name a PEM file with a BEGIN CERTIFICATE",
        )));
    }
    for certificate in &chain {
        webpki::EndEntityCert::try_from(certificate).map_err(|error| {
            Box::new(file.fault(
                format_args!("{name} holds a certificate that cannot be read: {error}"),
                "X.509 v3 is needed: `openssl x509 -noout -text` shows what it is",
            ))
        })?;
    }
    Ok(chain)
}

fn read(file: &Located<PathBuf>) -> Result<Vec<u8>, Fault> {
    let fault = |why: &dyn std::fmt::Display| {
        Box::new(file.fault(
            format_args!("cannot read {}: {why}", file.value.display()),
            "relative paths start at the configuration file's directory; the server's user must be able to read it",
        ))
    };
    match std::fs::metadata(&file.value) {
        Ok(metadata) if metadata.len() > LONGEST => {
            return Err(fault(&"it is too long for a certificate"));
        }
        Ok(_) => {}
        Err(error) => return Err(fault(&error)),
    }
    std::fs::read(&file.value).map_err(|error| fault(&error))
}

fn memmem(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// The names a certificate proves: DNS names and URIs of its subjectAltName (RFC 5922), lower case. The subject's common
/// name is none of them.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    certificate
        .valid_dns_names()
        .chain(certificate.valid_uri_names())
        .map(str::to_ascii_lowercase)
        .collect()
}

/// One DER element: tag, contents, what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = der else {
        return None;
    };
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(length & 0x0f))?;
            let length = octets
                .iter()
                .fold(0_usize, |length, octet| length << 8 | usize::from(*octet));
            (length, rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((*tag, contents, rest))
}

/// The fields of a TBSCertificate from the issuer's on (RFC 5280 section 4.1): validity, subject, key.
fn from_validity<'a>(certificate: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    if fields.first() == Some(&0xa0) {
        fields = element(fields)?.2;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    Some(fields)
}

/// Validity's notAfter (RFC 5280 section 4.1.2.5): `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` from then on.
fn not_after(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, validity, _) = element(from_validity(certificate)?)?;
    let (_, _, after) = element(validity)?;
    let (tag, time, _) = element(after)?;
    let digits = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    let text = match (tag, digits.len()) {
        (0x17, 12) if digits < "50" => format!("20{digits}"),
        (0x17, 12) => format!("19{digits}"),
        (0x18, 14) => digits.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", &text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// What kind of key a certificate is for, as words to add to a refusal.
fn kind(chain: &[CertificateDer<'_>]) -> String {
    let key = || {
        let fields = element(from_validity(chain.first()?)?)?.2;
        let (_, info, _) = element(element(fields)?.2)?;
        let (_, algorithm, key) = element(info)?;
        Some((algorithm, key))
    };
    let Some((algorithm, key)) = key() else {
        return String::new();
    };
    // rsaEncryption, id-dsa.
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01];
    match element(algorithm).map(|(_, oid, _)| oid) {
        Some(RSA) => format!(": RSA of about {} bits", key.len() * 8 / 256 * 256),
        Some(DSA) => ": DSA".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_bounded_by_what_there_is() {
        assert_eq!(element(&[4, 2, 1, 2, 9]), Some((4, &[1, 2][..], &[9][..])));
        assert_eq!(element(&[4, 0x81, 1, 7]), Some((4, &[7][..], &[][..])));
        for wrong in [
            &[][..],
            &[4],
            &[4, 3, 1],
            &[4, 0x85, 0, 0, 0, 0, 1],
            &[4, 0x82, 1],
        ] {
            assert_eq!(element(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        for (year, written) in [(2031, 0x17), (2061, 0x18)] {
            let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 3, 9);
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            let at = not_after(certificate.der()).unwrap();
            assert_eq!(
                at.to_string(),
                format!("{year}-03-09T00:00:00Z"),
                "{written:x}"
            );
            let expiry = Expiry {
                listener: String::new(),
                file: String::new(),
                at,
            };
            let day = 86_400;
            let before = Timestamp::from_second(at.as_second() - 3 * day - 5).unwrap();
            let after = Timestamp::from_second(at.as_second() + 5).unwrap();
            assert_eq!((expiry.days_left(before), expiry.days_left(after)), (3, -1));
        }
    }

    #[test]
    fn names_are_those_of_the_alternative_name() {
        let mut params = rcgen::CertificateParams::new(vec!["Lobby.example".to_owned()]).unwrap();
        let uri = "sip:lobby@example.org".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(
            names(certificate.der()),
            ["lobby.example", "sip:lobby@example.org"]
        );
    }
}
