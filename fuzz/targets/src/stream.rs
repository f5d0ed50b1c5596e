//! Any octets as a SIP stream: the same messages however they are cut, each within its limit.

use sip_proxy::{Frame, FrameError, Framer, Limits};

fn read(data: &[u8], cut: usize) -> (Vec<Frame>, Option<FrameError>) {
    let limits = Limits {
        message_bytes: 2_048,
        head_bytes: 1_024,
        ..Limits::default()
    };
    let mut framer = Framer::new(limits.clone());
    let mut frames = Vec::new();
    for piece in data.chunks(cut) {
        framer.push(piece);
        loop {
            match framer.next() {
                Ok(Some(frame)) => {
                    if let Frame::Message(message) = &frame {
                        assert!(message.len() <= limits.message_bytes);
                    }
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(framer.pending() <= limits.message_bytes + cut);
    }
    (frames, None)
}

/// One input.
pub fn run(data: &[u8]) {
    let messages = |(frames, error): (Vec<Frame>, Option<FrameError>)| {
        let messages: Vec<Frame> = frames
            .into_iter()
            .filter(|frame| *frame != Frame::KeepAlivePing)
            .collect();
        (messages, error.is_some())
    };
    // One message more or less may fit before a limit is seen to be passed, so only those of both are compared.
    let (whole, _) = messages(read(data, data.len().max(1)));
    let (cut, _) = messages(read(data, 7));
    for (one, other) in whole.iter().zip(&cut) {
        assert_eq!(one, other, "however it is cut");
    }
}
