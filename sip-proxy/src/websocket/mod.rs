//! WebSocket as a SIP transport (RFC 6455, RFC 7118): the opening handshake and the frames, server and client side.
//!
//! ```text
//!   octets ──▶ Handshake ──▶ 101, or a refusal in words
//!                 │ rest
//!                 ▼
//!   octets ──▶ Reader ──▶ one SIP message each, pings, close          message(), frame() ──▶ octets
//! ```
//! What it deliberately does not do: extensions (none is offered, reserved bits end the connection), sockets, timers.
//! Nothing here holds more than one message of the given limit; a handshake is bounded by [`HANDSHAKE_BYTES`].

mod frame;
mod handshake;

pub use frame::{Event, FrameError, Opcode, Reader, Role, close, frame, message};
pub use handshake::{HANDSHAKE_BYTES, Handshake, Refusal, Verdict, accept_key};
