//! Reports (RFC 3550 §6).
