//! What an epoll event is about, packed into the 64 bits the kernel gives back.

const KIND: u32 = 56;
const WAKER: u64 = 1;
const UDP: u64 = 2;
const STREAM_LISTENER: u64 = 3;
const CONNECTION: u64 = 4;

/// The source of a readiness event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A mailbox has letters.
    Waker,
    /// UDP listener by index.
    Udp(usize),
    /// Stream listener by index.
    StreamListener(usize),
    /// Stream connection by id.
    Connection(u64),
}

/// The waker's token.
pub(crate) fn waker() -> u64 {
    WAKER << KIND
}

/// A UDP listener's token.
pub(crate) fn udp(index: usize) -> u64 {
    UDP << KIND | index as u64
}

/// A Stream listener's token.
pub(crate) fn stream_listener(index: usize) -> u64 {
    STREAM_LISTENER << KIND | index as u64
}

/// A connection's token. Ids count up from 1 and stay far below 2^56; those a machine gave have the top bit set.
pub(crate) fn connection(id: u64) -> u64 {
    CONNECTION << KIND | id
}

/// Reads a token back.
pub(crate) fn source(token: u64) -> Option<Source> {
    let value = token & ((1 << KIND) - 1);
    match token >> KIND & 0x7f {
        WAKER => Some(Source::Waker),
        UDP => Some(Source::Udp(value as usize)),
        STREAM_LISTENER => Some(Source::StreamListener(value as usize)),
        CONNECTION => Some(Source::Connection(value | token & 1 << 63)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_source() {
        for (token, expected) in [
            (waker(), Source::Waker),
            (udp(3), Source::Udp(3)),
            (stream_listener(2), Source::StreamListener(2)),
            (connection(77), Source::Connection(77)),
            (
                connection(sip_proxy::ConnectionId::opened(5).0),
                Source::Connection(1 << 63 | 5),
            ),
        ] {
            assert_eq!(source(token), Some(expected));
        }
        assert_eq!(source(0), None);
    }
}
