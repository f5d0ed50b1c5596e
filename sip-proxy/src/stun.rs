//! STUN keep-alives on the SIP port (RFC 5626 sections 4.4.2 and 8, RFC 8489): a Binding request is answered with the
//! address it came from.
//!
//! What it deliberately does not do: credentials, ICE, error responses that are longer than what they answer. An
//! answer holds nothing but the address, and a fingerprint where the request had one: 32 octets to an IPv4 address, 44
//! to an IPv6 address, 8 more with fingerprint. Who asks too often is the shell's to find out.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};

/// In every STUN message (RFC 8489 section 5); no SIP message has these octets there.
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const COOKIE_HIGH: u16 = 0x2112;
/// The longest request looked at; a keep-alive has 20 octets, with a SOFTWARE and a fingerprint a few dozen.
const LONGEST: usize = 548;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;
/// Attributes below 0x8000 that may be read over: MAPPED-ADDRESS, USERNAME, MESSAGE-INTEGRITY, REALM, NONCE,
/// MESSAGE-INTEGRITY-SHA256, PASSWORD-ALGORITHM, USERHASH. No credentials are asked for, so none are judged.
const UNDERSTOOD: [u16; 8] = [
    0x0001, 0x0006, 0x0008, 0x0014, 0x0015, 0x001c, 0x001d, 0x001e,
];
/// Unknown attributes named in an error; more are left out.
const NAMED: usize = 8;

/// Whether a datagram is STUN and not SIP: the two leading zero bits and the magic cookie (RFC 5626 section 8).
#[must_use]
pub fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram, [first, _, _, _, a, b, c, d, ..] if *first < 0x40 && [*a, *b, *c, *d] == COOKIE)
}

/// The answer to a Binding request from `source`; `None` for what deserves none: indications, responses, malformed
/// messages, a wrong fingerprint, and requests whose refusal would be longer than they are.
#[must_use]
pub fn answer(datagram: &[u8], source: SocketAddr) -> Option<Bytes> {
    if !is_stun(datagram) || datagram.len() > LONGEST {
        return None;
    }
    let (head, mut rest) = datagram.split_at_checked(20)?;
    let [t1, t2, l1, l2, _, _, _, _, id @ ..] = head else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([*l1, *l2]));
    if u16::from_be_bytes([*t1, *t2]) != BINDING_REQUEST
        || length != rest.len()
        || !length.is_multiple_of(4)
    {
        return None;
    }
    let mut unknown = Vec::new();
    let mut fingerprint = false;
    while let [t1, t2, l1, l2, after @ ..] = rest {
        let kind = u16::from_be_bytes([*t1, *t2]);
        let length = usize::from(u16::from_be_bytes([*l1, *l2]));
        let value = after.get(..length)?;
        let before = datagram.get(..datagram.len() - rest.len())?;
        rest = after.get(length.next_multiple_of(4)..)?;
        if kind == FINGERPRINT {
            // Always the last one (RFC 8489 section 14.7).
            if !rest.is_empty() || value != fingerprint_of(before).to_be_bytes() {
                return None;
            }
            fingerprint = true;
        } else if kind < 0x8000 && !UNDERSTOOD.contains(&kind) && unknown.len() < NAMED {
            unknown.push(kind);
        }
    }
    if unknown.is_empty() {
        return Some(write(BINDING_SUCCESS, id, fingerprint, |body| {
            mapped(body, source, id);
        }));
    }
    let refusal = write(BINDING_ERROR, id, fingerprint, |body| {
        // 420 Unknown Attribute, without a reason phrase (14.8).
        body.put_u16(ERROR_CODE);
        body.put_u16(4);
        body.put_slice(&[0, 0, 4, 20]);
        body.put_u16(UNKNOWN_ATTRIBUTES);
        body.put_u16(unknown.len() as u16 * 2);
        unknown.iter().for_each(|kind| body.put_u16(*kind));
        if unknown.len() % 2 == 1 {
            body.put_u16(0);
        }
    });
    (refusal.len() <= datagram.len()).then_some(refusal)
}

fn write(kind: u16, id: &[u8], fingerprint: bool, body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut octets = BytesMut::with_capacity(64);
    octets.put_u16(kind);
    octets.put_u16(0);
    octets.put_slice(&COOKIE);
    octets.put_slice(id);
    body(&mut octets);
    let length = octets.len() - 20 + if fingerprint { 8 } else { 0 };
    if let Some(field) = octets.get_mut(2..4) {
        field.copy_from_slice(&(length as u16).to_be_bytes());
    }
    if fingerprint {
        let value = fingerprint_of(&octets);
        octets.put_u16(FINGERPRINT);
        octets.put_u16(4);
        octets.put_u32(value);
    }
    octets.freeze()
}

/// XOR-MAPPED-ADDRESS (14.2).
fn mapped(body: &mut BytesMut, source: SocketAddr, id: &[u8]) {
    body.put_u16(XOR_MAPPED_ADDRESS);
    let port = source.port() ^ COOKIE_HIGH;
    let key = COOKIE.iter().chain(id);
    let put = |body: &mut BytesMut, family: u8, octets: &[u8]| {
        body.put_u16(octets.len() as u16 + 4);
        body.put_slice(&[0, family]);
        body.put_u16(port);
        body.extend(octets.iter().zip(key).map(|(octet, key)| octet ^ key));
    };
    match source.ip() {
        IpAddr::V4(ip) => put(body, 1, &ip.octets()),
        IpAddr::V6(ip) => put(body, 2, &ip.octets()),
    }
}

/// CRC-32 of what stands before the attribute, xored (14.7). The length field already counts it.
fn fingerprint_of(before: &[u8]) -> u32 {
    let crc = before.iter().fold(u32::MAX, |crc, octet| {
        (0..8).fold(crc ^ u32::from(*octet), |crc, _| {
            let odd = crc & 1 == 1;
            crc >> 1 ^ if odd { 0xedb8_8320 } else { 0 }
        })
    });
    !crc ^ 0x5354_554e
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// RFC 5769 section 2.1.
    const REQUEST: &str = "00010058 2112a442 b7e7a701 bc34d686 fa87dfae 80220010 5354554e 20746573 7420636c 69656e74 \
        00240004 6e0001ff 80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020 00080014 9aeaa70c bfd8cb56 \
        781ef2b5 b2d3f249 c1b571a2 80280004 e57a3bcf";
    /// Section 2.2.
    const ANSWER_V4: &str = "0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 \
        00200008 0001a147 e112a643 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96";
    /// Section 2.3.
    const ANSWER_V6: &str = "01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 \
        00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9 00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 \
        80280004 c8fb0b4c";
    const ID: &str = "b7e7a701 bc34d686 fa87dfae";

    fn keep_alive() -> Vec<u8> {
        octets(&format!("00010000 2112a442 {ID}"))
    }

    #[test]
    fn the_fingerprints_of_rfc_5769_are_right() {
        for vector in [REQUEST, ANSWER_V4, ANSWER_V6] {
            let message = octets(vector);
            let (before, value) = message.split_at(message.len() - 8);
            assert_eq!(value[4..], fingerprint_of(before).to_be_bytes(), "{vector}");
        }
    }

    #[test]
    fn a_keep_alive_is_answered_with_its_source_as_in_rfc_5769() {
        let v4 = answer(&keep_alive(), "192.0.2.1:32853".parse().unwrap()).unwrap();
        let attribute = octets("00200008 0001a147 e112a643");
        assert_eq!(
            v4[..],
            [octets(&format!("0101000c 2112a442 {ID}")), attribute].concat()
        );
        let source = "[2001:db8:1234:5678:11:2233:4455:6677]:32853"
            .parse()
            .unwrap();
        let v6 = answer(&keep_alive(), source).unwrap();
        let attribute = octets("00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9");
        assert_eq!(
            v6[..],
            [octets(&format!("01010018 2112a442 {ID}")), attribute].concat()
        );
    }

    #[test]
    fn a_request_with_fingerprint_gets_one_back() {
        let mut request = octets(&format!("00010008 2112a442 {ID}"));
        let value = fingerprint_of(&request);
        request.extend(octets("80280004"));
        request.extend(value.to_be_bytes());
        let answer = answer(&request, "192.0.2.1:5060".parse().unwrap()).unwrap();
        let (before, last) = answer.split_at(answer.len() - 8);
        assert_eq!(last[4..], fingerprint_of(before).to_be_bytes());
        *request.last_mut().unwrap() ^= 1;
        assert_eq!(
            super::answer(&request, "192.0.2.1:5060".parse().unwrap()),
            None
        );
    }

    #[test]
    fn the_ice_check_of_rfc_5769_is_told_what_is_not_understood() {
        let answer = answer(&octets(REQUEST), "192.0.2.1:32853".parse().unwrap()).unwrap();
        // PRIORITY (0x0024) is ICE's.
        assert_eq!(answer[..2], [0x01, 0x11]);
        assert_eq!(
            answer[20..36],
            octets("00090004 00000414 000a0002 00240000")[..]
        );
    }

    #[test]
    fn nothing_is_answered_with_more_than_an_address() {
        let source = "192.0.2.1:5060".parse().unwrap();
        assert_eq!(answer(&keep_alive(), source).unwrap().len(), 32);
        // A short request with an attribute nobody knows: the refusal would be longer.
        let unknown = octets(&format!("00010004 2112a442 {ID} 7fff0000"));
        assert_eq!(answer(&unknown, source), None);
    }

    #[test]
    fn what_is_no_binding_request_is_not_answered() {
        let source = "192.0.2.1:5060".parse().unwrap();
        for wrong in [
            ANSWER_V4,
            "00110000 2112a442 b7e7a701 bc34d686 fa87dfae",
            "00010004 2112a442 b7e7a701 bc34d686 fa87dfae",
        ] {
            assert_eq!(answer(&octets(wrong), source), None, "{wrong}");
        }
        assert_eq!(answer(&[], source), None);
        assert!(!is_stun(b"OPTIONS sip:a SIP/2.0\r\n"));
        assert!(is_stun(&keep_alive()));
    }

    #[test]
    fn any_octets_are_survived() {
        let source = "192.0.2.1:5060".parse().unwrap();
        let request = octets(REQUEST);
        for cut in 0..request.len() {
            let _ = answer(&request[..cut], source);
            for octet in [0, 1, 0x7f, 0xff] {
                let mut changed = request.clone();
                changed[cut] = octet;
                let reply = answer(&changed, source);
                assert!(reply.is_none_or(|reply| reply.len() <= changed.len()));
            }
        }
    }
}
