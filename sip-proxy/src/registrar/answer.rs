//! The 200 to a REGISTER: every current contact, and what the registrar supports (10.3 step 8).

use std::fmt::Write as _;
use std::time::Instant;

use super::{RegistrarConfig, takes};
use crate::gruu::Gruus;
use crate::location::{Binding, Location};
use crate::message::{Contacts, HeaderName, Message, OutgoingResponse};
use crate::uri::Uri;

pub(super) fn current(
    config: &RegistrarConfig,
    location: &Location,
    now: Instant,
    request: &Message,
    aor: &str,
) -> OutgoingResponse {
    let mut response = OutgoingResponse::new(200);
    let gruus = config.gruus.as_ref().filter(|_| takes(request, "gruu"));
    let mut by_flow = false;
    for binding in location
        .bindings(aor)
        .iter()
        .filter(|binding| binding.expires > now)
    {
        // Of the bindings, those this request has set.
        by_flow |= binding.outbound
            && binding.cseq == request.cseq()
            && &*binding.call_id == request.call_id();
        let value = contact_value(binding, now, aor, gruus, request.cseq());
        response = response.with_header(HeaderName::Contact, value);
    }
    let proxied = request.header(&HeaderName::Path).is_some();
    if proxied && takes(request, "path") {
        for path in request.values(&HeaderName::Path) {
            response = response.with_header(HeaderName::Path, path.to_owned());
        }
    }
    for route in &config.service_route {
        response = response.with_header(HeaderName::ServiceRoute, route.clone());
    }
    if by_flow {
        response = response.with_header(HeaderName::Require, "outbound");
        if let Some(seconds) = config.flow_timer {
            response =
                response.with_header(HeaderName::Other("Flow-Timer".into()), seconds.to_string());
        }
    }
    for service in push_services(config, request) {
        response = response.with_header(
            HeaderName::Other("Feature-Caps".into()),
            format!("*;+sip.pns=\"{service}\""),
        );
    }
    let supported = if config.gruus.is_some() {
        "path, outbound, gruu"
    } else {
        "path, outbound"
    };
    response.with_header(HeaderName::Supported, supported)
}

/// The push notification services to name: the one a contact uses, or all to a contact that asks by an empty
/// `pn-provider` (RFC 8599 section 4.1).
fn push_services<'a>(config: &'a RegistrarConfig, request: &Message) -> Vec<&'a str> {
    if config.push.is_empty() {
        return Vec::new();
    }
    let Ok(Contacts::List(list)) = request.contacts() else {
        return Vec::new();
    };
    let asked: Vec<Option<String>> = list
        .iter()
        .filter_map(|contact| Uri::parse(contact.name_addr.uri).ok())
        .filter_map(|uri| {
            uri.params()
                .find(|(name, _)| name.eq_ignore_ascii_case("pn-provider"))
                .map(|(_, value)| value.map(str::to_owned))
        })
        .collect();
    let wanted = |service: &str| {
        asked.iter().any(|one| match one.as_deref() {
            None | Some("") => true,
            Some(one) => one.eq_ignore_ascii_case(service),
        })
    };
    config
        .push
        .iter()
        .map(String::as_str)
        .filter(|service| wanted(service))
        .collect()
}

fn contact_value(
    binding: &Binding,
    now: Instant,
    aor: &str,
    gruus: Option<&Gruus>,
    cseq: u32,
) -> String {
    let mut value = String::with_capacity(binding.contact.len() + 48);
    // Writing to a String cannot fail.
    let _ = write!(
        value,
        "<{}>;expires={}",
        binding.contact,
        binding.remaining(now)
    );
    if binding.q != 1000 {
        let _ = write!(value, ";q=0.{:03}", binding.q);
    }
    let Some(instance) = &binding.instance else {
        return value;
    };
    let _ = write!(value, ";+sip.instance=\"{instance}\"");
    if let Some(reg_id) = binding.reg_id {
        let _ = write!(value, ";reg-id={reg_id}");
    }
    if let (Some(gruus), Some(number)) = (gruus, binding.gruu) {
        let _ = write!(
            value,
            ";pub-gruu=\"{}\";temp-gruu=\"{}\"",
            Gruus::public(aor, instance),
            gruus.temporary(aor, number, cseq)
        );
    }
    value
}
