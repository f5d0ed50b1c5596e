//! The demo's building on disk: the shipped configuration and plan with loopback addresses, random passwords, and
//! the people and devices of one house.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use conf::Secret;
use dialplan::{Device, Owner, Person, Redacted, Unit};
use sip_proxy::digest::Ha1;

use super::relay;
use crate::directory;
use crate::store::{AccountRow, Change, Store};

/// The SIP domain of the demo.
pub(super) const DOMAIN: &str = "doorward.local";
/// RTP of the demo: below the ports the system gives to those who ask for any.
const RTP_PORTS: std::ops::RangeInclusive<u16> = 28_000..=31_999;
const PLAN: &str = include_str!("../../../conf/plan.kdl");
const HOLIDAYS: &str = include_str!("../../../conf/holidays/cz.ics");
/// The shipped plan's lobby is opened by `Action: buzz`; the demo's has a relay with an HTTP interface.
const SHIPPED_OUTPUT: &str = "output \"main\" driver=\"action-buzz\" pulse=\"5s\"";

/// A directory that goes with its owner, unless it was the user's own.
pub(super) struct Home {
    pub(super) path: PathBuf,
    own: bool,
}

impl Home {
    pub(super) fn open(data: Option<PathBuf>) -> std::io::Result<Self> {
        let own = data.is_none();
        let path = data.unwrap_or_else(|| {
            let random = crate::shell::system_rng().next_u64();
            std::env::temp_dir().join(format!("doorward-demo-{random:016x}"))
        });
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)?;
        Ok(Self { path, own })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.own {
            // What cannot be removed lies in the temporary directory, where the system clears up.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The address to listen on: the wanted one, or another port when that is taken.
pub(super) fn free(wanted: SocketAddr) -> std::io::Result<SocketAddr> {
    let both = |address: SocketAddr| -> std::io::Result<SocketAddr> {
        let udp = UdpSocket::bind(address)?;
        let address = udp.local_addr()?;
        TcpListener::bind(address)?;
        Ok(address)
    };
    if let Ok(address) = both(wanted)
        && wanted.port() != 0
    {
        return Ok(address);
    }
    // A free port may be taken for TCP, or lie where RTP will want it: a few tries.
    let mut last = both(SocketAddr::new(wanted.ip(), 0));
    for _ in 0..64 {
        if last
            .as_ref()
            .is_ok_and(|address| !RTP_PORTS.contains(&address.port()))
        {
            break;
        }
        last = both(SocketAddr::new(wanted.ip(), 0));
    }
    last
}

/// Writes the files the server reads. Returns the configuration's path.
pub(super) fn write(
    home: &Path,
    listen: SocketAddr,
    relay: SocketAddr,
    password: &Secret,
) -> anyhow::Result<PathBuf> {
    let plan = PLAN.replacen(SHIPPED_OUTPUT, &output(), 1);
    let conf = format!(
        "[site]\nname = \"elm-court\"\ndomains = [\"{DOMAIN}\"]\n\n\
         [[listen]]\ntransport = \"udp\"\naddress = \"{listen}\"\n\n\
         [[listen]]\ntransport = \"tcp\"\naddress = \"{listen}\"\n\n\
         # Any phone is to register here, also those that give up at an algorithm newer than MD5.\n\
         [sip]\ndigest = [\"md5\"]\n\n\
         [store]\npath = \"doorward.db\"\n\n[plan]\nfile = \"plan.kdl\"\n\n\
         [http]\nenabled = false\n\n[media]\nports = \"{}-{}\"\n\n\
         [door.lobby]\nurl = \"http://{relay}\"\nuser = \"{}\"\npassword = \"{}\"\n",
        RTP_PORTS.start(),
        RTP_PORTS.end(),
        relay::USER,
        password.expose(),
    );
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(home.join("holidays"))?;
    put(&home.join("plan.kdl"), &plan)?;
    put(&home.join("holidays/cz.ics"), HOLIDAYS)?;
    let path = home.join("doorward.toml");
    put(&path, &conf)?;
    Ok(path)
}

fn output() -> String {
    format!(
        "output \"main\" driver=\"http\" path=\"{}\" pulse=\"5s\"",
        relay::PATH
    )
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let context = || format!("cannot write {}", path.display());
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)
}

/// Puts the building's people and devices into the store, each device with a new password.
pub(super) async fn move_in(store: &Store) -> anyhow::Result<BTreeMap<String, Secret>> {
    let unit = Unit {
        id: "101".to_owned(),
        flags: Default::default(),
    };
    let anna = Person {
        id: "anna".to_owned(),
        name: Redacted::new("Anna"),
        role: "resident".to_owned(),
        unit: Some("101".to_owned()),
        numbers: Vec::new(),
        revoked: false,
    };
    let owners = [
        ("lobby", Owner::Door("lobby".to_owned())),
        ("desk-1", Owner::Desk("desk".to_owned())),
        ("desk-2", Owner::Desk("desk".to_owned())),
        ("anna-app", Owner::Person("anna".to_owned())),
    ];
    let mut passwords = BTreeMap::new();
    let mut devices = Vec::new();
    for (user, owner) in owners {
        let password =
            directory::generate().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        let ha1 = Ha1::of(user, store.realm(), password.expose(), true);
        let account = AccountRow {
            user: user.to_owned(),
            profile: "generic".to_owned(),
            ha1_sha256: ha1.sha256.unwrap_or_default(),
            ha1_md5: ha1.md5,
            revoked: false,
        };
        devices.push((
            Device {
                id: user.to_owned(),
                owner,
                label: None,
                revoked: false,
            },
            account,
        ));
        passwords.insert(user.to_owned(), password);
    }
    let change = Change {
        units: vec![unit],
        people: vec![anna],
        devices,
        audit: Vec::new(),
    };
    store.apply(&change, jiff::Timestamp::now()).await?;
    Ok(passwords)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_plan_has_the_output_the_demo_replaces_and_the_result_resolves() {
        assert!(PLAN.contains(SHIPPED_OUTPUT));
        let dir = tempfile::tempdir().unwrap();
        let relay = "127.0.0.1:8080".parse().unwrap();
        let listen = "127.0.0.1:5060".parse().unwrap();
        let path = write(dir.path(), listen, relay, &Secret::new("secret")).unwrap();
        let loaded = crate::files::load(&path).unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(loaded.conf.listeners.len(), 2);
    }

    #[test]
    fn a_taken_port_is_replaced_by_a_free_one() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let wanted = taken.local_addr().unwrap();
        let found = free(wanted).unwrap();
        assert_ne!(found, wanted);
        assert_eq!(found.ip(), wanted.ip());
    }
}
