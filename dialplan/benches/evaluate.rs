//! Choosing a route and its first step, and checking a plan, with 1,000 routes and 10,000 units.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use dialplan::{
    CallFacts, Caller, Device, Directory, Facts, Owner, Person, Plan, Redacted, Unit, load,
};

fn plan_text() -> String {
    let mut text = String::from(
        "site \"big\" tz=\"Europe/Prague\" { holidays \"cz\" file=\"cz\"; calendar \"hours\" { weekly \"Mon-Fri 07:00-19:00\"; not \"cz\" } }\n\
         desk \"desk\" { device \"desk-1\" }\n",
    );
    for n in 0..500 {
        let _ = writeln!(
            text,
            "door \"door-{n}\" station=\"2n\" group=\"entry\" fail=\"closed\" {{ output \"main\" driver=\"http\" }}"
        );
        let _ = writeln!(
            text,
            "route \"unit-{n}\" doors=\"door-{n}\" dial=\"unit\" {{ when \"hours\" {{ ring \"desk\" for=\"20s\" }}; ring \"@unit\" for=\"30s\"; end \"log\" }}"
        );
        let _ = writeln!(
            text,
            "route \"code-{n}\" doors=\"entry\" dial=\"*{n}\" {{ ring \"desk\" for=\"20s\"; end \"log\" }}"
        );
    }
    text
}

fn directory() -> Directory {
    let unit = |n: u32| format!("{}", 10_000 + n);
    Directory::new(
        (0..10_000).map(|n| Unit {
            id: unit(n),
            flags: Default::default(),
        }),
        (0..10_000).map(|n| Person {
            id: format!("p{n}"),
            name: Redacted::from("x"),
            role: "resident".into(),
            unit: Some(unit(n)),
            numbers: vec![],
            revoked: false,
        }),
        (0..30_000)
            .map(|n| Device {
                id: format!("d{n}"),
                owner: Owner::Person(format!("p{}", n / 3)),
                label: Some("mobile".into()),
                revoked: false,
            })
            .chain([Device {
                id: "desk-1".into(),
                owner: Owner::Desk("desk".into()),
                label: None,
                revoked: false,
            }]),
    )
}

fn plan() -> Plan {
    let holidays = |_: &str| Some(include_str!("../../conf/holidays/cz.ics").to_owned());
    load(&plan_text(), "plan.kdl", &holidays).plan.unwrap()
}

fn evaluate(criterion: &mut Criterion) {
    let (plan, directory) = (Arc::new(plan()), directory());
    let day = Facts::at("2026-11-24T11:00:00Z".parse().unwrap());
    let night = Facts::at("2026-11-24T21:00:00Z".parse().unwrap());
    let call = |dial: &str| CallFacts {
        caller: Caller::Door("door-250".into()),
        dial: dial.into(),
    };
    for (name, facts, dial) in [
        ("begin, desk", &day, "15000"),
        ("begin, unit", &night, "15000"),
        ("begin, literal", &day, "*499"),
    ] {
        let call = call(dial);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                plan.begin(black_box(&directory), facts, call.clone())
                    .unwrap()
            });
        });
    }
    let mut slow = criterion.benchmark_group("whole plan");
    slow.sample_size(10);
    slow.bench_function("check", |bencher| {
        bencher.iter(|| plan.check(&directory, day.at));
    });
    let text = plan_text();
    slow.bench_function("load", |bencher| {
        bencher.iter(|| load(&text, "plan.kdl", &|_| Some(String::new())));
    });
    slow.finish();
}

criterion_group!(benches, evaluate);
criterion_main!(benches);
