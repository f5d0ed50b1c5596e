//! What goes to the terminal. A reader that has gone away (`| head`) ends nothing in a panic.

use std::io::{IsTerminal, Write};

use serde::Serialize;

/// Prints a line.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", safe(text));
}

/// Prints a value as JSON.
pub(super) fn json(value: &impl Serialize) {
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Prints to standard error; `error:` in red on a terminal.
pub(super) fn error(text: &str) {
    let text = text.trim_end();
    if text.is_empty() {
        return;
    }
    let text = match text.strip_prefix("error:") {
        Some(rest) if colour_err() => format!("\x1b[1;31merror:\x1b[0m{}", safe(rest)),
        _ => text.to_owned(),
    };
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether standard error takes colours.
pub(super) fn colour_err() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Whether standard output takes colours.
pub(super) fn colour_out() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Control characters (a SIP header may have brought them) do not reach the terminal.
fn safe(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Prints text that may hold colours of ours.
pub(super) fn drawn(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
