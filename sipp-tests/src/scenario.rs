//! A scenario: who does what with which SIPp part, and what must be seen afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde::Deserialize;

/// SIP transport of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Udp, Self::Tcp];
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

/// Address family of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4, addresses in 127.0.0.0/8.
    V4,
    /// IPv6, `::1`.
    V6,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        })
    }
}

/// `scenario.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What is shown, one sentence.
    pub about: String,
    /// Transports it makes sense for; default: all.
    #[serde(default = "all_transports")]
    pub transports: Vec<Transport>,
    /// SIPp sends RFC 4733 events through a raw socket: root only, IPv4 only.
    #[serde(default)]
    pub raw_socket: bool,
    /// SIPp runs, in the order they are started; those without `dial` answer calls and are up before the others start.
    pub actor: Vec<Actor>,
    /// What must be seen afterwards.
    #[serde(default)]
    pub expect: Expect,
}

/// One SIPp run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// SIP account.
    pub account: String,
    /// File in `parts/`, without `.xml`.
    pub part: String,
    /// What it dials; absent: it is called.
    pub dial: Option<String>,
    /// Registers first.
    #[serde(default)]
    pub register: bool,
    /// Goes on beside the actors after it, which start when it has been notified of something.
    #[serde(default)]
    pub beside: bool,
    /// It dials, and the actors after it start once its trace holds this text; it goes on beside them.
    pub until: Option<String>,
}

/// What must be seen after the calls, on a server of our own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// How often the door's relay was driven.
    #[serde(default)]
    pub relay: usize,
    /// Records in the log by `kind`, `kind:decision` or `kind::result`.
    #[serde(default)]
    pub audit: BTreeMap<String, usize>,
}

fn all_transports() -> Vec<Transport> {
    Transport::ALL.to_vec()
}

/// The folder of this crate's scenarios and parts.
pub fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All scenarios by name, in the order of their names.
pub fn all() -> Result<BTreeMap<String, Scenario>> {
    let mut scenarios = BTreeMap::new();
    let folder = home().join("scenarios");
    for entry in
        std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?
    {
        let file = entry?.path().join("scenario.toml");
        let name = file
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("reading {}", file.display()))?;
        let scenario: Scenario =
            toml::from_str(&text).with_context(|| format!("in {}", file.display()))?;
        for actor in &scenario.actor {
            let part = home().join("parts").join(format!("{}.xml", actor.part));
            if !part.is_file() {
                bail!("{}: no part {}", file.display(), part.display());
            }
        }
        scenarios.insert(name, scenario);
    }
    Ok(scenarios)
}
