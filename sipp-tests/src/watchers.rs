//! baresip as a subscriber: message lamp and presence, by `clients/events/baresip_watch.py`.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::Binary;
use crate::building::{Addresses, Building, DOMAIN};
use crate::linphone::installed;
use crate::relay::Relay;
use crate::scenario::{Family, home};

/// `false` when it was not told. Without baresip or Python one line says so.
pub fn told(binary: &Binary) -> Result<bool> {
    for program in ["baresip", "python3"] {
        if !installed(program) {
            println!("skip  watchers: {program} is not installed");
            return Ok(true);
        }
    }
    // baresip gives up where an address of an earlier one is not free yet: each try has its own.
    let tried = (1..3u16).find_map(|actor| play(binary, actor).ok());
    match tried.map_or_else(|| play(binary, 3), Ok) {
        Ok(report) => {
            println!("ok    watchers: baresip: {report}");
            Ok(true)
        }
        Err(error) => {
            println!("FAIL  watchers: {error:#}");
            Ok(false)
        }
    }
}

fn play(binary: &Binary, actor: u16) -> Result<String> {
    let addresses = Addresses::of(Family::V4, 196);
    let relay = Relay::start()?;
    let building = Building::start_for_old_phones(binary, addresses, &relay, "watchers")?;
    let user = "app-101";
    let password = building.passwords.get(user).context("no account")?;
    let output = Command::new("python3")
        .arg(home().join("clients/events/baresip_watch.py"))
        .arg(addresses.server().to_string())
        .arg(addresses.actor(actor).to_string())
        .args([DOMAIN, user, password, user])
        .arg(building.dir.join("baresip-watch"))
        .output()
        .context("starting python3")?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}
