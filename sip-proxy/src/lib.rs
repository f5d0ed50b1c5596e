//! SIP: bytes to transactions, dialogs, bindings and proxied requests, and back.
//!
//! What it deliberately does not do: open sockets, read a clock, resolve names, look into bodies (SDP is
//! `media-bridge`'s), decide who may call whom (the dialplan's and the B2BUA's).
//!
//! ```text
//!   bytes in                                                              bytes out
//!      |  stream::Framer (TCP, TLS), websocket (WS, WSS)                      ^
//!      v                                                                      |
//!   message: RawMessage -> Message          message: write_request / write_response / Splice
//!      |                                                                      ^
//!      v                                                                      |
//!   endpoint::Endpoint -- the four transactions of RFC 3261 section 17 -------+
//!      |                                                                      ^
//!      v                                                                      |
//!   transaction user: dialog, registrar + location, proxy core, the B2BUA ----+
//!                     digest proves who is asking
//! ```
#![forbid(unsafe_code)]

pub mod dialog;
pub mod digest;
pub mod endpoint;
pub mod event;
pub mod gruu;
pub mod locate;
pub mod location;
pub mod message;
pub mod overload;
pub mod pool;
pub mod proxy;
pub mod registrar;
pub mod reliable;
pub mod session_timer;
pub mod stream;
pub mod stun;
pub mod transaction;
pub mod transport;
pub mod uri;
pub mod websocket;

pub use dialog::{Dialog, Reject};
pub use endpoint::{
    ClientTx, Counters, Endpoint, EndpointConfig, Input, Output, Outputs, ServerTx,
};
pub use gruu::Gruus;
pub use location::{Binding, BindingChange, Location, Push, RemovalCause};
pub use message::{
    Body, Capabilities, Contact, Contacts, HeaderError, HeaderName, Invalid, Limits, Message,
    Method, NameAddr, OutgoingRequest, OutgoingResponse, Params, RawMessage, Splice, UriError, Via,
};
pub use pool::{Peer, Pool};
pub use registrar::{Registered, Registrar, RegistrarConfig};
pub use session_timer::{SessionPolicy, SessionTimer};
pub use stream::{Frame, FrameError, Framer};
pub use transaction::{FailCause, Timers};
pub use transport::{ConnectionId, Flow, Transport};
pub use uri::{Host, Uri};
