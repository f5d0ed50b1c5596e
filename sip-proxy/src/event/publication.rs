//! Event state that user agents publish (RFC 3903): the compositor's side.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::message::{HeaderName, Message, OutgoingResponse};

/// Bounds and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicationConfig {
    /// Publications in all; one more is refused 503.
    pub max: usize,
    /// Publications of one resource; one more takes the oldest one's place.
    pub max_per_resource: usize,
    /// Longest body kept, octets; a longer one is refused 413.
    pub max_body: usize,
    /// Shorter is refused with 423, seconds.
    pub min_expires: u32,
    /// Longer is shortened, seconds.
    pub max_expires: u32,
}

impl Default for PublicationConfig {
    fn default() -> Self {
        Self {
            max: 10_000,
            max_per_resource: 4,
            max_body: 8_192,
            min_expires: 60,
            max_expires: 3_600,
        }
    }
}

#[derive(Debug)]
struct Publication {
    etag: String,
    body: Bytes,
    expires: Instant,
}

/// What came of a PUBLISH.
#[derive(Debug)]
pub struct Published {
    /// The answer.
    pub response: OutgoingResponse,
    /// Whether the resource's state is another now.
    pub changed: bool,
}

impl Published {
    fn refused(response: OutgoingResponse) -> Self {
        Self {
            response,
            changed: false,
        }
    }
}

/// The table.
#[derive(Debug)]
pub struct Publications<R> {
    config: PublicationConfig,
    table: BTreeMap<R, Vec<Publication>>,
    wakes: BTreeSet<(Instant, R)>,
    count: usize,
}

impl<R: Ord + Clone> Publications<R> {
    /// An empty table.
    #[must_use]
    pub fn new(config: PublicationConfig) -> Self {
        Self {
            config,
            table: BTreeMap::new(),
            wakes: BTreeSet::new(),
            count: 0,
        }
    }

    /// Publications held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is published.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What was published last of what still holds.
    #[must_use]
    pub fn latest(&self, resource: &R, now: Instant) -> Option<&Bytes> {
        let all = self.table.get(resource)?;
        all.iter()
            .rev()
            .find(|publication| publication.expires > now)
            .map(|publication| &publication.body)
    }

    /// One PUBLISH of an authorised publisher (section 6). `random` makes the entity tag.
    pub fn publish(
        &mut self,
        now: Instant,
        resource: &R,
        message: &Message,
        content_type: &str,
        random: u64,
    ) -> Published {
        let config = self.config;
        let asked = message.expires().unwrap_or(config.max_expires);
        if asked != 0 && asked < config.min_expires {
            let least = config.min_expires.to_string();
            let refusal = OutgoingResponse::new(423).with_header(HeaderName::MinExpires, least);
            return Published::refused(refusal);
        }
        let mut tags = message.values(&HeaderName::SipIfMatch);
        let condition = tags.next().map(str::trim);
        if tags.next().is_some() {
            return Published::refused(
                OutgoingResponse::new(400).with_reason("One SIP-If-Match Only"),
            );
        }
        let body = message.body_bytes();
        if let Some(refusal) = self.bad_body(message, content_type, condition, asked) {
            return Published::refused(refusal);
        }
        let before = self.table.get(resource).map_or(0, Vec::len);
        if condition.is_none() && asked != 0 && before == 0 && self.count >= config.max {
            let refusal = OutgoingResponse::new(503).with_header(HeaderName::RetryAfter, "60");
            return Published::refused(refusal);
        }
        let expires = asked.min(config.max_expires);
        let publication = Publication {
            etag: format!("{random:016x}"),
            body,
            expires: now + Duration::from_secs(u64::from(expires)),
        };
        let response = OutgoingResponse::new(200)
            .with_header(HeaderName::SipETag, publication.etag.clone())
            .with_header(HeaderName::Expires, expires.to_string());
        let mut all = self.take(resource);
        all.retain(|publication| publication.expires > now);
        let changed = match condition {
            None => {
                if asked == 0 {
                    // A publication that ends as it begins changes nothing (section 6 step 5).
                    self.put(resource, all);
                    return Published::refused(response);
                }
                if all.len() >= config.max_per_resource {
                    all.remove(0);
                }
                all.push(publication);
                true
            }
            Some(etag) => {
                let Some(at) = all.iter().position(|known| known.etag == etag) else {
                    self.put(resource, all);
                    return Published::refused(OutgoingResponse::new(412));
                };
                let old = all.remove(at);
                if asked == 0 {
                    true
                } else if message.body().is_empty() {
                    let body = old.body;
                    all.insert(
                        at,
                        Publication {
                            body,
                            ..publication
                        },
                    );
                    false
                } else {
                    all.push(publication);
                    true
                }
            }
        };
        self.put(resource, all);
        Published { response, changed }
    }

    fn bad_body(
        &self,
        message: &Message,
        content_type: &str,
        condition: Option<&str>,
        asked: u32,
    ) -> Option<OutgoingResponse> {
        if message.body().is_empty() {
            return (condition.is_none() && asked != 0)
                .then(|| OutgoingResponse::new(400).with_reason("Nothing Published"));
        }
        let kind = message.content_type().unwrap_or("");
        let essence = kind.split(';').next().unwrap_or("").trim();
        if !essence.eq_ignore_ascii_case(content_type) {
            let accept = content_type.to_owned();
            return Some(OutgoingResponse::new(415).with_header(HeaderName::Accept, accept));
        }
        (message.body().len() > self.config.max_body).then(|| OutgoingResponse::new(413))
    }

    /// When [`Self::expire`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Removes what has ended; the resources whose state is another now.
    pub fn expire(&mut self, now: Instant) -> Vec<R> {
        let mut changed = Vec::new();
        while let Some((at, resource)) = self.wakes.first().cloned() {
            if at > now {
                break;
            }
            let mut all = self.take(&resource);
            all.retain(|publication| publication.expires > now);
            self.put(&resource, all);
            changed.push(resource);
        }
        changed
    }

    /// Forgets all of a resource: its account is revoked.
    pub fn forget(&mut self, resource: &R) {
        self.take(resource);
    }

    fn take(&mut self, resource: &R) -> Vec<Publication> {
        let all = self.table.remove(resource).unwrap_or_default();
        self.count -= all.len();
        if let Some(first) = earliest(&all) {
            self.wakes.remove(&(first, resource.clone()));
        }
        all
    }

    fn put(&mut self, resource: &R, all: Vec<Publication>) {
        let Some(first) = earliest(&all) else { return };
        self.wakes.insert((first, resource.clone()));
        self.count += all.len();
        self.table.insert(resource.clone(), all);
    }
}

fn earliest(all: &[Publication]) -> Option<Instant> {
    all.iter().map(|publication| publication.expires).min()
}
