//! The sockets of signalling: UDP listeners, stream listeners and connections, all in one epoll set.

pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod udp;
