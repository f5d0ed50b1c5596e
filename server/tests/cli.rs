//! The commands as a person runs them: what they print, what they write, how they end.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of the shell use files and processes as the shell does, and may fail loudly"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

const CONF: &str = "[site]\nname = \"elm\"\n[door.lobby]\nurl = \"https://192.0.2.20\"\n";
const PLAN: &str = r#"site "elm" tz="Europe/Prague" { }
door "lobby" station="2n" group="entry" fail="closed" { output "main" driver="http" switch=1 pulse="5s" }
desk "desk" { device "desk-1" }
keys "default" { "9" open="main" }
may-open "role:resident" group="entry"
may-open "desk:desk" group="entry"
route "unit" doors="entry" dial="unit" { ring "@unit" for="30s"; end "log" }
route "bell" doors="*" dial="desk" { ring "desk" for="30s"; end "log" }
"#;
const PEOPLE: &str = "unit,person,name,numbers,device,label,desk,door,profile\n\
    101,anna,Anna Novak,+420 601 234 567,anna-1,mobile,,,\n\
    101,,,,panel-101,panel,,,\n\
    ,,,,desk-1,,desk,,\n\
    ,,,,lobby,,,lobby,2n\n";

struct House {
    dir: tempfile::TempDir,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl House {
    fn new() -> Self {
        let house = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        house.write("doorward.toml", CONF);
        house.write("plan.kdl", PLAN);
        house.write("people.csv", PEOPLE);
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn run(&self, line: &str) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(line.split_whitespace())
            .current_dir(self.dir.path())
            .env("DOORWARD_CONFIG", "doorward.toml")
            .env_remove("NO_COLOR")
            .output()
            .unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that must succeed.
    fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}: {}{}", ran.out, ran.err);
        ran.out
    }
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let house = House::new();
    let told = house.ok("directory import people.csv --dry-run");
    assert!(told.contains("added      person  anna"), "{told}");
    assert!(
        told.ends_with("6 added, 0 changed, 0 unchanged; dry run, nothing was written\n"),
        "{told}"
    );
    assert!(!told.contains("password "), "{told}");
    assert_eq!(house.ok("account list"), "");
}

#[test]
fn an_import_twice_changes_nothing_the_second_time() {
    let house = House::new();
    let first = house.ok("directory import people.csv");
    assert_eq!(first.matches("(shown once)").count(), 4, "{first}");
    let log = house.ok("audit export");
    assert_eq!(
        house.ok("directory import people.csv"),
        "0 added, 0 changed, 6 unchanged\n"
    );
    assert_eq!(
        house.ok("audit export"),
        log,
        "an import that changes nothing leaves no trace"
    );
}

#[test]
fn passwords_go_once_into_a_private_file() {
    let house = House::new();
    let told = house.ok("directory import people.csv --accounts out.csv");
    assert!(
        told.contains("4 passwords written to out.csv") && !told.contains("(shown once)"),
        "{told}"
    );
    let file = std::fs::read_to_string(house.path("out.csv")).unwrap();
    assert_eq!(file.lines().count(), 5, "{file}");
    assert_eq!(
        std::fs::metadata(house.path("out.csv"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let password = file.lines().nth(1).unwrap().split(',').nth(1).unwrap();
    let database = std::fs::read(house.path("doorward.db")).unwrap();
    let log = house.ok("audit export");
    assert!(
        !log.contains(password)
            && !database
                .windows(password.len())
                .any(|w| w == password.as_bytes())
    );
}

#[test]
fn an_accounts_file_that_exists_stops_the_import_before_it_writes() {
    let house = House::new();
    house.write("out.csv", "precious");
    let ran = house.run("directory import people.csv --accounts out.csv");
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert_eq!(
        std::fs::read_to_string(house.path("out.csv")).unwrap(),
        "precious"
    );
    assert_eq!(house.ok("account list"), "");
}

#[test]
fn a_wrong_line_is_named_and_nothing_is_written() {
    let house = House::new();
    house.write(
        "people.csv",
        &format!("{PEOPLE}102,petr,,601,petr-1,,,,2m\n,,,,x,,dsk,,\n"),
    );
    let ran = house.run("directory import people.csv");
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains(
            "people.csv: line 6: numbers: number 1: a number starts with + and the country code"
        ),
        "{}",
        ran.err
    );
    assert_eq!(house.ok("account list"), "");
    house.write(
        "people.csv",
        &format!("{PEOPLE}102,petr,,,petr-1,,,,2m\n,,,,x,,dsk,,\n"),
    );
    let ran = house.run("directory import people.csv --json");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, json["written"].as_bool()), (1, Some(false)));
    assert_eq!(
        (
            json["errors"][0]["line"].as_u64(),
            json["errors"][0]["column"].as_str()
        ),
        (Some(6), Some("profile"))
    );
    assert_eq!(
        json["errors"][1]["hint"].as_str(),
        Some("did you mean `desk`?")
    );
}

#[test]
fn a_changed_line_changes_just_that() {
    let house = House::new();
    house.ok("directory import people.csv");
    house.write(
        "people.csv",
        "person,role,device,label\nanna,staff,anna-1,tablet\n",
    );
    let told = house.ok("directory import people.csv");
    assert!(
        told.contains("resident -> staff") && told.contains("label mobile -> label tablet"),
        "{told}"
    );
    assert!(
        told.ends_with("0 added, 2 changed, 0 unchanged\n") && !told.contains("password"),
        "{told}"
    );
    assert!(
        house.ok("directory list").contains("Anna Novak +4206…"),
        "what was not named stays"
    );
}

#[test]
fn a_unit_a_person_a_phone_and_a_door_are_added_one_by_one() {
    let house = House::new();
    house.ok("unit add 101");
    house.ok("person add anna --unit 101");
    assert!(
        house
            .ok("account add anna-1 --person anna --label mobile")
            .contains("user anna-1   password ")
    );
    assert!(
        house
            .ok("account add lobby --door lobby --profile 2n")
            .contains("sip:lobby@doorward.local")
    );
    let wrong = house.run("account add anna-2 --person ana");
    assert_eq!(
        (wrong.code, wrong.err.as_str()),
        (
            1,
            "error: person: there is no person `ana` (did you mean `anna`?)\n"
        )
    );
    assert_eq!(house.run("account add x").code, 2, "whose device?");
    assert!(house.ok("audit verify").starts_with("ok: 4 records"));
    assert!(
        house
            .ok("plan explain --door lobby --dial 101")
            .contains("anna.mobile")
    );
}

#[test]
fn a_new_password_replaces_the_old_and_is_logged_without_it() {
    let house = House::new();
    house.ok("unit add 101");
    let password = |told: String| {
        told.split("password ")
            .nth(1)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    };
    let first = password(house.ok("account add panel --unit 101"));
    let second = password(house.ok("account passwd panel"));
    assert_ne!(first, second);
    let log = house.ok("audit export");
    assert!(
        log.contains("device panel: new password") && !log.contains(&second),
        "{log}"
    );
    assert_eq!(house.run("account passwd pannel").code, 1);
}

#[test]
fn a_revoked_person_takes_her_devices_with_her_and_does_not_come_back() {
    let house = House::new();
    house.ok("directory import people.csv");
    assert_eq!(
        house.ok("person revoke anna"),
        "revoked    person  anna\nrevoked    device  anna-1\n"
    );
    let ran = house.run("directory import people.csv");
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .contains("line 2: device: `anna-1` is revoked and does not come back"),
        "{}",
        ran.err
    );
}

#[test]
fn an_export_holds_its_proof() {
    let house = House::new();
    house.ok("directory import people.csv");
    let lines: Vec<String> = house
        .ok("audit export --jsonl")
        .lines()
        .map(str::to_owned)
        .collect();
    let mut previous = intercom::audit::ChainHash::genesis("elm");
    for line in &lines[..lines.len() - 1] {
        // As a reader outside would: the entry's text is what stands between `"entry":` and the closing brace.
        let entry = line
            .split_once("\"entry\":")
            .unwrap()
            .1
            .strip_suffix('}')
            .unwrap();
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["prev"].as_str(), Some(previous.to_string().as_str()));
        previous = previous.next(entry);
        assert_eq!(value["hash"].as_str(), Some(previous.to_string().as_str()));
    }
    let tail: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(
        (tail["head"].as_str(), tail["records"].as_u64()),
        (Some(previous.to_string().as_str()), Some(6))
    );
    assert_eq!(house.ok("audit export --csv").lines().count(), 7);
    assert_eq!(
        house.ok("audit export --csv --door lobby").lines().count(),
        1
    );
    assert_eq!(
        house
            .ok("audit export --csv --until 2020-01-01")
            .lines()
            .count(),
        1
    );
    assert_eq!(
        house.ok("audit export --csv --method app").lines().count(),
        1
    );
    assert_eq!(house.run("audit export --method knock").code, 2);
    house.ok(&format!("audit verify --checkpoint 6:{previous}"));
    let cut = house.run(&format!("audit verify --json --checkpoint 7:{previous}"));
    assert!(
        cut.code == 1 && cut.out.contains("\"fault\": \"cut\""),
        "{}",
        cut.out
    );
}

#[test]
fn a_wrong_configuration_is_shown_with_line_and_caret() {
    let house = House::new();
    house.write("doorward.toml", "[limits]\ncals = 5\n");
    let ran = house.run("config check");
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err,
        "error: unknown key `cals` in limits\n  --> doorward.toml:2:1\n   |\n 2 | cals = 5\n   | ^^^^ did you mean `calls`?\n"
    );
    assert_eq!(house.run("serve").code, 2, "nothing starts half-configured");
    assert!(!house.path("doorward.db").exists());
}

#[test]
fn configuration_and_plan_must_fit() {
    let house = House::new();
    house.write(
        "doorward.toml",
        "[site]\nname = \"oak\"\n[door.loby]\nurl = \"http://192.0.2.20\"\n",
    );
    let ran = house.run("config check");
    assert_eq!(ran.code, 1);
    for part in [
        "site.name is \"oak\", the plan's site is \"elm\"",
        "did you mean [door.lobby]?",
        "driver \"http\" needs the station's address",
    ] {
        assert!(ran.err.contains(part), "{part} is missing in\n{}", ran.err);
    }
}

#[test]
fn a_wrong_plan_is_shown_with_its_line_and_ends_with_1() {
    let house = House::new();
    house.write("plan.kdl", &PLAN.replace("ring \"@unit\"", "ring \"dsk\""));
    let ran = house.run("plan check");
    assert!(
        ran.code == 1 && ran.out.contains("P001") && ran.out.contains("plan.kdl:7"),
        "{}{}",
        ran.out,
        ran.err
    );
    let ran = house.run("plan check --json");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(ran.code == 1 && json[0]["code"] == "P001", "{json}");
    assert_eq!(house.run("serve").code, 2);
}

#[test]
fn reading_commands_make_no_database() {
    let house = House::new();
    for line in [
        "audit verify",
        "call list",
        "account list",
        "directory list",
    ] {
        let ran = house.run(line);
        assert!(
            ran.code == 2 && ran.err.contains("there is no database"),
            "{line}: {}",
            ran.err
        );
    }
    assert!(!house.path("doorward.db").exists());
}
