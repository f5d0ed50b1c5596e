//! A server of our own in a directory of its own: one site, one door, a desk, a concierge and two flats.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::Binary;
use crate::relay::Relay;
use crate::scenario::Family;
use crate::secure::Doors;

/// SIP domain of the test house.
pub const DOMAIN: &str = "test-house.example";

/// The plan every scenario runs on.
const PLAN: &str = include_str!("../building/plan.kdl");
/// Who lives there.
const DIRECTORY: &str = include_str!("../building/directory.csv");

/// Addresses of one run, apart from those of any other.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Number of the run: picks the 127.0.x.0/24 net, or a block of ports.
    pub run: u8,
    /// Everybody on one address, apart by port: always so on `::1`, and for clients whose RTP socket is not bound to
    /// their own address (the kernel would let its packets come from 127.0.0.1, which is nobody we know).
    pub one_host: bool,
}

impl Addresses {
    /// Those of run number `run`.
    pub fn of(family: Family, run: u8) -> Self {
        let one_host = family == Family::V6;
        Self {
            family,
            run,
            one_host,
        }
    }

    /// The server's SIP address.
    pub fn server(self) -> SocketAddr {
        let port = if self.one_host { self.block() } else { 5060 };
        SocketAddr::new(self.ip(1), port)
    }

    /// The SIP address of actor `n`, from 1; 20 ports further each, so that media fits between.
    pub fn actor(self, n: u16) -> SocketAddr {
        if self.one_host {
            return SocketAddr::new(self.ip(1), self.block() + 20 * n);
        }
        SocketAddr::new(self.ip(u8::try_from(n + 1).unwrap_or(250)), 5070)
    }

    fn ip(self, host: u8) -> IpAddr {
        match self.family {
            Family::V4 if self.one_host => Ipv4Addr::LOCALHOST.into(),
            Family::V4 => Ipv4Addr::new(127, 0, 20 + self.run % 200, host).into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// 200 ports for each run, between 12,000 and 32,000.
    fn block(self) -> u16 {
        12_000 + 200 * u16::from(self.run % 100)
    }
}

/// A running server.
#[derive(Debug)]
pub struct Building {
    /// Its directory.
    pub dir: PathBuf,
    /// Its addresses.
    pub addresses: Addresses,
    /// Passwords by account, as the import made them.
    pub passwords: BTreeMap<String, String>,
    binary: PathBuf,
    child: Child,
    _temporary: Option<tempfile::TempDir>,
}

/// What differs between buildings.
struct Ground<'a> {
    name: &'a str,
    directory: String,
    /// Algorithms of the digest challenge, as written in the configuration.
    digest: &'static str,
    /// Further domains of the site.
    domains: &'static [&'static str],
    /// Further routes of the plan.
    routes: &'a str,
    /// Further tables of the configuration.
    more: String,
}

impl<'a> Ground<'a> {
    fn plain(name: &'a str) -> Self {
        Self {
            name,
            directory: DIRECTORY.to_owned(),
            digest: "\"md5\", \"sha-256\"",
            domains: &[],
            routes: "",
            more: String::new(),
        }
    }
}

/// How long a server may take until it is ready.
const READY: Duration = Duration::from_secs(20);

impl Building {
    /// Lays the directory, imports the people and starts the server; back when it says that it is ready.
    pub fn start(binary: &Binary, addresses: Addresses, relay: &Relay, name: &str) -> Result<Self> {
        Self::lay(binary, addresses, relay, &Ground::plain(name))
    }

    /// One for phones that register only where MD5 alone is offered.
    pub fn start_for_old_phones(
        binary: &Binary,
        addresses: Addresses,
        relay: &Relay,
        name: &str,
    ) -> Result<Self> {
        let ground = Ground {
            digest: "\"md5\"",
            ..Ground::plain(name)
        };
        Self::lay(binary, addresses, relay, &ground)
    }

    /// One that speaks TLS and WebSocket besides, for phones that know MD5 only.
    pub fn start_secure(
        binary: &Binary,
        addresses: Addresses,
        relay: &Relay,
        name: &str,
        doors: Doors,
    ) -> Result<Self> {
        let ground = Ground {
            digest: "\"md5\"",
            more: doors.listeners(),
            ..Ground::plain(name)
        };
        Self::lay(binary, addresses, relay, &ground)
    }

    /// One that reaches out: with further routes and tables.
    pub fn start_reaching_out(
        binary: &Binary,
        addresses: Addresses,
        relay: &Relay,
        name: &str,
        routes: &str,
        more: String,
    ) -> Result<Self> {
        let ground = Ground {
            routes,
            more,
            ..Ground::plain(name)
        };
        Self::lay(binary, addresses, relay, &ground)
    }

    /// An account's password.
    pub fn password(&self, account: &str) -> Result<String> {
        let password = self.passwords.get(account).cloned();
        password.with_context(|| format!("no account {account}"))
    }

    /// One for load: `accounts` more phones, and an address that may call as the door without a challenge.
    pub fn start_loaded(
        binary: &Binary,
        addresses: Addresses,
        relay: &Relay,
        name: &str,
        accounts: u32,
    ) -> Result<Self> {
        let mut ground = Ground::plain(name);
        for n in 0..accounts {
            ground
                .directory
                .push_str(&format!("103,,,load-{n:05},,,,\n"));
        }
        ground.more = format!(
            "\n[limits]\ncalls-per-account = 1000\nrequests-per-source = 10000\n\n\
             [[trusted]]\naddress = \"{}\"\naccount = \"lobby\"\n",
            addresses.actor(2).ip()
        );
        Self::lay(binary, addresses, relay, &ground)
    }

    /// One with `accounts` more phones, and otherwise as it is by default.
    pub fn start_estate(
        binary: &Binary,
        addresses: Addresses,
        relay: &Relay,
        name: &str,
        accounts: u32,
    ) -> Result<Self> {
        let mut ground = Ground::plain(name);
        for n in 0..accounts {
            ground
                .directory
                .push_str(&format!("103,,,load-{n:05},,,,\n"));
        }
        Self::lay(binary, addresses, relay, &ground)
    }

    /// One to be flooded: an address may call as the door without a challenge, nobody is held back by how much he sends,
    /// and little is kept of calls, so that what grows is seen.
    pub fn start_flooded(binary: &Binary, addresses: Addresses, relay: &Relay) -> Result<Self> {
        let ground = Ground {
            more: format!(
                "\n[limits]\ncalls-per-account = 1000\nrequests-per-source = 10000\n\n[trace]\nmemory-kib = 256\n\n\
                 [[trusted]]\naddress = \"{}\"\naccount = \"lobby\"\n",
                addresses.actor(2).ip()
            ),
            ..Ground::plain("flood")
        };
        Self::lay(binary, addresses, relay, &ground)
    }

    /// One that is at home in the domains of the RFCs' examples, and knows the first actor's address as the door's.
    pub fn start_for_strangers(
        binary: &Binary,
        addresses: Addresses,
        relay: &Relay,
        name: &str,
    ) -> Result<Self> {
        let ground = Ground {
            domains: &["example.com", "example.org", "example.net", "company.com"],
            more: format!(
                "\n[limits]\nrequests-per-source = 10000\n\n[[trusted]]\naddress = \"{}\"\naccount = \"lobby\"\n",
                addresses.actor(1).ip()
            ),
            ..Ground::plain(name)
        };
        Self::lay(binary, addresses, relay, &ground)
    }

    fn lay(
        binary: &Binary,
        addresses: Addresses,
        relay: &Relay,
        ground: &Ground<'_>,
    ) -> Result<Self> {
        let program = program(binary)?;
        let (dir, temporary) = match &binary.keep {
            Some(keep) => (keep.join(ground.name), None),
            None => {
                let temporary = tempfile::tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        if dir.join("doorward.db").exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("plan.kdl"), format!("{PLAN}{}", ground.routes))?;
        crate::secure::certify(&dir)?;
        std::fs::write(dir.join("directory.csv"), &ground.directory)?;
        std::fs::write(
            dir.join("doorward.toml"),
            configuration(addresses, relay, ground) + &ground.more,
        )?;
        let accounts = dir.join("accounts.csv");
        doorward(
            &program,
            &dir,
            &[
                "directory",
                "import",
                "directory.csv",
                "--accounts",
                "accounts.csv",
            ],
        )?;
        let passwords = read_accounts(&accounts)?;
        let child = serve(&program, &dir)?;
        Ok(Self {
            dir,
            addresses,
            passwords,
            binary: program,
            child,
            _temporary: temporary,
        })
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as a power cut would, and starts it again on the same directory.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = serve(&self.binary, &self.dir)?;
        Ok(())
    }

    /// Runs a `doorward` command on this building's configuration and gives its standard output.
    pub fn doorward(&self, args: &[&str]) -> Result<String> {
        doorward(&self.binary, &self.dir, args)
    }

    /// The log's records.
    pub fn audit(&self) -> Result<Vec<serde_json::Value>> {
        let text = self.doorward(&["audit", "export", "--jsonl"])?;
        let records = text.lines().map(serde_json::from_str::<serde_json::Value>);
        let records: Vec<_> = records
            .collect::<Result<_, _>>()
            .context("reading the exported log")?;
        Ok(records
            .into_iter()
            .filter_map(|mut line| line.get_mut("entry").map(serde_json::Value::take))
            .collect())
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's binary.
pub fn program(binary: &Binary) -> Result<PathBuf> {
    let path = match &binary.doorward {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("doorward"),
    };
    if !path.is_file() {
        bail!(
            "no server at {}: build it with `cargo build -p server`, or name it with --doorward",
            path.display()
        );
    }
    Ok(std::fs::canonicalize(path)?)
}

fn doorward(program: &Path, dir: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .env("DOORWARD_CONFIG", "doorward.toml")
        .current_dir(dir)
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!(
            "doorward {} ended with {}:\n{error}",
            args.join(" "),
            output.status
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Starts `doorward serve`; back when it printed its ready line.
fn serve(program: &Path, dir: &Path) -> Result<Child> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("server.log"))?;
    let mut child = Command::new(program)
        .args(["serve", "--config", "doorward.toml"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let stdout = child.stdout.take().context("no standard output")?;
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.contains("ready") {
                // The receiver has given up waiting: nobody wants to know any more.
                let _ = sender.try_send(());
            }
        }
    });
    if receiver.recv_timeout(READY).is_err() {
        // It may have ended by itself already.
        let _ = child.kill();
        let _ = child.wait();
        let log = std::fs::read_to_string(dir.join("server.log")).unwrap_or_default();
        bail!(
            "the server did not say that it is ready within {} s:\n{log}",
            READY.as_secs()
        );
    }
    Ok(child)
}

/// Reads user and password columns of an accounts file.
pub fn read_accounts(file: &Path) -> Result<BTreeMap<String, String>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |names: &[&str]| header.iter().position(|name| names.contains(name));
    let (Some(user), Some(password)) = (
        column(&["user", "account", "device"]),
        column(&["password"]),
    ) else {
        bail!("{}: needs the columns user and password", file.display());
    };
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        Some((
            fields.get(user)?.to_string(),
            fields.get(password)?.to_string(),
        ))
    };
    Ok(lines.filter_map(row).collect())
}

fn configuration(addresses: Addresses, relay: &Relay, ground: &Ground<'_>) -> String {
    let digest = ground.digest;
    let domains: String = ground
        .domains
        .iter()
        .map(|domain| format!(", \"{domain}\""))
        .collect();
    let (server, relay_address) = (addresses.server(), relay.address);
    let (ip, user, password) = (
        server.ip(),
        &relay.credentials.user,
        &relay.credentials.password,
    );
    // Two ports a leg, two legs a call, five seconds of rest after it: room for 400 short calls a second.
    let (first, last) = (34_000, 49_999);
    format!(
        r#"[site]
name = "test-house"
domains = ["{DOMAIN}"{domains}]

[[listen]]
transport = "udp"
address = "{server}"

[[listen]]
transport = "tcp"
address = "{server}"

# SIPp 3.6 knows MD5 only and gives up when another stands first; baresip 1.0 when there is another at all.
[sip]
digest = [{digest}]

[media]
ports = "{first}-{last}"
workers = 1
[[media.address]]
ip = "{ip}"

[store]
path = "doorward.db"

[plan]
file = "plan.kdl"

[http]
enabled = false

[unlock]
per-minute = 600

[door.lobby]
url = "http://{relay_address}"
user = "{user}"
password = "{password}"

[door.kiosk]
url = "http://{relay_address}"
user = "{user}"
password = "{password}"
"#
    )
}
