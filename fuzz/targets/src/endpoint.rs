//! Any datagrams, answers and waits: no panic, the tables stay bounded, and once everything is answered nothing is left.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::SeedableRng;
use sip_proxy::{
    ClientTx, Endpoint, EndpointConfig, Flow, Input, Method, OutgoingRequest, OutgoingResponse, Output, ServerTx,
    Transport,
};

const MAX: usize = 6;

struct World {
    endpoint: Endpoint,
    now: Instant,
    open: VecDeque<ServerTx>,
    sent: Option<Bytes>,
}

impl World {
    fn feed(&mut self, input: Input) {
        for output in self.endpoint.handle(self.now, input) {
            match output {
                Output::Request { tx, .. } | Output::Cancelled { tx, .. } => self.open.push_back(tx),
                Output::Transmit { bytes, .. } => self.sent = Some(bytes),
                _ => {}
            }
        }
        assert!(self.endpoint.server_transactions() <= MAX && self.endpoint.client_transactions() <= MAX);
    }

    fn answer(&mut self, status: u16, stateless: bool) {
        if let Some(tx) = self.open.pop_front() {
            let mut response = OutgoingResponse::new(status).with_contact("<sip:us@192.0.2.1>");
            response.stateless = stateless;
            if status < 200 {
                self.open.push_back(tx);
            }
            self.feed(Input::Respond { tx, response });
        }
    }

    fn ask(&mut self, tx: u64, method: Method, to: Flow) {
        let request = OutgoingRequest {
            method,
            uri: "sip:a@b".into(),
            from: "<sip:us@b>;tag=1".into(),
            to: "<sip:a@b>".into(),
            call_id: "ours".into(),
            cseq: 1,
            max_forwards: 70,
            route: Vec::new(),
            contact: None,
            headers: Vec::new(),
            body: None,
        };
        self.feed(Input::Request { tx: ClientTx(tx), request, to });
    }

    /// What the transaction user owes: an answer to each request, and a CANCEL for what rings for ever.
    fn drain(&mut self, last: u64) {
        for tx in 0..=last {
            self.feed(Input::Cancel { tx: ClientTx(tx), reason: None });
        }
        for _ in 0..10_000 {
            while !self.open.is_empty() {
                self.answer(500, false);
            }
            let Some(at) = self.endpoint.next_timeout() else { break };
            self.now = self.now.max(at);
            self.feed(Input::Timeout);
        }
        assert_eq!(self.endpoint.next_timeout(), None);
        assert_eq!((self.endpoint.server_transactions(), self.endpoint.client_transactions()), (0, 0));
    }
}

/// One input.
pub fn run(data: &[u8]) {
    let config = EndpointConfig {
        max_server_transactions: MAX,
        max_client_transactions: MAX,
        max_completed: 2,
        ..EndpointConfig::default()
    };
    let rng = rand::rngs::StdRng::seed_from_u64(1);
    let endpoint = Endpoint::new(config, Box::new(rng));
    let mut world = World { endpoint, now: Instant::now(), open: VecDeque::new(), sent: None };
    // Steps end in 0x01; the first octet of each says what it is.
    for (n, step) in data.split(|byte| *byte == 1).enumerate() {
        let Some((&kind, rest)) = step.split_first() else { continue };
        let transport = if kind & 0x80 == 0 { Transport::Udp } else { Transport::Tcp };
        let flow = Flow {
            transport,
            local: ([192, 0, 2, 1], 5060).into(),
            remote: ([192, 0, 2, 9], 5060).into(),
            connection: None,
        };
        let first = rest.first().copied().unwrap_or_default();
        match kind & 0x7f {
            b't' => {
                world.now += Duration::from_millis(u64::from(first) * 50);
                world.feed(Input::Timeout);
            }
            b'r' => {
                let status = [100, 180, 200, 302, 401, 407, 408, 481, 486, 500][usize::from(first) % 10];
                world.answer(status, first >= 128);
            }
            b'q' => {
                let method = [Method::Invite, Method::Options, Method::Bye][usize::from(first) % 3].clone();
                world.ask(n as u64, method, flow);
            }
            b'c' => world.feed(Input::Cancel { tx: ClientTx(u64::from(first)), reason: None }),
            b'f' => {
                if let Some(bytes) = world.sent.clone() {
                    world.feed(Input::TransportFailed { flow, bytes });
                }
            }
            // What we sent comes back, as it is or as the answer of a peer that copies.
            b'e' => {
                if let Some(bytes) = world.sent.clone() {
                    world.feed(Input::Received { flow, bytes });
                }
            }
            b'a' => {
                let status = [100, 180, 200, 401, 486][usize::from(first) % 5];
                let mut text = format!("SIP/2.0 {status} X\r\n").into_bytes();
                if let Some(bytes) = &world.sent
                    && let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n")
                {
                    text.extend_from_slice(&bytes[end + 2..]);
                }
                world.feed(Input::Received { flow, bytes: text.into() });
            }
            _ => world.feed(Input::Received { flow, bytes: Bytes::copy_from_slice(rest) }),
        }
    }
    world.drain(data.len() as u64);
}
