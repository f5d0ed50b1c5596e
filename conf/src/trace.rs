//! `[trace]`: what is kept of SIP messages, and where they are exported.

use std::time::Duration;

use crate::resolve::Check;
use crate::secret::Secret;
use crate::written::{Span, Written};

/// Which calls' messages are written to the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// None: they are in memory only.
    None,
    /// Those nobody answered.
    #[default]
    Failed,
    /// All.
    All,
}

/// As written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct WrittenTrace {
    memory_kib: Written<u32>,
    keep: Option<Keep>,
    keep_for: Written<Span>,
    hep: Written<String>,
    hep_id: Written<u32>,
    hep_password: Option<Secret>,
    hep_redact: Option<bool>,
}

/// What is kept of SIP messages, and where they are exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Octets of messages kept in memory; 0 keeps none.
    pub memory: usize,
    /// Whose messages are written to the store.
    pub keep: Keep,
    /// For how long.
    pub keep_for: Duration,
    /// Export to Homer.
    pub hep: Option<Hep>,
}

/// Export by HEP version 3 over UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hep {
    /// `host:port` of the collector.
    pub address: String,
    /// Capture agent id.
    pub id: u32,
    /// Authentication key, where the collector wants one.
    pub password: Option<Secret>,
    /// Credentials, digits, keys, names and numbers are taken out first.
    pub redact: bool,
}

impl Check<'_> {
    pub(crate) fn trace(&mut self, written: &WrittenTrace) -> Trace {
        const DAY: Duration = Duration::from_secs(86_400);
        let memory = self.count(
            "trace.memory-kib",
            &written.memory_kib,
            8_192,
            0..=1_048_576,
        );
        let keep_for = self.span(
            "trace.keep-for",
            &written.keep_for,
            7 * DAY,
            DAY / 24,
            366 * DAY,
        );
        let id = self.number("trace.hep-id", &written.hep_id, 2_001, 0..=u32::MAX);
        let hep = written.hep.as_ref().map(|address| {
            let port = address
                .get_ref()
                .rsplit_once(':')
                .filter(|(host, _)| !host.is_empty())
                .and_then(|(_, port)| port.parse::<u16>().ok())
                .filter(|port| *port > 0);
            if port.is_none() {
                self.fault(
                    &address.span(),
                    "trace.hep",
                    "not a host and port",
                    "write \"homer.example:9060\" or \"192.0.2.9:9060\"",
                );
            }
            Hep {
                address: address.get_ref().clone(),
                id,
                password: written.hep_password.clone(),
                redact: written.hep_redact.unwrap_or(true),
            }
        });
        Trace {
            memory: memory.saturating_mul(1_024),
            keep: written.keep.unwrap_or_default(),
            keep_for,
            hep,
        }
    }
}
