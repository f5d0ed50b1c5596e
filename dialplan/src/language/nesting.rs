//! A scan before parsing: the KDL parser recurses, and deep nesting would overflow the stack.

/// Deepest nesting of `{` or `/*` that is accepted.
pub(crate) const DEPTH: usize = 64;

/// Offset at which the text nests too deeply.
///
/// Strings and comments are skipped, but braces left open inside them are counted too: whatever
/// the parser's error recovery takes for code, the depth it can meet stays a small multiple of
/// [`DEPTH`].
pub(crate) fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut hidden) = (0, 0_usize, 0_usize);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let length = match rest.first() {
            Some(b'{') => {
                depth += 1;
                if depth > DEPTH {
                    return Some(at);
                }
                1
            }
            Some(b'}') => {
                depth = depth.saturating_sub(1);
                1
            }
            _ => match literal(rest) {
                None => 1,
                Some(length) => {
                    let inside = rest.get(..length).unwrap_or(rest);
                    let (open, deepest) = braces(inside);
                    if hidden + deepest > DEPTH {
                        return Some(at);
                    }
                    hidden += open;
                    length
                }
            },
        };
        at += length.max(1);
    }
    None
}

/// Braces and comment openings of a literal: left open at its end, and at most.
fn braces(inside: &[u8]) -> (usize, usize) {
    let (mut at, mut open, mut deepest) = (0, 0_usize, 0_usize);
    while let Some(rest) = inside.get(at..).filter(|rest| !rest.is_empty()) {
        at += match rest {
            [b'/', b'*', ..] => {
                open += 1;
                2
            }
            [b'*', b'/', ..] => {
                open = open.saturating_sub(1);
                2
            }
            [b'{', ..] => {
                open += 1;
                1
            }
            [b'}', ..] => {
                open = open.saturating_sub(1);
                1
            }
            _ => 1,
        };
        deepest = deepest.max(open);
    }
    (open, deepest)
}

/// Length of the string or comment that begins here.
fn literal(rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"//") {
        return Some(end_after(rest, 2, b"\n"));
    }
    if rest.starts_with(b"/*") {
        return Some(block_comment(rest));
    }
    let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
    match rest.get(hashes) {
        Some(b'"') if hashes > 0 => {
            let mut close = vec![b'"'];
            close.resize(hashes + 1, b'#');
            Some(end_after(rest, hashes + 1, &close))
        }
        Some(b'"') => Some(string(rest)),
        _ if hashes > 0 => Some(hashes),
        _ => None,
    }
}

fn end_after(rest: &[u8], from: usize, close: &[u8]) -> usize {
    let tail = rest.get(from..).unwrap_or_default();
    let found = tail.windows(close.len()).position(|window| window == close);
    found.map_or(rest.len(), |at| from + at + close.len())
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(pair) = rest.get(at..at + 2) {
        match pair {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

/// A quoted string ends at its quote, a single-line one also at the line's end (which is an error
/// the parser reports).
fn string(rest: &[u8]) -> usize {
    let quotes: &[u8] = if rest.starts_with(b"\"\"\"") {
        b"\"\"\""
    } else {
        b"\""
    };
    let mut at = quotes.len();
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' => at += 1,
            b'\n' if quotes.len() == 1 => return at,
            _ if rest.get(at..).is_some_and(|tail| tail.starts_with(quotes)) => {
                return at + quotes.len();
            }
            _ => {}
        }
        at += 1;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::too_deep;

    #[test]
    fn nesting_of_64_is_accepted_and_65_refused() {
        assert_eq!(too_deep(&"a{".repeat(64)), None);
        assert_eq!(too_deep(&"a{".repeat(65)), Some(129));
        assert_eq!(too_deep(&"a{}".repeat(1000)), None);
    }

    #[test]
    fn braces_in_strings_and_comments_hide_no_depth() {
        let json = "body=\"{\\\"a\\\":{}}\"\n".repeat(500);
        assert_eq!(too_deep(&json), None);
        assert!(too_deep(&"a \"{\"\n".repeat(70)).is_some());
        assert!(too_deep(&"/*".repeat(70)).is_some());
        assert!(too_deep(&format!("a #\"{}\"#", "{".repeat(70))).is_some());
        assert_eq!(too_deep("/* { */ a \"\"\"\n { \n\"\"\" // {"), None);
    }
}
