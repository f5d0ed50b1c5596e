//! SIP over TLS through the built binary: handshakes, names, client certificates, reload, and faulty files.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ED25519, SignatureAlgorithm,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};

use super::calls::{SOON, becomes, move_in, phone, sample};
use super::ua::Ua;
use super::wire::{Client, Wire, tls};
use super::{Server, command, get, log_until, options, serve_with, signal, write_house};

/// Who vouches for certificates in a test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for names, and its key, as PEM.
    pub(crate) fn issue(&self, names: &[&str]) -> (String, String) {
        self.issue_as(names, &PKCS_ECDSA_P256_SHA256)
    }

    fn issue_as(&self, names: &[&str], algorithm: &'static SignatureAlgorithm) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes `NAME.pem` and `NAME.key` for the server's names.
    pub(crate) fn write(&self, dir: &Path, file: &str, names: &[&str]) {
        let (certificate, key) = self.issue(names);
        std::fs::write(dir.join(format!("{file}.pem")), certificate).unwrap();
        std::fs::write(dir.join(format!("{file}.key")), key).unwrap();
    }

    /// A client that believes this authority.
    pub(crate) fn client(&self) -> Client {
        self.client_of(rustls::ALL_VERSIONS, None)
    }

    fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        shown: Option<(String, String)>,
    ) -> Client {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        })
    }
}

/// A TCP port nobody has now.
pub(crate) fn free() -> String {
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    probe.local_addr().unwrap().to_string()
}

/// A house with accounts and a TLS listener more.
pub(crate) fn house(dir: &Path, authority: &Authority, more: &str) -> (Server, String) {
    move_in(dir);
    authority.write(dir, "server", &["doorward.local"]);
    std::fs::write(dir.join("ca.pem"), &authority.pem).unwrap();
    let address = free();
    let conf = format!(
        "[[listen]]\ntransport = \"tls\"\naddress = \"{address}\"\ncertificate = \"server.pem\"\n\
         key = \"server.key\"\n{more}"
    );
    (serve_with(dir, &conf), address)
}

fn ask_options(stream: &mut (impl Read + Write)) -> String {
    stream.write_all(options("TLS").as_bytes()).unwrap();
    let mut answer = [0; 4_096];
    let length = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

fn registers(user: &str, stream: impl FnOnce() -> super::wire::TlsStream, server: &str) -> u16 {
    let stream = stream();
    let local = stream.sock.local_addr().unwrap();
    Ua::over(user, Wire::stream(Box::new(stream)), local, server).register()
}

#[test]
fn a_phone_over_tls_gets_1_3_with_a_post_quantum_key_exchange() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (server, address) = house(dir.path(), &authority, "");
    let mut stream = tls(&address, "doorward.local", &authority.client()).unwrap();
    let group = stream.conn.negotiated_key_exchange_group().unwrap();
    assert_eq!(format!("{:?}", group.name()), "X25519MLKEM768");
    assert_eq!(
        stream.conn.protocol_version(),
        Some(ProtocolVersion::TLSv1_3)
    );
    let answer = ask_options(&mut stream);
    assert!(answer.starts_with("SIP/2.0 "), "{answer}");
    assert!(answer.contains("Via: SIP/2.0/TLS "), "{answer}");
    assert_eq!(registers("desk-1", || stream, &address), 200);
    let text = becomes(&server, "/metrics", |text| {
        text.contains("doorward_tls_sessions_total{version=\"1.3\",group=\"X25519MLKEM768\"} 1")
    });
    let days = sample(&text, "doorward_certificate_days_left{").unwrap();
    assert!(days > 365, "{days}");
    assert!(text.contains("file=\"server.pem\""));
}

#[test]
fn an_old_door_is_served_where_the_listener_says_so_and_refused_elsewhere() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let old = free();
    let more = format!(
        "[[listen]]\ntransport = \"tls\"\naddress = \"{old}\"\ncertificate = \"server.pem\"\n\
         key = \"server.key\"\nmin-version = \"1.2\"\n"
    );
    let (server, address) = house(dir.path(), &authority, &more);
    let client = authority.client_of(&[&rustls::version::TLS12], None);
    assert!(tls(&address, "doorward.local", &client).is_err());
    let mut stream = tls(&old, "doorward.local", &client).unwrap();
    assert_eq!(
        stream.conn.protocol_version(),
        Some(ProtocolVersion::TLSv1_2)
    );
    assert!(ask_options(&mut stream).starts_with("SIP/2.0 "));
    let modern = tls(&old, "doorward.local", &authority.client()).unwrap();
    assert_eq!(
        modern.conn.protocol_version(),
        Some(ProtocolVersion::TLSv1_3)
    );
    becomes(&server, "/metrics", |text| {
        text.contains("doorward_handshakes_failed_total{transport=\"tls\",reason=\"version\"} 1")
            && text.contains("doorward_tls_sessions_total{version=\"1.2\"")
    });
}

#[test]
fn clear_text_at_a_tls_port_is_cut_off_and_nothing_of_it_is_served() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (server, address) = house(dir.path(), &authority, "");
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(options("TLS").as_bytes()).unwrap();
    let mut answer = Vec::new();
    // An alert at most; never SIP.
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"SIP"), "{answer:?}");
    becomes(&server, "/metrics", |text| {
        text.contains("doorward_handshakes_failed_total{transport=\"tls\",reason=\"not-tls\"} 1")
    });
}

#[test]
fn a_client_that_names_a_server_gets_the_certificate_of_that_name() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.write(dir.path(), "other", &["other.example", "*.doors.example"]);
    let two = free();
    let more = format!(
        "[[listen]]\ntransport = \"tls\"\naddress = \"{two}\"\n\
         certificate = [\"server.pem\", \"other.pem\"]\nkey = [\"server.key\", \"other.key\"]\n"
    );
    let (_server, _) = house(dir.path(), &authority, &more);
    for name in ["doorward.local", "other.example", "lobby.doors.example"] {
        // The client itself checks that the name is proved.
        assert!(tls(&two, name, &authority.client()).is_ok(), "{name}");
    }
    assert!(tls(&two, "stranger.example", &authority.client()).is_err());
}

#[test]
fn a_renewed_certificate_is_taken_without_dropping_a_connection() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (mut server, address) = house(dir.path(), &authority, "");
    let mut log = BufReader::new(server.child.stderr.take().unwrap());
    let mut before = tls(&address, "doorward.local", &authority.client()).unwrap();
    assert!(ask_options(&mut before).starts_with("SIP/2.0 "));
    // A damaged file changes nothing, and says where it stands.
    std::fs::write(dir.path().join("server.pem"), "nonsense").unwrap();
    signal(&server, Signal::SIGHUP);
    let said = log_until(&mut log, "holds no certificate");
    assert!(said.contains("reload refused"), "{said}");
    assert!(tls(&address, "doorward.local", &authority.client()).is_ok());
    let renewed = Authority::new();
    renewed.write(dir.path(), "server", &["doorward.local"]);
    signal(&server, Signal::SIGHUP);
    log_until(&mut log, "reloaded");
    let deadline = Instant::now() + SOON;
    while tls(&address, "doorward.local", &renewed.client()).is_err() {
        assert!(
            Instant::now() < deadline,
            "the new certificate is not shown"
        );
    }
    assert!(tls(&address, "doorward.local", &authority.client()).is_err());
    assert!(
        ask_options(&mut before).starts_with("SIP/2.0 "),
        "the old connection lives"
    );
}

#[test]
fn a_client_certificate_is_one_account_and_no_other() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let more = "client-ca = \"ca.pem\"\n[[trusted]]\ncertificate = \"desk.example\"\naccount = \"desk-1\"\n";
    let (server, address) = house(dir.path(), &authority, more);
    let connect = |shown: Option<(String, String)>| {
        let client = authority.client_of(rustls::ALL_VERSIONS, shown);
        tls(&address, "doorward.local", &client)
    };
    // Known by its certificate: no password is asked for, whatever name it gives itself.
    let stream = connect(Some(authority.issue(&["desk.example"]))).unwrap();
    let local = stream.sock.local_addr().unwrap();
    let mut desk = Ua::over("desk-1", Wire::stream(Box::new(stream)), local, &address);
    assert_eq!(desk.register_without_password(), 200);
    let stream = connect(Some(authority.issue(&["desk.example"]))).unwrap();
    let local = stream.sock.local_addr().unwrap();
    let mut other = Ua::over("desk-2", Wire::stream(Box::new(stream)), local, &address);
    assert_eq!(
        other.register_without_password(),
        403,
        "it speaks for desk-1 alone"
    );
    // A certificate of a name nobody knows, or none: the password it is.
    for shown in [Some(authority.issue(&["stranger.example"])), None] {
        let stream = connect(shown).unwrap();
        let local = stream.sock.local_addr().unwrap();
        let mut phone = Ua::over("desk-2", Wire::stream(Box::new(stream)), local, &address);
        assert_eq!(phone.register_without_password(), 401);
        assert_eq!(phone.register(), 200);
    }
    // Vouched for by somebody else: no connection. In TLS 1.3 the client hears of it with its first read.
    let foreign = Authority::new().issue(&["desk.example"]);
    let refused = connect(Some(foreign)).and_then(|mut stream| {
        stream.write_all(options("TLS").as_bytes())?;
        stream.read(&mut [0; 64]).map(|_| ())
    });
    assert!(refused.is_err(), "{refused:?}");
    becomes(&server, "/metrics", |text| {
        text.contains(
            "doorward_handshakes_failed_total{transport=\"tls\",reason=\"certificate\"} 1",
        )
    });
}

#[test]
fn a_certificate_taken_out_at_a_reload_is_worth_nothing_at_once() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let entry = "[[trusted]]\ncertificate = \"desk.example\"\naccount = \"desk-1\"\n";
    let more = format!("client-ca = \"ca.pem\"\n{entry}");
    let (mut server, address) = house(dir.path(), &authority, &more);
    let mut log = BufReader::new(server.child.stderr.take().unwrap());
    let shown = Some(authority.issue(&["desk.example"]));
    let client = authority.client_of(rustls::ALL_VERSIONS, shown);
    let stream = tls(&address, "doorward.local", &client).unwrap();
    let local = stream.sock.local_addr().unwrap();
    let mut desk = Ua::over("desk-1", Wire::stream(Box::new(stream)), local, &address);
    assert_eq!(desk.register_without_password(), 200);
    let config = dir.path().join("doorward.toml");
    let written = std::fs::read_to_string(&config).unwrap();
    assert!(written.contains(entry));
    std::fs::write(&config, written.replace(entry, "")).unwrap();
    signal(&server, Signal::SIGHUP);
    log_until(&mut log, "reloaded");
    let deadline = Instant::now() + SOON;
    while desk.register_without_password() != 401 {
        assert!(Instant::now() < deadline, "it is still believed");
    }
}

#[test]
fn a_call_goes_from_a_phone_by_udp_to_one_by_tls() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (server, address) = house(dir.path(), &authority, "");
    let stream = tls(&address, "doorward.local", &authority.client()).unwrap();
    let local = stream.sock.local_addr().unwrap();
    let mut desk = Ua::over("desk-1", Wire::stream(Box::new(stream)), local, &address);
    assert_eq!(desk.register(), 200);
    let mut door = phone("lobby", &server);
    let desk = std::thread::spawn(move || {
        let dialog = desk.take(SOON).expect("no call");
        assert!(
            dialog.remote_target.contains(";transport=tls"),
            "{}",
            dialog.remote_target
        );
        assert!(desk.hung_up(SOON));
    });
    let call = door.call("desk");
    let (status, dialog) = door.answered(&call);
    assert_eq!(status, 200);
    assert_eq!(door.hang_up(&mut dialog.unwrap()), 200);
    desk.join().unwrap();
}

#[test]
fn a_faulty_certificate_is_a_fault_of_the_configuration_with_its_line() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let path = dir.path();
    authority.write(path, "server", &["doorward.local"]);
    authority.write(path, "other", &["doorward.local"]);
    let (ed25519, ed25519_key) = authority.issue_as(&["doorward.local"], &PKCS_ED25519);
    std::fs::write(path.join("ed25519.pem"), ed25519).unwrap();
    std::fs::write(path.join("ed25519.key"), ed25519_key).unwrap();
    std::fs::write(path.join("empty.pem"), "").unwrap();
    std::fs::write(
        path.join("wild.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    std::fs::write(
        path.join("locked.key"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    std::fs::write(
        path.join("odd.key"),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    let check = |certificate: &str, key: &str, more: &str| {
        let address = free();
        let listen = format!(
            "[[listen]]\ntransport = \"tls\"\naddress = \"{address}\"\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n{more}"
        );
        write_house(path, &free(), &listen);
        let output = Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(["config", "check", "--config"])
            .arg(path.join("doorward.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    for (certificate, key, more, words) in [
        ("none.pem", "server.key", "", "cannot read"),
        ("empty.pem", "server.key", "", "holds no certificate"),
        ("wild.pem", "server.key", "", "cannot be read"),
        ("server.pem", "server.pem", "", "holds no private key"),
        ("server.pem", "locked.key", "", "the key is encrypted"),
        ("server.pem", "odd.key", "", "this key cannot be used"),
        (
            "server.pem",
            "other.key",
            "",
            "the key is not the one of the certificate",
        ),
        (
            "server.pem",
            "server.key",
            "client-ca = \"empty.pem\"",
            "holds no certificate",
        ),
        (
            "server.pem",
            "server.key",
            "[tls]\nroots = \"none.pem\"",
            "cannot read",
        ),
    ] {
        let (code, said) = check(certificate, key, more);
        assert_eq!(code, Some(1), "{certificate} {key}: {said}");
        assert!(said.contains(words), "{certificate} {key}: {said}");
        assert!(said.contains("doorward.toml:"), "{said}");
        assert!(said.contains("^^^"), "{said}");
    }
    assert_eq!(check("ed25519.pem", "ed25519.key", "").0, Some(0));
    // Nothing half-starts: no port is bound.
    check("server.pem", "other.key", "");
    let output = command(path).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}

#[test]
fn five_hundred_idle_connections_are_closed_while_phones_are_served() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let websocket = free();
    let more = format!(
        "[[listen]]\ntransport = \"ws\"\naddress = \"{websocket}\"\n[limits]\nconnections-per-source = 600\n\
         requests-per-source = 10000\nconnection-first-message = \"4s\"\nconnection-handshake = \"2s\"\n"
    );
    let (server, address) = house(dir.path(), &authority, &more);
    let client = authority.client();
    let mut idle: Vec<TcpStream> = Vec::new();
    for n in 0..500 {
        let to = [&server.sip, &address, &websocket][n % 3];
        let mut stream = TcpStream::connect(to).unwrap();
        match n % 4 {
            // A handshake and an upgrade begun, a message begun, and nothing at all.
            0 => stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1]).unwrap(),
            1 => stream.write_all(b"GET /sip HTTP/1.1\r\nHost: a").unwrap(),
            2 => stream.write_all(b"OPTIONS sip:a SIP/2.0\r\nVia:").unwrap(),
            _ => {}
        }
        idle.push(stream);
    }
    let finished = tls(&address, "doorward.local", &client).unwrap();
    idle.push(finished.sock.try_clone().unwrap());
    let began = Instant::now();
    // Octet by octet, for ever.
    let mut slow: Vec<TcpStream> = (0..9)
        .map(|n| TcpStream::connect([&server.sip, &address, &websocket][n % 3]).unwrap())
        .collect();
    // Served meanwhile, by every way.
    let mut desk = phone("desk-1", &server);
    let open = |text: &str| -> u64 {
        text.lines()
            .filter(|line| line.starts_with("doorward_connections_open{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    };
    loop {
        for (stream, octet) in slow.iter_mut().zip([b'G', 22, b'G'].iter().cycle()) {
            let _ = stream.write_all(&[*octet]);
        }
        assert_eq!(desk.register(), 200);
        let mut stream = tls(&address, "doorward.local", &client).unwrap();
        assert!(ask_options(&mut stream).starts_with("SIP/2.0 "));
        drop(stream);
        if open(&get(&server.http, "/metrics")) == 0 {
            break;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "idle connections stay"
        );
    }
    for stream in &mut idle {
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"SIP"));
    }
}
