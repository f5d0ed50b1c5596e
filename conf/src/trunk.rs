//! `[trunk.NAME]`: peers that carry calls to and from the telephone network; `[dns]`: who tells where they are.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use pstn::{Login, NumberForm, Trunk, TrunkError};
use toml::Spanned;

use crate::resolve::Check;
use crate::secret::Secret;
use crate::written::Written;

/// By which transport a trunk is spoken to.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum By {
    Udp,
    Tcp,
    Tls,
}

/// How a trunk wants numbers.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
enum Form {
    #[serde(rename = "e164")]
    E164,
    #[serde(rename = "digits")]
    Digits,
    #[serde(rename = "00")]
    International,
}

/// As written.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct WrittenTrunk {
    uri: Spanned<String>,
    #[serde(default)]
    transport: Written<By>,
    #[serde(default)]
    user: Written<String>,
    #[serde(default)]
    password: Written<Secret>,
    #[serde(default)]
    password_file: Written<String>,
    #[serde(default)]
    realm: Written<String>,
    #[serde(default)]
    addresses: Vec<Spanned<IpAddr>>,
    #[serde(default)]
    caller_id: Written<String>,
    #[serde(default)]
    numbers: Option<Form>,
}

/// As written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct WrittenDns {
    servers: Vec<Spanned<String>>,
}

impl Check<'_> {
    pub(crate) fn trunks(
        &mut self,
        written: &BTreeMap<String, Spanned<WrittenTrunk>>,
    ) -> BTreeMap<String, Trunk> {
        let mut trunks = BTreeMap::new();
        let mut sources: BTreeMap<IpAddr, &str> = BTreeMap::new();
        for (name, trunk) in written {
            let trunk = trunk.get_ref();
            for address in &trunk.addresses {
                let ip = address.get_ref().to_canonical();
                let key = format!("trunk.{name}.addresses");
                if ip.is_unspecified() || ip.is_multicast() {
                    let hint = "name the servers the trunk's calls come from";
                    self.fault(&address.span(), &key, "not one peer's address", hint);
                }
                if let Some(other) = sources.insert(ip, name) {
                    let hint = format!("[trunk.{other}] has it too: one address is one trunk");
                    self.fault(&address.span(), &key, "named twice", hint);
                }
            }
            if let Some(resolved) = self.trunk(name, trunk) {
                trunks.insert(name.clone(), resolved);
            }
        }
        trunks
    }

    fn trunk(&mut self, name: &str, written: &WrittenTrunk) -> Option<Trunk> {
        let key = |field: &str| format!("trunk.{name}.{field}");
        let mut uri = written.uri.get_ref().clone();
        if let Some(by) = &written.transport {
            let word = match by.get_ref() {
                By::Udp => "udp",
                By::Tcp => "tcp",
                By::Tls => "tls",
            };
            if uri.contains(";transport=") {
                let hint = "keep one of the two";
                self.fault(&by.span(), &key("transport"), "the URI names one too", hint);
            }
            uri = format!("{uri};transport={word}");
        }
        let mut trunk = match Trunk::new(name, &uri) {
            Ok(trunk) => trunk,
            Err(error) => {
                let hint = match error {
                    TrunkError::User => "the number dialled becomes the user part",
                    _ => "write \"sip:trunk.example.com\" or \"sip:192.0.2.1:5060\"",
                };
                self.fault(&written.uri.span(), &key("uri"), error, hint);
                return None;
            }
        };
        let password = self.password(
            &key("password-file"),
            &written.password,
            &written.password_file,
        );
        trunk.login = match (&written.user, password) {
            (Some(user), Some(password)) => Some(Login {
                user: user.get_ref().clone(),
                password: pstn::Secret::new(password.expose()),
                realm: written.realm.as_ref().map_or_else(
                    || trunk.domain().to_owned(),
                    |realm| realm.get_ref().clone(),
                ),
            }),
            (Some(user), None) if written.password_file.is_none() => {
                let hint = "add password-file";
                self.fault(&user.span(), &key("user"), "a user without password", hint);
                None
            }
            (None, Some(_)) => {
                let hint = "add user";
                self.fault(
                    &written.uri.span(),
                    &key("password"),
                    "a password without user",
                    hint,
                );
                None
            }
            _ => None,
        };
        trunk.addresses = written
            .addresses
            .iter()
            .map(|address| address.get_ref().to_canonical())
            .collect();
        trunk.numbers = match written.numbers {
            None | Some(Form::E164) => NumberForm::E164,
            Some(Form::Digits) => NumberForm::Digits,
            Some(Form::International) => NumberForm::International,
        };
        if let Some(number) = &written.caller_id {
            if trunk.request_uri(number.get_ref()).is_none() {
                let hint = "write it with its country: \"+420222000111\"";
                self.fault(
                    &number.span(),
                    &key("caller-id"),
                    "not a telephone number",
                    hint,
                );
            }
            trunk.caller_id = Some(number.get_ref().clone());
        }
        Some(trunk)
    }

    /// Name servers, port 53 where none is written.
    pub(crate) fn dns(&mut self, written: &WrittenDns) -> Vec<SocketAddr> {
        let mut servers = Vec::new();
        for server in &written.servers {
            let text = server.get_ref();
            let whole = text.parse::<SocketAddr>();
            let address = whole.or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, 53)));
            match address {
                Ok(address) => servers.push(address),
                Err(_) => self.fault(
                    &server.span(),
                    "dns.servers",
                    format_args!("`{text}` is not an address"),
                    "write \"192.0.2.53\" or \"192.0.2.53:5353\"",
                ),
            }
        }
        servers
    }
}
