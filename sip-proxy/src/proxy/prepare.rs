//! Request validation and route preprocessing (RFC 3261 sections 16.3 and 16.4).

use super::ProxyConfig;
use super::token::Tokens;
use crate::dialog::uri_of;
use crate::message::{HeaderName, Message, Method, OutgoingResponse};
use crate::uri::{Scheme, Uri};

/// Max-Breadth of a request that names none (RFC 5393 section 5.3.3.1).
const DEFAULT_BREADTH: u32 = 60;
/// Route values of ours worked off from the top: one Record-Route is two at most, a spiral through us adds two more.
const MAX_OWN_ROUTES: usize = 4;

/// A valid request with its routes worked off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Where it goes.
    pub next: Next,
    /// The Request-URI meant, where a strict router before us moved it to the end of the Route (16.4).
    pub uri: Option<String>,
    /// Own Route values to take off the top.
    pub(super) pop_routes: usize,
    /// The Route values that stay, where the last one became the Request-URI.
    pub(super) routes: Option<Vec<String>>,
    pub(super) breadth: u32,
    pub(super) loop_hash: u64,
}

/// The next step, the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A request outside a dialog: authenticate it, find its Request-URI in the plan or the location service.
    Location,
    /// A request within a dialog routed here before: resolve this URI (RFC 3263) and pass it on, Request-URI kept.
    Hop(String),
}

pub(super) fn prepare(
    config: &ProxyConfig,
    tokens: &Tokens,
    message: &Message,
) -> Result<Prepared, Box<OutgoingResponse>> {
    validate(message)?;
    let loop_hash = tokens.loop_hash(message);
    if has_visited(message, loop_hash) {
        return Err(refuse(482));
    }
    let mut routes: Vec<&str> = message.values(&HeaderName::Route).collect();
    let call_id = message.call_id();
    let mut by_token = false;
    let mut uri = None;
    // A strict router before us put our Record-Route into the Request-URI; the real one is the last Route.
    if has_token(tokens, message.uri(), call_id) {
        let last = routes.pop().ok_or_else(|| refuse(404))?;
        uri = Some(uri_of(last).to_owned());
        by_token = true;
    }
    let mut pop_routes = 0;
    while pop_routes < MAX_OWN_ROUTES {
        let Some(top) = routes
            .get(pop_routes)
            .map(|route| uri_of(route))
            // A token of ours is proof enough: a wildcard listener has more addresses than anybody listed.
            .filter(|top| has_token(tokens, top, call_id) || is_own(config, top))
        else {
            break;
        };
        by_token |= has_token(tokens, top, call_id);
        pop_routes += 1;
    }
    let onward = routes.get(pop_routes).map(|route| uri_of(route).to_owned());
    let within = message.to_tag().is_some();
    let next = match (by_token, onward) {
        (true, Some(route)) => Next::Hop(route),
        (true, None) if within => {
            Next::Hop(uri.clone().unwrap_or_else(|| message.uri().to_owned()))
        }
        // Routes past us on nobody's word: this is how an open relay is used.
        (false, Some(_)) => return Err(refuse(403)),
        (false, None) if within => return Err(refuse(481)),
        // Phones put their outbound proxy into a Route: it means us and nothing more.
        (_, None) => Next::Location,
    };
    let routes = uri.is_some().then(|| {
        routes
            .iter()
            .skip(pop_routes)
            .map(|&route| route.to_owned())
            .collect()
    });
    let breadth = message
        .header(&HeaderName::MaxBreadth)
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(DEFAULT_BREADTH);
    Ok(Prepared {
        next,
        uri,
        pop_routes,
        routes,
        breadth,
        loop_hash,
    })
}

/// A refusal that follows from the request alone keeps no transaction (8.2.7).
fn refuse(status: u16) -> Box<OutgoingResponse> {
    Box::new(OutgoingResponse::new(status).stateless())
}

/// 16.3 steps 2, 3 and 5; the syntax was checked when the message was parsed.
fn validate(message: &Message) -> Result<(), Box<OutgoingResponse>> {
    match message.request_uri().map(|uri| uri.scheme()) {
        Ok(Scheme::Sip | Scheme::Sips) => {}
        _ => return Err(refuse(416)),
    }
    if message.max_forwards() == Some(0) {
        return Err(refuse(483));
    }
    // An ACK or CANCEL is never refused for an extension (8.2.2.3).
    if matches!(message.method(), Method::Ack | Method::Cancel) {
        return Ok(());
    }
    let wanted: Vec<&str> = message
        .values(&HeaderName::ProxyRequire)
        .filter(|option| !option.is_empty())
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    Err(Box::new(
        OutgoingResponse::new(420)
            .with_header(HeaderName::Unsupported, wanted.join(", "))
            .stateless(),
    ))
}

/// 16.3 step 4: one of the Vias is ours and saw this very request.
fn has_visited(message: &Message, loop_hash: u64) -> bool {
    message.vias().filter_map(Result::ok).any(|via| {
        via.rfc3261_branch()
            .and_then(|branch| branch.split('.').nth(2))
            .is_some_and(|hash| u64::from_str_radix(hash, 16) == Ok(loop_hash))
    })
}

fn is_own(config: &ProxyConfig, uri: &str) -> bool {
    let Ok(uri) = Uri::parse(uri) else {
        return false;
    };
    let port = uri.port().unwrap_or(if uri.scheme() == Scheme::Sips {
        5061
    } else {
        5060
    });
    config
        .own
        .iter()
        .any(|(host, own)| *own == port && host.eq_ignore_ascii_case(uri.host_str()))
}

fn has_token(tokens: &Tokens, uri: &str, call_id: &str) -> bool {
    Uri::parse(uri).is_ok_and(|uri| uri.user().is_some_and(|user| tokens.is_ours(user, call_id)))
}
