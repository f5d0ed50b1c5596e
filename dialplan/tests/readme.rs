//! The reference in README.md is a plan: its blocks, one after the other, load without a fault.

mod house;

use dialplan::{load, render};

#[test]
fn the_blocks_of_the_reference_make_a_plan() {
    let mut text = String::new();
    let mut blocks = 0;
    let mut inside = false;
    for line in include_str!("../README.md").lines() {
        match line {
            "```kdl" => {
                inside = true;
                blocks += 1;
            }
            "```" => inside = false,
            _ if inside => text = format!("{text}{line}\n"),
            _ => {}
        }
    }
    assert!(blocks >= 5);
    let loaded = load(&text, "README.kdl", &house::files);
    assert_eq!(render(&loaded.diagnostics, false), "");
    assert!(
        loaded
            .plan
            .unwrap()
            .check(&house::directory(), house::at("2026-11-24 12:00:00"))
            .iter()
            .all(|d| !d.is_error())
    );
}
