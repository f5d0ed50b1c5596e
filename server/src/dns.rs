//! The DNS, for whoever signalling looks for: it fetches records, `sip_proxy::locate` chooses among them.
//!
//! ```text
//!   signalling ── questions (bounded) ──▶ serve ── one task each, at most ACTIVE ──▶ name servers
//!        ▲                                                     │ at most LIMIT
//!        └────────────────── names (mailbox) ◀─────────────────┘
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use sip_proxy::locate::{Answer, Kind, Naptr, Question, Records, Srv};
use tokio::sync::{Semaphore, mpsc};

use crate::shell::mailbox::Post;

/// Questions asked at once; more wait in the channel.
const ACTIVE: usize = 64;
/// One try with one server. A silent server is tried twice and then for a moment more (measured), hence [`LIMIT`].
const TRY: Duration = Duration::from_millis(700);
/// No answer by then is none. Shorter than the look-up's own limit, so that the failure is remembered.
const LIMIT: Duration = Duration::from_millis(1_800);
/// How long "there is none" holds where the zone does not say.
const NEGATIVE: Duration = Duration::from_secs(60);

/// An answer on its way to signalling.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) question: Question,
    pub(crate) answer: Answer,
}

/// A resolver for these servers, or those of the system.
fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        Resolver::builder_tokio()?
    } else {
        let servers = servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
                .into_iter()
                .map(|mut connection| {
                    connection.port = server.port();
                    connection
                })
                .collect();
            NameServerConfig::new(server.ip(), true, connections)
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        Resolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = TRY;
    options.attempts = 1;
    // The locator keeps what it was told, by the same lives; two caches would only hide each other.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Auto;
    builder.build()
}

/// Answers questions until signalling ends.
pub(crate) async fn serve(
    mut questions: mpsc::Receiver<Question>,
    answers: Post<Named>,
    servers: Vec<SocketAddr>,
) {
    let resolver = match resolver(&servers) {
        Ok(resolver) => Some(Arc::new(resolver)),
        Err(error) => {
            tracing::warn!(%error, "no name server is configured: host names are not found");
            None
        }
    };
    let active = Arc::new(Semaphore::new(ACTIVE));
    while let Some(question) = questions.recv().await {
        let Ok(permit) = Arc::clone(&active).acquire_owned().await else {
            return;
        };
        let (resolver, answers) = (resolver.clone(), answers.clone());
        tokio::spawn(async move {
            let answer = match resolver {
                Some(resolver) => tokio::time::timeout(LIMIT, ask(&resolver, &question))
                    .await
                    .unwrap_or(Answer::Failed),
                None => Answer::Failed,
            };
            answers.post(Named { question, answer }).await;
            drop(permit);
        });
    }
}

async fn ask(resolver: &TokioResolver, question: &Question) -> Answer {
    let Ok(mut name) = Name::from_ascii(&question.name) else {
        return Answer::Nothing { ttl: NEGATIVE };
    };
    // No search domains: "trunk" must not become "trunk.example.com".
    name.set_fqdn(true);
    let kind = match question.kind {
        Kind::Naptr => RecordType::NAPTR,
        Kind::Srv => RecordType::SRV,
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
    };
    match resolver.lookup(name, kind).await {
        Ok(found) => {
            let ttl = found
                .valid_until()
                .saturating_duration_since(Instant::now());
            let data: Vec<&RData> = found.answers().iter().map(|record| &record.data).collect();
            let records = records(question.kind, &data);
            match &records {
                Records::Naptr(list) if list.is_empty() => Answer::Nothing { ttl },
                Records::Srv(list) if list.is_empty() => Answer::Nothing { ttl },
                Records::Addresses(list) if list.is_empty() => Answer::Nothing { ttl },
                _ => Answer::Found { records, ttl },
            }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none)))
            if matches!(
                none.response_code,
                ResponseCode::NXDomain | ResponseCode::NoError
            ) =>
        {
            let seconds = none.negative_ttl.map(|ttl| Duration::from_secs(ttl.into()));
            Answer::Nothing {
                ttl: seconds.unwrap_or(NEGATIVE),
            }
        }
        Err(_) => Answer::Failed,
    }
}

/// The records of the kind asked for; aliases on the way to them are left out.
fn records(kind: Kind, data: &[&RData]) -> Records {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match kind {
        Kind::Naptr => Records::Naptr(
            data.iter()
                .filter_map(|data| match data {
                    RData::NAPTR(record) => Some(Naptr {
                        order: record.order,
                        preference: record.preference,
                        flags: text(&record.flags),
                        service: text(&record.services),
                        replacement: record.replacement.to_ascii(),
                    }),
                    _ => None,
                })
                .collect(),
        ),
        Kind::Srv => Records::Srv(
            data.iter()
                .filter_map(|data| match data {
                    RData::SRV(record) => Some(Srv {
                        priority: record.priority,
                        weight: record.weight,
                        port: record.port,
                        target: record.target.to_ascii(),
                    }),
                    _ => None,
                })
                .collect(),
        ),
        Kind::A | Kind::Aaaa => Records::Addresses(
            data.iter()
                .filter_map(|data| match data {
                    RData::A(address) => Some(IpAddr::from(address.0)),
                    RData::AAAA(address) => Some(IpAddr::from(address.0)),
                    _ => None,
                })
                .collect(),
        ),
    }
}
