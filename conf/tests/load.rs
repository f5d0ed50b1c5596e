//! What a configuration file gives, and what its faults look like to the person who made them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conf::{Files, Resolved, Transport};

/// Files by name.
#[derive(Default)]
struct Map(BTreeMap<PathBuf, String>);

impl Files for Map {
    fn read(&self, path: &Path) -> Result<String, String> {
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| "no such file".to_owned())
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, String> {
        let paths: Vec<_> = self
            .0
            .keys()
            .filter(|path| path.parent() == Some(directory))
            .cloned()
            .collect();
        if paths.is_empty() {
            Err("no such directory".to_owned())
        } else {
            Ok(paths)
        }
    }
}

fn load_with(text: &str, files: &[(&str, &str)]) -> Result<Resolved, String> {
    let files = Map(files
        .iter()
        .map(|(path, text)| (path.into(), (*text).to_owned()))
        .collect());
    conf::load(Path::new("etc/doorward.toml"), text, &files).map_err(|errors| errors.to_string())
}

fn load(text: &str) -> Result<Resolved, String> {
    load_with(text, &[])
}

fn shipped() -> Vec<(&'static str, &'static str)> {
    vec![
        ("etc/stations/2n.toml", include_str!("../stations/2n.toml")),
        (
            "etc/stations/akuvox.toml",
            include_str!("../stations/akuvox.toml"),
        ),
        (
            "etc/stations/generic.toml",
            include_str!("../stations/generic.toml"),
        ),
    ]
}

#[test]
fn a_session_interval_shorter_than_its_minimum_is_a_fault_and_zero_is_none() {
    let sip = |lines: &str| {
        let text = format!("[site]\nname = \"elm\"\ndomains = [\"elm.example\"]\n[sip]\n{lines}");
        load_with(&text, &shipped())
    };
    let fault = sip("session-expires = \"100s\"\nmin-se = \"2m\"").unwrap_err();
    assert!(fault.contains("sip.session-expires"), "{fault}");
    assert!(sip("min-se = \"30s\"").unwrap_err().contains("sip.min-se"));
    let off = sip("session-expires = \"0s\"").unwrap();
    assert!(off.sip.session_expires.is_zero());
}

#[test]
fn the_shipped_file_resolves_and_shows_the_defaults() {
    let shipped = load_with(include_str!("../doorward.toml"), &shipped()).unwrap();
    let bare = load("[site]\nname = \"elm-court\"").unwrap();
    assert_eq!(
        format!("{shipped:#?}"),
        format!("{bare:#?}"),
        "a commented default differs from the real one"
    );
    assert_eq!(shipped.listeners.len(), 2);
    assert_eq!(shipped.listeners[1].transport, Transport::Tcp);
    assert_eq!(shipped.plan, Path::new("etc/plan.kdl"));
    assert_eq!(shipped.audit.commit_within, Duration::from_millis(500));
}

#[test]
fn the_shipped_file_with_its_examples_uncommented_resolves() {
    let text: String = include_str!("../doorward.toml")
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            // The listeners beside the usual two, with what belongs to them, have a test of their own (`listen.rs`).
            Some(code) if code.starts_with('[') || code.contains(" = ") => {
                code.replace(
                    "tls-pin = \"…\"",
                    &format!("tls-pin = \"{}\"", "ab".repeat(32)),
                ) + "\n"
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let mut files = shipped();
    files.push(("etc/lobby.password", "correct horse\n"));
    files.push(("etc/trunk-a.password", "swordfish\n"));
    files.push(("etc/http.token", "0123456789abcdef\n"));
    let resolved = load_with(&text, &files).unwrap_or_else(|e| panic!("{e}"));
    let lobby = &resolved.doors["lobby"];
    assert_eq!(lobby.password.as_ref().unwrap().expose(), "correct horse");
    assert_eq!(lobby.tls_pin, Some([0xab; 32]));
    assert_eq!(
        resolved.trusted.values().collect::<Vec<_>>(),
        ["door-lobby"]
    );
    assert!(
        !format!("{resolved:?}").contains("correct horse"),
        "the password shows in Debug output"
    );
}

#[test]
fn an_unknown_key_gets_the_nearest_one() {
    insta::assert_snapshot!(load("[limits]\ncals = 5\n").unwrap_err(), @r"
    error: unknown key `cals` in limits
      --> etc/doorward.toml:2:1
       |
     2 | cals = 5
       | ^^^^ did you mean `calls`?
    ");
}

#[test]
fn an_unknown_key_near_nothing_lists_what_is_known() {
    insta::assert_snapshot!(load("[plan]\ncolour = 5\n").unwrap_err(), @r"
    error: unknown key `colour` in plan
      --> etc/doorward.toml:2:1
       |
     2 | colour = 5
       | ^^^^^^ known here: file
    ");
}

#[test]
fn an_unknown_key_inside_a_list_is_named_with_its_place() {
    let text = "[[listen]]\ntransport = \"udp\"\naddress = \"0.0.0.0:5060\"\n\n[[listen]]\ntransport = \"tcp\"\nadress = \"0.0.0.0:5060\"\n";
    insta::assert_snapshot!(load(text).unwrap_err(), @r#"
    error: unknown key `adress` in listen[1]
      --> etc/doorward.toml:7:1
       |
     7 | adress = "0.0.0.0:5060"
       | ^^^^^^ did you mean `address`?
    "#);
}

#[test]
fn a_wrong_type_shows_line_key_and_caret() {
    insta::assert_snapshot!(load("[sip]\nt1 = 500\n").unwrap_err(), @r"
    error: `sip.t1`: invalid type: integer `500`, expected a string
      --> etc/doorward.toml:2:6
       |
     2 | t1 = 500
       |      ^^^
    ");
    insta::assert_snapshot!(load("[sip]\nt1 = \"fast\"\n").unwrap_err(), @r#"
    error: `sip.t1`: `fast` is not a length of time: write "500ms", "20s", "5m", "2h" or "1d"
      --> etc/doorward.toml:2:6
       |
     2 | t1 = "fast"
       |      ^^^^^^
    "#);
}

#[test]
fn a_fault_at_a_password_does_not_show_it() {
    for wrong in [
        "pasword = \"swordfish\"",
        "password = 4711",
        "password = \"swordfish\"\npassword-file = \"x\"",
    ] {
        let text = load(&format!("[door.lobby]\n{wrong}\n")).unwrap_err();
        assert!(
            !text.contains("swordfish") && !text.contains("4711"),
            "{text}"
        );
    }
}

#[test]
fn broken_syntax_shows_where() {
    let text = load("[site]\nname = \"elm\n").unwrap_err();
    assert!(text.contains("etc/doorward.toml:2:"), "{text}");
}

#[test]
fn every_fault_is_reported_in_one_pass() {
    let text = r#"
[site]
domains = []
[media]
ports = "5060-5070"
[limits]
calls = 0
[door.lobby]
url = "ftp://lobby"
user = "u"
"#;
    let text = load(text).unwrap_err();
    for key in [
        "site.domains",
        "media.ports",
        "limits.calls",
        "door.lobby.url",
        "door.lobby.user",
    ] {
        assert!(
            text.contains(&format!("`{key}`")),
            "{key} is missing in\n{text}"
        );
    }
}

#[test]
fn a_record_may_not_take_longer_than_its_unlock_waits() {
    let text = load("[audit]\ncommit-within = \"1600ms\"\n").unwrap_err();
    assert!(text.contains("`audit.commit-within`"), "{text}");
    let longest = load("[audit]\ncommit-within = \"1500ms\"\n").unwrap();
    assert_eq!(longest.audit.commit_within, conf::Audit::LONGEST_COMMIT);
}

#[test]
fn a_registered_connection_outlives_its_registration_and_the_idle_time() {
    let resolved = load("[sip]\nregister-max = \"2h\"\n").unwrap();
    assert_eq!(
        resolved.limits.connection_first_message,
        Duration::from_secs(20)
    );
    assert_eq!(resolved.limits.connection_idle, Duration::from_secs(900));
    assert_eq!(resolved.registered_idle(), Duration::from_secs(7_500));
    let patient = load("[limits]\nconnection-idle = \"5h\"\n").unwrap();
    assert_eq!(patient.registered_idle(), Duration::from_secs(18_000));
}

#[test]
fn the_port_range_must_hold_the_calls_and_keep_off_sip() {
    let narrow = load("[media]\nports = \"30000-30099\"\n").unwrap_err();
    assert!(
        narrow.contains("room for 50 legs, but limits.calls = 500 needs 1000"),
        "{narrow}"
    );
    let over = load("[media]\nports = \"4000-7999\"\n").unwrap_err();
    assert!(over.contains("holds the SIP port 5060"), "{over}");
    assert!(load("[media]\nports = \"30000-30099\"\n[limits]\ncalls = 25\n").is_ok());
}

#[test]
fn an_advertised_address_must_be_reachable_and_of_the_same_family() {
    let listen = |advertise: &str| {
        load(&format!(
            "[[listen]]\ntransport = \"udp\"\naddress = \"0.0.0.0:5060\"\nadvertise = \"{advertise}\"\n"
        ))
    };
    assert!(
        listen("0.0.0.0")
            .unwrap_err()
            .contains("nobody can send there")
    );
    assert!(
        listen("2001:db8::1")
            .unwrap_err()
            .contains("nobody can send there")
    );
    let resolved = listen("192.0.2.1").unwrap();
    assert_eq!(
        resolved.listeners[0].advertise.unwrap().to_string(),
        "192.0.2.1:5060"
    );
    assert_eq!(
        resolved.media.addresses[0].advertise.unwrap().to_string(),
        "192.0.2.1"
    );
}

#[test]
fn a_listener_named_twice_is_refused() {
    let one = "[[listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:5060\"\n";
    assert!(
        load(&one.repeat(2))
            .unwrap_err()
            .contains("listened on twice")
    );
}

#[test]
fn a_pin_needs_tls_and_a_password_comes_once() {
    let pin = format!(
        "[door.lobby]\nurl = \"http://192.0.2.20\"\ntls-pin = \"{}\"\n",
        "00".repeat(32)
    );
    assert!(load(&pin).unwrap_err().contains("a pin without TLS"));
    let twice = "[door.lobby]\nuser = \"u\"\npassword = \"a\"\npassword-file = \"b\"\n";
    let text = load(twice).unwrap_err();
    assert!(
        text.contains("given twice") && !text.contains("a pin"),
        "{text}"
    );
    assert!(
        load("[door.lobby]\nuser = \"u\"\npassword-file = \"gone\"\n")
            .unwrap_err()
            .contains("no such file")
    );
}

#[test]
fn a_fault_in_a_station_file_names_that_file() {
    let files = [(
        "etc/stations/acme.toml",
        "title = \"Acme\"\n[sip]\ncodec = []\n",
    )];
    insta::assert_snapshot!(load_with("[stations]\ndir = \"stations\"\n", &files).unwrap_err(), @r"
    error: unknown key `codec` in sip
      --> etc/stations/acme.toml:3:1
       |
     3 | codec = []
       | ^^^^^ did you mean `codecs`?
    ");
}

#[test]
fn a_station_file_wins_over_the_built_in_profile() {
    let files = [("etc/stations/2n.toml", "title = \"Ours\"\n")];
    let resolved = load_with("[stations]\ndir = \"stations\"\n", &files).unwrap();
    assert_eq!(resolved.stations["2n"].title, "Ours");
    assert!(resolved.stations.contains_key("akuvox"));
}

#[test]
fn the_trace_is_bounded_and_its_collector_needs_a_port() {
    let resolved =
        load("[trace]\nkeep = \"all\"\nmemory-kib = 16\nhep = \"homer.example:9060\"\n").unwrap();
    assert_eq!(resolved.trace.keep, conf::Keep::All);
    assert_eq!(resolved.trace.memory, 16 * 1024);
    let hep = resolved.trace.hep.unwrap();
    assert!(hep.redact, "redacted unless told otherwise");
    assert_eq!(
        (hep.address.as_str(), hep.id),
        ("homer.example:9060", 2_001)
    );
    let refused = load("[trace]\nhep = \"homer.example\"\n").unwrap_err();
    assert!(
        refused.contains("`trace.hep`: not a host and port"),
        "{refused}"
    );
    let refused = load("[trace]\nkeep = \"some\"\n").unwrap_err();
    assert!(refused.contains("trace.keep"), "{refused}");
    let refused = load("[limits]\nqueue-delay = \"2s\"\n").unwrap_err();
    assert!(refused.contains("`limits.queue-delay`"), "{refused}");
}

#[test]
fn a_token_that_can_be_guessed_is_refused() {
    let with = |token: &str| {
        load_with(
            "[http]\ntoken-file = \"http.token\"\n",
            &[("etc/http.token", token)],
        )
    };
    assert!(with("secret\n").unwrap_err().contains("too short"));
    let token = with("0123456789abcdef0123\n").unwrap().http_token.unwrap();
    assert_eq!(token.expose(), "0123456789abcdef0123");
}

#[test]
fn a_trunk_says_where_it_is_who_we_are_there_and_who_it_may_be_here() {
    let text = r#"
[trunk.trunk-a]
uri = "sip:trunk.example.com"
transport = "tcp"
user = "elm"
password-file = "a.password"
addresses = ["192.0.2.1", "2001:db8::1"]
caller-id = "+420222000111"
numbers = "00"
[dns]
servers = ["192.0.2.53", "127.0.0.1:5353"]
"#;
    let conf = load_with(text, &[("etc/a.password", "swordfish\n")]).unwrap();
    let trunk = &conf.trunks["trunk-a"];
    let login = trunk.login.as_ref().unwrap();
    assert_eq!(
        (login.user.as_str(), login.realm.as_str()),
        ("elm", "trunk.example.com")
    );
    assert_eq!(login.password.expose(), "swordfish");
    assert_eq!(trunk.identity(), "sip:00420222000111@trunk.example.com");
    assert_eq!(trunk.addresses.len(), 2);
    let servers: Vec<String> = conf.dns.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["192.0.2.53:53", "127.0.0.1:5353"]);
}

#[test]
fn a_trunk_s_faults_are_told_with_their_place() {
    for (text, says) in [
        ("[trunk.a]\nuri = \"trunk\"", "trunk.a.uri"),
        ("[trunk.a]\nuri = \"sip:u@192.0.2.1\"", "no user part"),
        (
            "[trunk.a]\nuri = \"sip:192.0.2.1\"\nuser = \"u\"",
            "a user without password",
        ),
        (
            "[trunk.a]\nuri = \"sip:192.0.2.1\"\ncaller-id = \"anna\"",
            "not a telephone number",
        ),
        (
            "[trunk.a]\nuri = \"sip:192.0.2.1\"\naddresses = [\"192.0.2.1\"]\n\
             [trunk.b]\nuri = \"sip:192.0.2.1\"\naddresses = [\"192.0.2.1\"]",
            "named twice",
        ),
        (
            "[trunk.a]\nuri = \"sip:192.0.2.1;transport=tcp\"\ntransport = \"udp\"",
            "the URI names one too",
        ),
        ("[dns]\nservers = [\"ns.example\"]", "is not an address"),
    ] {
        let errors = load(text).unwrap_err();
        assert!(errors.contains(says), "{text}\n{errors}");
    }
}
