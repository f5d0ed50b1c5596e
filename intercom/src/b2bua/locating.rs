//! Location of servers (RFC 3263): questions to the shell, answers to whoever waits for them.

use rand::SeedableRng;
use rand::rngs::StdRng;
use sip_proxy::locate::{self, Answer, Locator, LocatorConfig, Question};
use sip_proxy::{ClientTx, Transport};

use super::{B2bua, Output};
use crate::Now;
use crate::call::CallInput;
use crate::config::Config;
use crate::transactions::{Owner, owner};

/// The locator for what our listeners can reach.
pub(super) fn locator(config: &Config, mut seed: [u8; 32]) -> Locator {
    // Draws of its own: what it draws must not show in tags and branches.
    for byte in &mut seed {
        *byte = !*byte;
    }
    let reaches = |transport| {
        [false, true]
            .into_iter()
            .any(|ipv6| config.local_of(transport, ipv6).is_some())
    };
    let has = |ipv6: bool| {
        config
            .listeners
            .iter()
            .any(|listener| listener.local.is_ipv6() == ipv6)
    };
    let config = LocatorConfig {
        transports: [Transport::Udp, Transport::Tcp, Transport::Tls]
            .into_iter()
            .filter(|transport| reaches(*transport))
            .collect(),
        ipv4: has(false),
        ipv6: has(true),
        ..LocatorConfig::default()
    };
    Locator::new(config, Box::new(StdRng::from_seed(seed)))
}

impl B2bua {
    /// What the locator asks or has found. A look-up bears the number of its owner's transactions.
    pub(super) fn location(&mut self, now: Now, output: locate::Output) {
        match output {
            locate::Output::Resolve(question) => self.queue.push_back(Output::Resolve(question)),
            locate::Output::Located { id, candidates } => match owner(ClientTx(id.0)) {
                Some(Owner::Call(number)) => {
                    self.run(now, number, CallInput::Located { id, candidates });
                }
                Some(Owner::Station | Owner::Proxy | Owner::Notify | Owner::Qualify) | None => {}
            },
        }
    }

    pub(super) fn resolved(&mut self, now: Now, question: Question, answer: Answer) {
        let input = locate::Input::Resolved { question, answer };
        self.locator_input(now, input);
    }

    pub(super) fn locator_timeout(&mut self, now: Now) {
        let due = self.site.locator.next_timeout();
        if due.is_some_and(|at| at <= now.mono) {
            self.locator_input(now, locate::Input::Timeout);
        }
    }

    fn locator_input(&mut self, now: Now, input: locate::Input) {
        let outputs: Vec<locate::Output> = self.site.locator.handle(now.mono, input).collect();
        for output in outputs {
            self.location(now, output);
        }
    }
}
