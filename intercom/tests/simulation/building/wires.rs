//! Stream connections between devices and the machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use sip_proxy::ConnectionId;

/// One connection: whose, and its remote end as the machine sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    pub(crate) device: usize,
    pub(crate) remote: SocketAddr,
}

#[derive(Debug, Default)]
pub(crate) struct Wires {
    open: BTreeMap<ConnectionId, Wire>,
    last: u64,
    /// Connections the machine has opened.
    pub(crate) dialled: u32,
}

impl Wires {
    fn add(&mut self, device: usize, remote: SocketAddr) -> ConnectionId {
        self.last += 1;
        let id = ConnectionId(self.last);
        self.open.insert(id, Wire { device, remote });
        id
    }

    /// What a device sends by: the connection it has, else a new one from a port of the moment.
    pub(crate) fn by_device(&mut self, device: usize, ip: IpAddr) -> (ConnectionId, Wire) {
        let found = self
            .open
            .iter()
            .rev()
            .find(|(_, wire)| wire.device == device);
        let id = match found {
            Some((id, _)) => *id,
            None => {
                let port = 40_000 + u16::try_from(self.last).unwrap();
                self.add(device, SocketAddr::new(ip, port))
            }
        };
        (id, self.open[&id])
    }

    /// The machine sends to `remote` without naming a connection.
    pub(crate) fn dial(&mut self, device: usize, remote: SocketAddr) -> ConnectionId {
        let found = self.open.iter().find(|(_, wire)| wire.remote == remote);
        if let Some((id, _)) = found {
            return *id;
        }
        self.dialled += 1;
        self.add(device, remote)
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<Wire> {
        self.open.get(&id).copied()
    }

    /// Ends all connections of a device.
    pub(crate) fn close(&mut self, device: usize) -> Vec<ConnectionId> {
        let ids: Vec<_> = self
            .open
            .iter()
            .filter(|(_, wire)| wire.device == device)
            .map(|(id, _)| *id)
            .collect();
        self.open.retain(|_, wire| wire.device != device);
        ids
    }
}
