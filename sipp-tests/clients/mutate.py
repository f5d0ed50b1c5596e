#!/usr/bin/env python3
"""Mutated SIP by boofuzz: mutate.py HOST PORT FROM COUNT

Spreads COUNT mutations over an INVITE with SDP, a REGISTER and a SUBSCRIBE, all from the address FROM; after each an
OPTIONS on the same socket must be answered. The first mutation that silences the server is printed, exit 1."""
import itertools
import socket
import sys
import time

from boofuzz import Block, Delim, Request, Session, Static, String, Target
from boofuzz.connections import ITargetConnection
from boofuzz.mutation_context import MutationContext

host, port, source, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
sdp = [Static("b0", "v=0\r\no="), String("origin", "- 1 1"), Static("b1", " IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 "),
       String("conn", "127.0.0.1"), Static("b2", "\r\nt=0 0\r\nm=audio "), String("mport", "9000"), Static("b3", " RTP/AVP "),
       String("pts", "0 8 101"), Static("b4", "\r\na=rtpmap:"), String("map", "101 telephone-event/8000"), Static("b5", "\r\n")]


def request(method, lines, body):
    head = [Block("line", children=(String("method", method), Delim("s1", " "), String("uri", f"sip:200@{host}"), Delim("s2", " "),
                                    String("ver", "SIP/2.0"), Static("e1", "\r\n"))),
            Static("v0", f"Via: SIP/2.0/UDP {source}:9;rport;branch="), String("branch", "z9hG4bKfuzz1"),
            Static("v1", "\r\nMax-Forwards: "), String("mf", "70"),
            Static("f0", "\r\nFrom: "), String("from", "<sip:fuzz@127.0.0.1>;tag=1"), Static("t0", "\r\nTo: "), String("to", f"<sip:200@{host}>"),
            Static("c0", "\r\nCall-ID: "), String("cid", "fuzz1@127.0.0.1"), Static("q0", "\r\nCSeq: "), String("cseq", f"1 {method}"),
            Static("k0", "\r\nContact: "), String("contact", "<sip:fuzz@127.0.0.1:9>")]
    for n, (name, value) in enumerate(lines):
        head += [Static(f"x{n}", f"\r\n{name}: "), String(f"value{n}", value)]
    head += [Static("l0", "\r\nContent-Length: "), String("len", "0" if not body else "129"), Static("l1", "\r\n\r\n")]
    return Request(method.lower(), children=tuple(head + body))


class Nowhere(ITargetConnection):
    def open(self): pass
    def close(self): pass
    def recv(self, max_bytes): return b""
    def send(self, data): return len(data)
    info = "nowhere"


requests = [
    request("INVITE", [("Content-Type", "application/sdp"), ("Supported", "100rel, timer"), ("Session-Expires", "1800;refresher=uac")], sdp),
    request("REGISTER", [("Expires", "60"), ("Authorization", 'Digest username="a", realm="b", nonce="c", uri="sip:d", response="e"')], []),
    request("SUBSCRIBE", [("Event", "dialog"), ("Accept", "application/dialog-info+xml")], []),
]
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.bind((source, 0))
out.connect((host, port))
me = "%s:%d" % out.getsockname()


def alive(n):
    """Everything else that arrives, answers to mutations, is read over."""
    marker = f"alive-{n}"
    for turn in range(4):
        out.send((f"OPTIONS sip:{host}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK{marker}{turn};rport\r\nMax-Forwards: 70\r\n"
                  f"From: <sip:f@{host}>;tag=1\r\nTo: <sip:{host}>\r\nCall-ID: {marker}\r\nCSeq: {turn + 1} OPTIONS\r\n"
                  "Content-Length: 0\r\n\r\n").encode())
        end = time.monotonic() + 0.5
        while (left := end - time.monotonic()) > 0:
            out.settimeout(left)
            try:
                if marker.encode() in out.recv(65536):
                    return True
            except OSError:
                break
    return False


sent = 0
for what in requests:
    share = count // len(requests)
    Session(target=Target(connection=Nowhere()), web_port=None, fuzz_loggers=[], db_filename="boofuzz.db").connect(what)
    mutations = what.get_mutations()
    total = sum(1 for _ in what.get_mutations())
    for case in itertools.islice(mutations, 0, None, max(1, total // share)):
        data = what.render(MutationContext(mutations={m.qualified_name: m for m in case}))[:60000]
        try:
            out.send(data)
        except OSError:
            continue
        sent += 1
        if not alive(sent):
            print(f"no answer after mutation {sent} of {what.name}: {data[:400]!r}")
            sys.exit(1)
print(f"{sent} mutations of INVITE, REGISTER and SUBSCRIBE, each followed by an answered OPTIONS")
