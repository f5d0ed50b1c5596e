//! The sockets of signalling: UDP listeners, TCP listeners and connections, all in one epoll set.

pub(crate) mod tcp;
pub(crate) mod token;
pub(crate) mod udp;
