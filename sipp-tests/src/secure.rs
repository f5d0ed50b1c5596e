//! The TLS and WebSocket side of a building: its own authority and certificate, and the listeners that show it.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::building::{Addresses, DOMAIN};

/// Ports of a building beside its SIP port, and the page browsers load.
#[derive(Clone, Copy, Debug)]
pub struct Doors {
    /// SIP over TLS.
    pub tls: SocketAddr,
    /// WebSocket.
    pub ws: SocketAddr,
    /// Secure WebSocket.
    pub wss: SocketAddr,
    /// The page.
    pub page: SocketAddr,
}

impl Doors {
    /// Those of a building.
    pub fn of(addresses: Addresses) -> Self {
        let at = |further: u16| {
            let server = addresses.server();
            SocketAddr::new(server.ip(), server.port() + further)
        };
        Self {
            tls: at(2),
            ws: at(4),
            wss: at(6),
            page: at(8),
        }
    }

    /// The listeners, as written in the configuration.
    pub fn listeners(self) -> String {
        let Self { tls, ws, wss, page } = self;
        format!(
            r#"
[[listen]]
transport = "tls"
address = "{tls}"
certificate = "server.pem"
key = "server.key"

[[listen]]
transport = "ws"
address = "{ws}"
origins = ["http://{page}"]

[[listen]]
transport = "wss"
address = "{wss}"
certificate = "server.pem"
key = "server.key"
origins = ["http://{page}"]
"#
        )
    }
}

/// Writes `ca.pem`, `server.pem` and `server.key` into a building's directory.
pub fn certify(dir: &Path) -> Result<()> {
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    std::fs::write(dir.join("ca.pem"), authority.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(authority, key);
    let names = [DOMAIN, "localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let key = KeyPair::generate()?;
    let server = CertificateParams::new(names.to_vec())?.signed_by(&key, &issuer)?;
    std::fs::write(dir.join("server.pem"), server.pem())?;
    std::fs::write(dir.join("server.key"), key.serialize_pem())?;
    Ok(())
}
