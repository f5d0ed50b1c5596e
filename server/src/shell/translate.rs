//! The configuration in the words of the pure machines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use conf::Transport;
use conf::station::{DtmfMethod as Written, Profile};
use intercom::StationProfile;
use intercom::config::{CallLimits, Listener, RegistrationLimits, TrustedPeer};
use intercom::profile::{
    AutoAnswer, BuzzBy, BuzzOut, DigitsOut, DtmfMethod, Password, Qualified, Reinvite,
    StationLogin, StationOut, Stations,
};
use media_bridge::Pacing;
use sip_proxy::event::{NotifierConfig, Pace, PublicationConfig};
use sip_proxy::{EndpointConfig, Flow, Limits, SessionPolicy, Timers};

use super::house::Bound;

/// Free media leases kept per worker and family: calls that may begin before a worker has answered.
const LEASES_KEPT: usize = 256;

/// The B2BUA's configuration, with what only the machine knows: bound addresses, fresh keys, worker threads.
pub(super) fn intercom(
    conf: &conf::Resolved,
    bound: &[Bound],
    nonce_key: [u8; 32],
    workers: u16,
) -> intercom::Config {
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let own = advertised(bound);
    let limits = Limits {
        message_bytes: conf.limits.message_bytes,
        ..Limits::default()
    };
    let timers = Timers {
        t1: conf.sip.t1,
        t2: conf.sip.t2,
        t4: conf.sip.t4,
        ..Timers::default()
    };
    let mut families: Vec<bool> = conf
        .media
        .addresses
        .iter()
        .map(|address| address.bind.is_ipv6())
        .collect();
    families.sort_unstable();
    families.dedup();
    intercom::Config {
        site: conf.site.name.clone(),
        domains: conf.site.domains.clone(),
        realm: conf.site.realm.clone(),
        nonce_key,
        nonce_life: conf.sip.nonce_life,
        gruu_key: None,
        digest: conf.sip.digest.clone(),
        events: events(&conf.events),
        qualify: intercom::config::QualifyConfig {
            doors: conf.qualify.doors,
            devices: conf.qualify.devices,
            lag: conf.qualify.lag,
        },
        unlock: intercom::unlock::Config {
            chain_timeout: conf.unlock.intent_life,
            per_door_per_minute: conf.unlock.per_minute as usize,
            ..intercom::unlock::Config::default()
        },
        high_water: None,
        trusted: trusted(conf, bound),
        proxy_key: nonce_key,
        trunks: trunks(conf),
        certified: conf.certified.clone(),
        advertise: own.clone(),
        listeners: bound.iter().map(listener).collect(),
        pictures: conf
            .doors
            .iter()
            .filter_map(|(name, door)| Some((name.clone(), door.picture.clone()?)))
            .collect(),
        limits: CallLimits {
            max_calls: conf.limits.calls,
            max_calls_per_device: conf.limits.calls_per_account,
            max_duration: conf.limits.call_duration,
            max_hold: conf.limits.hold_duration,
            probe: conf.limits.call_probe,
            ..CallLimits::default()
        },
        session: SessionPolicy {
            expires: seconds(conf.sip.session_expires),
            min: seconds(conf.sip.min_se),
        },
        registration: RegistrationLimits {
            min_expires: seconds(conf.sip.register_min),
            max_expires: seconds(conf.sip.register_max),
            default_expires: seconds(conf.sip.register_default),
            max_contacts: conf.sip.contacts_max,
            max_bindings: conf.limits.registrations,
            strict_path: conf.sip.path_strict,
            service_route: conf.sip.service_route.clone(),
            flow_timer: conf.sip.flow_timer.map(seconds),
            push: conf.sip.push_services.clone(),
        },
        profiles: conf
            .stations
            .values()
            .map(|written| (written.name.clone(), Arc::new(profile(written))))
            .collect(),
        endpoint: EndpointConfig {
            limits,
            timers,
            advertise: own,
            ..EndpointConfig::default()
        },
        media_workers: workers,
        media_families: families,
        leases_kept: LEASES_KEPT,
        ladder_octets: conf.trace.memory,
    }
}

/// What is written for each listener.
fn advertised(bound: &[Bound]) -> BTreeMap<SocketAddr, String> {
    bound
        .iter()
        .map(|bound| bound.advertise.unwrap_or(bound.address))
        .filter(|address| !address.ip().is_unspecified())
        .map(|address| (address, address.to_string()))
        .collect()
}

/// A listener as peers are told of it. On a wildcard: the address this machine would go out from.
fn listener(bound: &Bound) -> Listener {
    let mut local = bound.advertise.unwrap_or(bound.address);
    if local.ip().is_unspecified() {
        local.set_ip(crate::transport::udp::way_out(local.is_ipv6()));
    }
    Listener {
        transport: bound.transport,
        local,
    }
}

/// The trunks, by name.
pub(super) fn trunks(conf: &conf::Resolved) -> BTreeMap<String, Arc<pstn::Trunk>> {
    conf.trunks
        .iter()
        .map(|(name, trunk)| (name.clone(), Arc::new(trunk.clone())))
        .collect()
}

/// Stations that are known by their address.
pub(super) fn trusted(conf: &conf::Resolved, bound: &[Bound]) -> Vec<TrustedPeer> {
    let peers = conf.trusted.iter();
    peers
        .map(|(address, account)| TrustedPeer {
            address: *address,
            account: account.clone(),
            contact: contact(bound, account, SocketAddr::new(*address, 5060)),
        })
        .collect()
}

/// Where a station that never registers is called: its address, from the first UDP listener of that family.
fn contact(bound: &[Bound], account: &str, remote: SocketAddr) -> Option<(String, Flow)> {
    let udp = bound.iter().find(|bound| {
        bound.transport == Transport::Udp && bound.address.is_ipv6() == remote.is_ipv6()
    })?;
    let flow = Flow {
        transport: sip_proxy::Transport::Udp,
        local: udp.advertise.unwrap_or(udp.address),
        remote,
        connection: None,
    };
    Some((format!("sip:{account}@{remote}"), flow))
}

/// Limits of subscriptions and publications.
fn events(written: &conf::Events) -> intercom::config::EventLimits {
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let (min_expires, max_expires) = (seconds(written.min), seconds(written.max));
    intercom::config::EventLimits {
        notifier: NotifierConfig {
            max: written.subscriptions,
            max_per_watcher: written.per_account,
            min_expires,
            max_expires,
            pace: Pace {
                interval: written.interval,
                ..Pace::default()
            },
        },
        publications: PublicationConfig {
            max: written.publications,
            min_expires,
            max_expires,
            ..PublicationConfig::default()
        },
    }
}

fn profile(written: &Profile) -> StationProfile {
    StationProfile {
        name: written.name.clone(),
        codecs: written.sip.codecs.clone(),
        dtmf: if written.dtmf_in.contains(&Written::Rfc4733) {
            DtmfMethod::Rtp
        } else {
            DtmfMethod::Info
        },
        ptime_ms: written.sip.ptime_ms,
        reinvite: if written.sip.reinvite {
            Reinvite::Allowed
        } else {
            Reinvite::Never
        },
        ring_limit: written.sip.ring_limit,
        early_media: written.sip.early_media,
        call_waiting: written.sip.call_waiting,
        probe: written.sip.probe,
        auto_answer: AutoAnswer {
            headers: written.sip.auto_answer.clone(),
        },
        qualify: match written.sip.qualify {
            None => Qualified::AsConfigured,
            Some(None) => Qualified::Never,
            Some(Some(time)) => Qualified::Every(time),
        },
        door_call: written.sip.door_call.clone(),
        repeats_nonce: written.sip.repeats_nonce,
        datagrams_only: written.sip.transports.iter().all(|t| t == "udp"),
    }
}

/// How each profile's stations are spoken to, and who we are to them.
pub(super) fn stations(conf: &conf::Resolved) -> Stations {
    let out = conf
        .stations
        .values()
        .map(|written| (written.name.clone(), station(written)))
        .collect();
    let logins = conf
        .doors
        .iter()
        .filter_map(|(name, door)| {
            let login = StationLogin {
                user: door.user.clone()?,
                password: Password::new(door.password.as_ref()?.expose()),
                realm: None,
                peers: door.url.as_deref().and_then(literal).into_iter().collect(),
            };
            Some((name.clone(), login))
        })
        .collect();
    Stations { out, logins }
}

/// The address in a URL; a host name gives none, for a name proves nothing about who challenges.
fn literal(url: &str) -> Option<std::net::IpAddr> {
    let (_, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let bare = || host.rsplit_once(':').map_or(host, |(host, _)| host);
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?.parse().ok(),
        None => bare().parse().ok(),
    }
}

fn station(written: &Profile) -> StationOut {
    let millis = |time: std::time::Duration| u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
    let digits = DigitsOut {
        method: match written.dtmf_out.method {
            Written::Rfc4733 => DtmfMethod::Rtp,
            Written::Info => DtmfMethod::Info,
            Written::InBand => DtmfMethod::InBand,
        },
        pacing: Pacing {
            tone_ms: millis(written.dtmf_out.tone),
            gap_ms: millis(written.dtmf_out.gap),
        },
        terminator: written.dtmf_out.terminator.clone(),
    };
    let buzz = written.unlock.buzz.as_ref().map(|buzz| BuzzOut {
        by: match buzz.method.as_str() {
            "INVITE" => BuzzBy::Invite,
            "MESSAGE" => BuzzBy::Message,
            _ => BuzzBy::Info,
        },
        header: buzz.header.clone(),
        value: buzz.value.clone(),
    });
    StationOut {
        digits,
        buzz: buzz.unwrap_or_default(),
        message_events: written.message_events.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_profiles_say_the_same_to_the_b2bua() {
        for written in conf::station::built_in().values() {
            let profile = profile(written);
            assert_eq!(profile.name, written.name);
            assert_eq!(profile.reinvite == Reinvite::Allowed, written.sip.reinvite);
            assert!(!profile.codecs.is_empty());
        }
    }

    #[test]
    fn a_2n_closes_its_code_and_an_akuvox_does_not() {
        let profiles = conf::station::built_in();
        assert_eq!(station(&profiles["2n"]).digits.terminator, "*");
        let akuvox = station(&profiles["akuvox"]).digits;
        assert_eq!(
            (akuvox.terminator.as_str(), akuvox.pacing.tone_ms),
            ("", 120)
        );
        assert_eq!(station(&profiles["generic"]).buzz.value, "buzz");
    }

    #[test]
    fn credentials_go_to_a_literal_address_only() {
        for (url, address) in [
            ("http://10.0.0.5", Some("10.0.0.5")),
            ("https://10.0.0.5:8443", Some("10.0.0.5")),
            ("https://[fd00::5]:443", Some("fd00::5")),
            ("http://[fd00::5]", Some("fd00::5")),
            ("http://door.example", None),
        ] {
            assert_eq!(literal(url), address.map(|a| a.parse().unwrap()), "{url}");
        }
    }
}
