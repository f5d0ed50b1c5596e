//! Asks the running server over its HTTP listener.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url};

use super::Failure;

/// Connecting may take so long; it is this machine, or one on its network.
const CONNECT: Duration = Duration::from_secs(3);

/// The answer to a GET with these parameters; `None` when the server does not run, or knows nothing of it (404).
pub(super) async fn get(
    conf: &conf::Resolved,
    path: &str,
    parameters: &[(&str, &str)],
) -> Result<Option<Response>, Failure> {
    let Some(address) = conf.http else {
        return Ok(None);
    };
    // A wildcard is listened on, not asked.
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv6() {
            std::net::Ipv6Addr::LOCALHOST.into()
        } else {
            std::net::Ipv4Addr::LOCALHOST.into()
        });
    }
    // Fails only when it was done before, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT)
        .build()
        .map_err(|error| Failure(format!("error: {error}")))?;
    let url = Url::parse_with_params(&format!("http://{address}{path}"), parameters)
        .map_err(|error| Failure(format!("error: {error}")))?;
    let mut request = client.get(url);
    if let Some(token) = &conf.http_token {
        request = request.bearer_auth(token.expose());
    }
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() => return Ok(None),
        Err(error) => return Err(Failure(format!("error: the server at {address}: {error}"))),
    };
    match response.status() {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_success() => Ok(Some(response)),
        status => {
            let why = response.text().await.unwrap_or_default();
            let why: String = why.lines().take(1).collect();
            Err(Failure(format!(
                "error: the server at {address} says {status}: {why}"
            )))
        }
    }
}
