//! Guessed passwords: what they cost whoever guesses, what they tell, and whom they must not harm.

use std::collections::BTreeSet;

use super::*;

/// Everything of an answer that is not of its request or a fresh nonce.
fn shape(message: &Message) -> String {
    let text = String::from_utf8_lossy(message.bytes()).into_owned();
    let kept = text.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !matches!(name, "Via" | "From" | "To" | "Call-ID" | "CSeq")
    });
    let lines: Vec<String> = kept
        .map(|line| match line.split_once("nonce=\"") {
            Some((head, rest)) => {
                format!(
                    "{head}{}",
                    rest.split_once('"').map_or("", |(_, tail)| tail)
                )
            }
            None => line.to_owned(),
        })
        .collect();
    lines.join("\n")
}

#[test]
fn ten_thousand_guesses_get_no_answer_that_differs_by_user() {
    let mut yard = Yard::new();
    let users = ["lobby", "desk-1", "anna-app", "nobody", "admin", "100"];
    let mut shapes: Vec<BTreeSet<String>> = vec![BTreeSet::new(); users.len()];
    let mut answered = vec![0_u32; users.len()];
    for n in 0..10_000_u32 {
        let at = n as usize % users.len();
        // From many addresses, each of which names every user in turn.
        let source = udp(&format!(
            "198.51.{}.{}:5060",
            n / 24 / 200,
            n / 24 % 200 + 1
        ));
        yard.sent.clear();
        let lines = "Contact: <sip:x@198.51.100.1>\r\n";
        let status = yard.ask(source, "REGISTER", users[at], "guess", lines);
        answered[at] += u32::from(status != 0);
        shapes[at].extend(yard.sent.iter().map(|(_, message)| shape(message)));
        yard.pass(MILLI);
    }
    assert_eq!(shapes[0].len(), 1, "{:?}", shapes[0]);
    assert!(shapes.iter().all(|one| *one == shapes[0]));
    let (least, most) = (
        answered.iter().min().unwrap(),
        answered.iter().max().unwrap(),
    );
    assert!(most - least <= 1, "{answered:?}");
    assert!(
        *most < 100,
        "silence is not bought by many addresses: {answered:?}"
    );
    assert_eq!(yard.b2bua.bindings(), 0);
    assert!(yard.records.len() <= 60, "nor does it fill the disk");
}

#[test]
fn one_source_that_names_many_users_falls_silent_whatever_user_it_names() {
    let mut yard = Yard::new();
    let mut answered = 0;
    for n in 0..1_000 {
        let user = format!("{}", 100 + n);
        answered +=
            u32::from(yard.ask(udp("198.51.100.7:5060"), "REGISTER", &user, "1234", "") != 0);
        yard.pass(MILLI);
    }
    assert!(answered <= 8, "{answered}");
    let right = "Contact: <sip:desk-1@198.51.100.7>\r\n";
    let status = yard.ask(
        udp("198.51.100.7:5060"),
        "REGISTER",
        "desk-1",
        "pw-desk-1",
        right,
    );
    assert_eq!(status, 0, "the right password helps it no more");
}

#[test]
fn an_account_guessed_at_from_everywhere_serves_its_own_device_and_no_stranger() {
    let mut yard = Yard::new();
    let home = udp("203.0.113.5:5060");
    let contact = "Contact: <sip:lobby@203.0.113.5>\r\n";
    yard.register(home, "lobby", "<sip:lobby@203.0.113.5>", "");
    for n in 0..200 {
        let source = udp(&format!("198.51.100.{}:5060", n + 1));
        yard.ask(source, "REGISTER", "lobby", "guess", contact);
    }
    let stranger = udp("192.0.2.77:5060");
    assert_eq!(yard.ask(stranger, "REGISTER", "lobby", "guess", contact), 0);
    let other = "Contact: <sip:desk-1@192.0.2.77>\r\n";
    let status = yard.ask(stranger, "REGISTER", "desk-1", "pw-desk-1", other);
    assert_eq!(status, 200, "other accounts are not concerned");
    assert_eq!(
        yard.ask(home, "REGISTER", "lobby", "pw-lobby", contact),
        200
    );
    // Even a door that lost power for hours is at home where it was.
    yard.pass(3 * 3_600 * SECOND);
    assert_eq!(yard.b2bua.bindings(), 0);
    for n in 0..200 {
        let source = udp(&format!("198.51.100.{}:5060", n + 1));
        yard.ask(source, "REGISTER", "lobby", "guess", contact);
    }
    assert_eq!(
        yard.ask(home, "REGISTER", "lobby", "pw-lobby", contact),
        200
    );
    // And the silence of strangers ends.
    yard.pass(1_000 * SECOND);
    assert_eq!(
        yard.ask(stranger, "REGISTER", "lobby", "pw-lobby", contact),
        200
    );
}

#[test]
fn a_door_behind_the_guessers_own_nat_goes_on() {
    let mut yard = Yard::new();
    let contact = "Contact: <sip:lobby@10.9.9.9>\r\n";
    yard.register(udp("203.0.113.5:5060"), "lobby", "<sip:lobby@10.9.9.9>", "");
    for n in 0..500 {
        let user = ["desk-1", "anna-app", "nobody"][n % 3];
        yard.ask(udp("203.0.113.5:6666"), "REGISTER", user, "guess", "");
        yard.pass(MILLI);
    }
    assert!(yard.b2bua.counters().silenced > 400);
    let again = yard.ask(
        udp("203.0.113.5:5060"),
        "REGISTER",
        "lobby",
        "pw-lobby",
        contact,
    );
    assert_eq!(again, 200);
    let rebound = yard.ask(
        udp("203.0.113.5:7777"),
        "REGISTER",
        "lobby",
        "pw-lobby",
        contact,
    );
    assert_eq!(rebound, 200, "from another port of that NAT too");
}

#[test]
fn who_calls_with_credentials_and_never_registers_is_at_home_where_it_called_from() {
    let mut yard = Yard::new();
    let home = udp("203.0.113.5:5060");
    assert_eq!(yard.ask(home, "MESSAGE", "lobby", "pw-lobby", ""), 200);
    for n in 0..200 {
        let source = udp(&format!("198.51.100.{}:5060", n + 1));
        yard.ask(source, "REGISTER", "lobby", "guess", "");
    }
    assert_eq!(yard.ask(home, "MESSAGE", "lobby", "pw-lobby", ""), 200);
}

#[test]
fn a_phone_that_never_counts_is_taken_where_its_profile_says_so_but_not_to_unlock() {
    let build = |repeats: bool| {
        Yard::with(|config| {
            for profile in config.profiles.values_mut() {
                let mut own = intercom::StationProfile::clone(profile);
                own.repeats_nonce = repeats;
                *profile = std::sync::Arc::new(own);
            }
        })
    };
    for repeats in [false, true] {
        let mut yard = build(repeats);
        let flow = udp("10.0.1.3:5060");
        let lines = "Contact: <sip:desk-1@10.0.1.3>\r\n";
        assert_eq!(yard.step(flow, "REGISTER", "desk-1", lines, ""), 401);
        let challenge = yard.challenge.clone();
        let answer = |method: &str| {
            let request = Request {
                method,
                uri: "sip:elm.example",
                cnonce: "c0ffee",
                nc: 1,
            };
            let secret = Secret::Password("pw-desk-1");
            let value = client::answer(&challenge, "desk-1", secret, &request).unwrap();
            format!("Authorization: {value}\r\n")
        };
        let again = if repeats { 200 } else { 401 };
        for (round, expected) in [(1, 200), (2, again), (3, again)] {
            let status = yard.step(flow, "REGISTER", "desk-1", lines, &answer("REGISTER"));
            assert_eq!(status, expected, "round {round}, repeats {repeats}");
        }
        let elsewhere = udp("10.0.1.99:5060");
        let status = yard.step(elsewhere, "REGISTER", "desk-1", lines, &answer("REGISTER"));
        assert_eq!(status, 401, "a sniffed answer is worth nothing elsewhere");
        let buzz = format!("Action: buzz\r\n{}", answer("MESSAGE"));
        assert_eq!(yard.step(flow, "MESSAGE", "desk-1", "", &buzz), 401);
    }
}
