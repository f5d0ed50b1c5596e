//! A SIP phone of the demo: an endpoint of `sip-proxy` on a real UDP socket, which registers, calls and is called.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use conf::Secret;
use sip_proxy::digest::client::{self, Secret as Proof};
use sip_proxy::message::HeaderName;
use sip_proxy::{
    Body, ClientTx, Dialog, Endpoint, EndpointConfig, Flow, Input, Message, Method,
    OutgoingRequest, OutgoingResponse, Output, ServerTx, Transport,
};
use tokio::net::UdpSocket;

/// No step of the demo call takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who a phone is.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) domain: String,
}

/// A phone.
pub(super) struct Phone {
    pub(super) account: Account,
    flow: Flow,
    socket: UdpSocket,
    endpoint: Endpoint,
    outputs: VecDeque<Output>,
    next_tx: u64,
    serial: u64,
}

/// When a call's provisional responses came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) sent: Option<Instant>,
    pub(super) ringing: Option<Instant>,
    pub(super) answered: Option<Instant>,
}

impl Phone {
    pub(super) async fn new(account: Account, server: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).await?;
        let flow = Flow {
            transport: Transport::Udp,
            local: socket.local_addr()?,
            remote: server,
            connection: None,
        };
        let config = EndpointConfig {
            server_name: "Doorward-demo".to_owned(),
            ..EndpointConfig::default()
        };
        let endpoint = Endpoint::new(config, crate::shell::system_rng());
        Ok(Self {
            account,
            flow,
            socket,
            endpoint,
            outputs: VecDeque::new(),
            next_tx: 1,
            serial: 0,
        })
    }

    pub(super) fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.account.user, self.flow.local)
    }

    fn feed(&mut self, input: Input) {
        self.outputs
            .extend(self.endpoint.handle(Instant::now(), input));
    }

    /// The next thing the endpoint has for its user.
    pub(super) async fn event(&mut self) -> anyhow::Result<Output> {
        tokio::time::timeout(PATIENCE, self.next_event())
            .await
            .context("nothing happened in time")?
    }

    async fn next_event(&mut self) -> anyhow::Result<Output> {
        let mut buffer = vec![0; 65_536];
        loop {
            match self.outputs.pop_front() {
                Some(Output::Transmit { flow, bytes }) => {
                    self.socket.send_to(&bytes, flow.remote).await?;
                }
                Some(output) => return Ok(output),
                None => {
                    let due = self
                        .endpoint
                        .next_timeout()
                        .unwrap_or_else(|| Instant::now() + PATIENCE);
                    tokio::select! {
                        received = self.socket.recv_from(&mut buffer) => {
                            let (length, remote) = received?;
                            let bytes = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
                            self.feed(Input::Received { flow: Flow { remote, ..self.flow }, bytes });
                        }
                        () = tokio::time::sleep_until(due.into()) => self.feed(Input::Timeout),
                    }
                }
            }
        }
    }

    fn random(&mut self) -> String {
        self.serial += 1;
        format!("{:016x}", crate::shell::system_rng().next_u64())
    }

    fn request(&mut self, method: Method, uri: String, to: String) -> OutgoingRequest {
        let address = format!("<sip:{}@{}>", self.account.user, self.account.domain);
        let (tag, call_id) = (self.random(), self.random());
        OutgoingRequest {
            method,
            uri,
            from: format!("{address};tag={tag}"),
            to,
            call_id,
            cseq: 1,
            max_forwards: 70,
            route: Vec::new(),
            contact: Some(self.contact()),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Registers for so many seconds; zero takes the registration back.
    pub(super) async fn register(&mut self, expires: u32) -> anyhow::Result<()> {
        let domain = self.account.domain.clone();
        let to = format!("<sip:{}@{domain}>", self.account.user);
        let mut request = self.request(Method::Register, format!("sip:{domain}"), to);
        request
            .headers
            .push((HeaderName::Expires, expires.to_string()));
        let (response, _) = self.transact(request, &mut Progress::default()).await?;
        match response.status() {
            Some(200) => Ok(()),
            status => bail!(
                "REGISTER of {} was answered {status:?} {}",
                self.account.user,
                response.reason()
            ),
        }
    }

    /// Calls `user` with an offer; gives the answer's message, the dialog and when what happened.
    pub(super) async fn call(
        &mut self,
        user: &str,
        offer: Bytes,
    ) -> anyhow::Result<(Message, Dialog, Progress)> {
        let uri = format!("sip:{user}@{}", self.account.domain);
        let mut request = self.request(Method::Invite, uri.clone(), format!("<{uri}>"));
        request.body = Some(Body {
            content_type: "application/sdp".to_owned(),
            bytes: offer,
        });
        let mut progress = Progress::default();
        let (response, sent) = self.transact(request, &mut progress).await?;
        if response.status() != Some(200) {
            bail!(
                "INVITE to {user} was answered {:?} {}",
                response.status(),
                response.reason()
            );
        }
        progress.answered = Some(Instant::now());
        let dialog = Dialog::from_response(&sent, &response, self.flow)
            .map_err(|reject| anyhow::anyhow!("the 200 makes no dialog: {}", reject.reason))?;
        let invite = ClientTx(self.next_tx - 1);
        self.feed(Input::Ack {
            request: dialog.ack(sent.cseq),
            to: self.flow,
            invite,
        });
        Ok((response, dialog, progress))
    }

    /// Sends a request, answers one challenge, gives the final response and the request that got it.
    async fn transact(
        &mut self,
        mut request: OutgoingRequest,
        progress: &mut Progress,
    ) -> anyhow::Result<(Message, OutgoingRequest)> {
        let mut challenged = false;
        progress.sent = Some(Instant::now());
        loop {
            let tx = ClientTx(self.next_tx);
            self.next_tx += 1;
            self.feed(Input::Request {
                tx,
                request: request.clone(),
                to: self.flow,
            });
            let response = self.final_response(tx, progress).await?;
            let (challenge, answer) = match response.status() {
                Some(401) => (HeaderName::WwwAuthenticate, HeaderName::Authorization),
                Some(407) => (
                    HeaderName::ProxyAuthenticate,
                    HeaderName::ProxyAuthorization,
                ),
                _ => return Ok((response, request)),
            };
            if challenged {
                return Ok((response, request));
            }
            challenged = true;
            let credentials =
                self.answer(&request, response.header(&challenge).unwrap_or_default())?;
            request.cseq += 1;
            request.headers.push((answer, credentials));
            progress.sent = Some(Instant::now());
        }
    }

    fn answer(&mut self, request: &OutgoingRequest, challenge: &str) -> anyhow::Result<String> {
        let cnonce = self.random();
        let what = client::Request {
            method: request.method.as_str(),
            uri: &request.uri,
            cnonce: &cnonce,
            nc: 1,
        };
        let proof = Proof::Password(self.account.password.expose());
        Ok(client::answer(challenge, &self.account.user, proof, &what)?)
    }

    async fn final_response(
        &mut self,
        wanted: ClientTx,
        progress: &mut Progress,
    ) -> anyhow::Result<Message> {
        loop {
            match self.event().await? {
                Output::Response { tx, message, .. } if tx == wanted => match message.status() {
                    Some(180 | 183) => {
                        progress.ringing.get_or_insert_with(Instant::now);
                    }
                    Some(100..=199) => {}
                    _ => return Ok(message),
                },
                Output::Failed { tx, cause } if tx == wanted => bail!("no response: {cause:?}"),
                _ => {}
            }
        }
    }

    /// Waits for the next request of this method.
    pub(super) async fn wait_for(
        &mut self,
        method: Method,
    ) -> anyhow::Result<(ServerTx, Message, Flow)> {
        loop {
            if let Output::Request { tx, message, flow } = self.event().await? {
                if *message.method() == method {
                    return Ok((tx, message, flow));
                }
                self.respond(tx, OutgoingResponse::new(200));
            }
        }
    }

    /// Waits for the ACK of a 2xx of ours.
    pub(super) async fn wait_for_ack(&mut self, wanted: ServerTx) -> anyhow::Result<()> {
        loop {
            if let Output::Ack { tx, .. } = self.event().await?
                && tx == Some(wanted)
            {
                return Ok(());
            }
        }
    }

    pub(super) fn respond(&mut self, tx: ServerTx, response: OutgoingResponse) {
        self.feed(Input::Respond { tx, response });
    }

    /// Sends what waits without waiting for more.
    pub(super) async fn flush(&mut self) -> anyhow::Result<()> {
        while let Some(output) = self.outputs.front() {
            let Output::Transmit { flow, bytes } = output else {
                return Ok(());
            };
            self.socket.send_to(bytes, flow.remote).await?;
            self.outputs.pop_front();
        }
        Ok(())
    }

    /// Ends a call.
    pub(super) async fn hang_up(&mut self, dialog: &mut Dialog) -> anyhow::Result<()> {
        let request = dialog.request(Method::Bye);
        let (response, _) = self.transact(request, &mut Progress::default()).await?;
        match response.status() {
            Some(200) => Ok(()),
            status => bail!("BYE was answered {status:?}"),
        }
    }

    /// Answers the other side's BYE.
    pub(super) async fn hung_up(&mut self) -> anyhow::Result<()> {
        let (tx, _, _) = self.wait_for(Method::Bye).await?;
        self.respond(tx, OutgoingResponse::new(200));
        self.flush().await
    }
}
