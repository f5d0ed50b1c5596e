//! The log goes through a thread of its own: whoever reads stderr slowly must not hold up a call.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait. Overflow rule: further ones are dropped, and the next one written says how many.
const LINES: usize = 4_096;

/// Hands lines over without ever waiting.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// Keeps the process until every line is written; see [`Closing::close`].
#[derive(Debug)]
pub(crate) struct Closing {
    /// An empty line ends the thread: the subscriber keeps its sender for ever.
    lines: SyncSender<Vec<u8>>,
    thread: JoinHandle<()>,
}

impl Journal {
    /// Starts the thread that writes to `out`.
    pub(crate) fn start(out: impl Write + Send + 'static) -> io::Result<(Self, Closing)> {
        let (lines, waiting) = sync_channel(LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write(out, &waiting, &lost))?;
        let closing = Closing {
            lines: lines.clone(),
            thread,
        };
        Ok((Self { lines, dropped }, closing))
    }
}

impl Closing {
    /// Waits until what was said so far is written.
    pub(crate) fn close(self) {
        let _ = self.lines.send(Vec::new());
        let _ = self.thread.join();
    }
}

fn write(mut out: impl Write, waiting: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    while let Ok(line) = waiting.recv()
        && !line.is_empty()
    {
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(
                out,
                "{lost} log lines were dropped: they are read too slowly"
            );
        }
        let _ = out.write_all(&line);
    }
}

impl Write for Journal {
    /// The subscriber writes each event as one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !line.is_empty() && self.lines.try_send(line.to_vec()).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Takes a line only when it is allowed to.
    struct Slow(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_never_time() {
        let (allow, allowed) = sync_channel(0);
        let written = Arc::default();
        let (mut journal, closing) = Journal::start(Slow(allowed, Arc::clone(&written))).unwrap();
        // One is in the writer's hands at most, the rest waits; what does not fit is counted.
        for _ in 0..LINES + 10 {
            journal.write_all(b"a line\n").unwrap();
        }
        let lost = journal.dropped.load(Ordering::Relaxed);
        assert!((9..=10).contains(&lost), "{lost}");
        drop(allow);
        closing.close();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.contains("log lines were dropped"));
        assert_eq!(
            text.matches("a line").count() as u64,
            LINES as u64 + 10 - lost
        );
    }
}
