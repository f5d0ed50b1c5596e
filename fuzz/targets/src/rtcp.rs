//! Any compound packet: read without a panic, as many items as its octets can hold; what we write we can read.

use media_bridge::rtcp::{self, Item, MAX_WRITTEN_BYTES, ReportBlock, SenderInfo};

/// One input.
pub fn run(data: &[u8]) {
    let mut items = Vec::new();
    let packets = rtcp::read(data, |item| items.push(item));
    assert!(packets <= data.len() / 4 && items.len() <= data.len() / 4);
    for item in items {
        let (block, info) = match item {
            Item::Block(block) => (Some(block), None),
            Item::Sender { info, .. } => (None, Some(info)),
            Item::Bye { .. } => (None, None),
        };
        if let Some(block) = &block {
            let _ = rtcp::round_trip(0x1234_5678, block);
        }
        check(7, info, block, data);
    }
}

fn check(ssrc: u32, info: Option<SenderInfo>, block: Option<ReportBlock>, name: &[u8]) {
    let mut out = [0; MAX_WRITTEN_BYTES];
    let length = rtcp::write(&mut out, ssrc, info, block, name, true);
    assert!(length.is_multiple_of(4) && length <= out.len());
    let mut read = Vec::new();
    let packets = rtcp::read(&out[..length], |item| read.push(item));
    assert_eq!(packets, 3, "report, description, goodbye");
    let mut expected = Vec::new();
    expected.extend(info.map(|info| Item::Sender { ssrc, info }));
    expected.extend(block.map(Item::Block));
    expected.push(Item::Bye { ssrc });
    assert_eq!(read, expected);
}
