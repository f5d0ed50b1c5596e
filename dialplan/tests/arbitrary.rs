//! Whatever the bytes, reading a plan ends without a panic.

mod house;

use dialplan::load;
use house::{HOUSE, at, directory, files};
use proptest::prelude::*;

const PLAN: &str = include_str!("../../conf/plan.kdl");

fn try_plan(text: &str) {
    let loaded = load(text, "plan.kdl", &files);
    let _ = dialplan::render(&loaded.diagnostics, false);
    assert_eq!(
        loaded.plan.is_none(),
        loaded
            .diagnostics
            .iter()
            .any(dialplan::Diagnostic::is_error)
    );
    if let Some(plan) = loaded.plan {
        let _ = plan.check(&directory(), at("2026-11-24 12:00:00"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        try_plan(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_plan_with_a_piece_cut_out_or_replaced(from in 0..PLAN.len(), length in 0_usize..60, piece in "[ \"{};=#/*a-z@0-9:-]{0,12}") {
        let mut bytes = PLAN.as_bytes().to_vec();
        let end = (from + length).min(bytes.len());
        bytes.splice(from..end, piece.bytes());
        try_plan(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_holiday_file(bytes in prop::collection::vec(any::<u8>(), 0..300), date in "[0-9TZ]{0,17}", rule in "[A-Z=;0-9-]{0,30}") {
        let junk = String::from_utf8_lossy(&bytes).into_owned();
        let event = format!("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART:{date}\r\nRRULE:{rule}\r\nEND:VEVENT\r\n{junk}\r\nEND:VCALENDAR\r\n");
        let _ = load(HOUSE, "plan.kdl", &|_| Some(event.clone()));
    }
}
