//! `[[listen]]`, `[tls]` and peers known by certificate: what is accepted, and what the faults look like.

use std::path::{Path, PathBuf};

use conf::{Files, Resolved, TlsVersion, Transport};

/// No file is read for these.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }

    fn list(&self, _: &Path) -> Result<Vec<PathBuf>, String> {
        Err("no such directory".to_owned())
    }
}

fn load(text: &str) -> Result<Resolved, String> {
    conf::load(Path::new("etc/doorward.toml"), text, &NoFiles).map_err(|errors| errors.to_string())
}

#[test]
fn tls_and_websocket_listeners_resolve() {
    let resolved = load(
        r#"
        [[listen]]
        transport = "tls"
        address = "0.0.0.0:5061"
        certificate = ["a.pem", "/etc/b.pem"]
        key = ["a.key", "b.key"]
        client-ca = "ca.pem"
        min-version = "1.2"
        [[listen]]
        transport = "wss"
        address = "[::]:8443"
        certificate = "both.pem"
        origins = ["https://Intercom.example.org"]
        [[listen]]
        transport = "ws"
        address = "127.0.0.1:8080"
        [[trusted]]
        certificate = "Lobby.example.org"
        account = "lobby"
        [tls]
        roots = "roots.pem"
        "#,
    )
    .unwrap();
    let [tls, wss, ws] = &resolved.listeners[..] else {
        panic!("{resolved:?}")
    };
    let side = tls.tls.as_ref().unwrap();
    let files: Vec<_> = side
        .certificates
        .iter()
        .map(|c| (c.chain.value.as_path(), c.key.value.as_path()))
        .collect();
    assert_eq!(
        files,
        [
            (Path::new("etc/a.pem"), Path::new("etc/a.key")),
            (Path::new("/etc/b.pem"), Path::new("etc/b.key")),
        ]
    );
    assert_eq!(side.min_version, TlsVersion::V1_2);
    assert_eq!(
        side.client_ca.as_ref().unwrap().value,
        Path::new("etc/ca.pem")
    );
    let side = wss.tls.as_ref().unwrap();
    assert_eq!(side.min_version, TlsVersion::V1_3, "unless asked otherwise");
    assert_eq!(side.certificates[0].key.value, Path::new("etc/both.pem"));
    assert_eq!(wss.origins, ["https://intercom.example.org"]);
    assert_eq!((ws.transport, ws.tls.is_none()), (Transport::Ws, true));
    assert!(ws.origins.is_empty(), "no page may connect unless named");
    assert_eq!(resolved.certified["lobby.example.org"], "lobby");
    assert_eq!(
        resolved.outbound.roots.unwrap().value,
        Path::new("etc/roots.pem")
    );
}

#[test]
fn tls_without_a_certificate_says_what_to_add() {
    insta::assert_snapshot!(
        load("[[listen]]\ntransport = \"tls\"\naddress = \"0.0.0.0:5061\"\n").unwrap_err(),
        @r#"
    error: `listen[0].certificate`: TLS needs one
      --> etc/doorward.toml:2:13
       |
     2 | transport = "tls"
       |             ^^^^^ add certificate = "server.pem" (PEM, the server's own first) and key = "server.key"
    "#
    );
}

#[test]
fn each_fault_names_its_key_and_the_next_step() {
    let tls =
        "[[listen]]\ntransport = \"tls\"\naddress = \"0.0.0.0:5061\"\ncertificate = \"a.pem\"\n";
    let tcp = "[[listen]]\ntransport = \"tcp\"\naddress = \"0.0.0.0:5061\"\n";
    let ws = "[[listen]]\ntransport = \"ws\"\naddress = \"0.0.0.0:8080\"\n";
    for (text, said, line) in [
        (
            format!("{tcp}certificate = \"a.pem\""),
            "nothing is encrypted on TCP",
            4,
        ),
        (
            format!("{tcp}min-version = \"1.2\""),
            "nothing is encrypted on TCP",
            4,
        ),
        (
            format!("{tcp}origins = []"),
            "no web page connects to TCP",
            4,
        ),
        (
            format!("{tls}min-version = \"1.1\""),
            "older ones are broken",
            5,
        ),
        (
            format!("{tls}key = [\"a.key\", \"b.key\"]"),
            "2 keys for 1 certificates",
            5,
        ),
        (
            format!("{tls}origins = [\"https://a\"]"),
            "no web page connects to TLS",
            5,
        ),
        (format!("{ws}origins = [\"https://a/phone\"]"), "no path", 4),
        (format!("{ws}origins = [\"*\"]"), "not an origin", 4),
        (
            format!("{tls}{tcp}"),
            "TCP usually has port 5060; TLS is there already",
            7,
        ),
        (
            "[tls]\nkey = \"a.key\"".to_owned(),
            "a key without certificate",
            2,
        ),
        (
            format!("{tls}[[trusted]]\ncertificate = \"lobby\"\naccount = \"lobby\""),
            "add client-ca",
            6,
        ),
        (
            format!(
                "{tls}client-ca = \"ca.pem\"\n[[trusted]]\ncertificate = \"*.example\"\naccount = \"lobby\""
            ),
            "not one station's name",
            7,
        ),
        (
            "[[trusted]]\naccount = \"lobby\"".to_owned(),
            "write either address",
            1,
        ),
        (
            "[[trusted]]\naddress = \"192.0.2.1\"\ncertificate = \"lobby\"\naccount = \"lobby\""
                .to_owned(),
            "write either address",
            1,
        ),
        (
            "[[listen]]\ntransport = \"sctp\"\naddress = \"0.0.0.0:5060\"".to_owned(),
            "`wss`",
            2,
        ),
        (format!("{tls}key = 5"), "a file name or a list of them", 5),
    ] {
        let errors = load(&text).unwrap_err();
        assert!(errors.contains(said), "{text}\n{errors}");
        assert!(
            errors.contains(&format!("doorward.toml:{line}:")),
            "{text}\n{errors}"
        );
    }
}
