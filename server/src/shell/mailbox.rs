//! Bounded channels that wake a thread sleeping in `epoll_wait`.
//!
//! A [`Mailbox`] belongs to one thread; any number of [`Post`]s feed it. The eventfd is written only when the
//! owner has not been told yet, so a burst of a thousand letters costs one system call.
//! Overflow rule: a full mailbox gives the letter back ([`Post::try_post`]); the caller writes beside its call
//! whether it then drops and counts, keeps it in a backlog of its own, or waits ([`Post::post`]).

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::mpsc;

/// Wakes the owner of one epoll set. Cloned freely; several mailboxes of one thread share it.
#[derive(Clone, Debug)]
pub(crate) struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    event: EventFd,
    /// True from the first ring until the owner acknowledges: later rings need no system call.
    rung: AtomicBool,
}

impl Waker {
    /// A waker with its own eventfd.
    pub(crate) fn new() -> std::io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self {
            shared: Arc::new(Shared {
                event,
                rung: AtomicBool::new(false),
            }),
        })
    }

    /// Makes the owner's next (or present) `epoll_wait` return.
    pub(crate) fn ring(&self) {
        if !self.shared.rung.swap(true, Ordering::AcqRel) {
            // An eventfd at its maximum would refuse, but then it is readable already.
            let _ = self.shared.event.write(1);
        }
    }

    /// Called by the owner before it drains its mailboxes; letters posted from here on ring again.
    ///
    /// The event is read whatever `rung` says: between its swap and its write a ringer can be overtaken by an
    /// acknowledgement, and the late write would keep the owner's `epoll_wait` returning at once for ever. It is read
    /// before `rung` falls: the other order could swallow a ring and leave `rung` up, and nobody would ring again.
    pub(crate) fn acknowledge(&self) {
        // Nothing to read is the overtaken case.
        let _ = self.shared.event.read();
        self.shared.rung.store(false, Ordering::Release);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

/// The sending side of a bounded mailbox.
#[derive(Debug)]
pub(crate) struct Post<T> {
    letters: mpsc::Sender<T>,
    waker: Waker,
}

impl<T> Clone for Post<T> {
    fn clone(&self) -> Self {
        Self {
            letters: self.letters.clone(),
            waker: self.waker.clone(),
        }
    }
}

impl<T> Post<T> {
    /// Posts without waiting; a full or closed mailbox gives the letter back.
    pub(crate) fn try_post(&self, letter: T) -> Result<(), T> {
        match self.letters.try_send(letter) {
            Ok(()) => {
                self.waker.ring();
                Ok(())
            }
            Err(
                mpsc::error::TrySendError::Full(letter) | mpsc::error::TrySendError::Closed(letter),
            ) => Err(letter),
        }
    }

    /// Posts, waiting for room (back-pressure). `false` when the owner is gone.
    pub(crate) async fn post(&self, letter: T) -> bool {
        let sent = self.letters.send(letter).await.is_ok();
        self.waker.ring();
        sent
    }
}

/// The owner's side of a bounded mailbox.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    letters: mpsc::Receiver<T>,
}

impl<T> Mailbox<T> {
    /// The next letter, if any. Never blocks.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.letters.try_recv().ok()
    }
}

/// A mailbox for at most `capacity` letters that rings `waker`.
pub(crate) fn mailbox<T>(capacity: usize, waker: &Waker) -> (Post<T>, Mailbox<T>) {
    let (sender, receiver) = mpsc::channel(capacity);
    (
        Post {
            letters: sender,
            waker: waker.clone(),
        },
        Mailbox { letters: receiver },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn readable(waker: &Waker) -> bool {
        let mut fds = [PollFd::new(waker.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn a_letter_rings_until_acknowledged_and_rings_again() {
        let waker = Waker::new().unwrap();
        let (post, mut mailbox) = mailbox(4, &waker);
        assert!(!readable(&waker));
        post.try_post(1).unwrap();
        post.try_post(2).unwrap();
        assert!(readable(&waker));
        waker.acknowledge();
        assert!(!readable(&waker));
        assert_eq!(
            (mailbox.take(), mailbox.take(), mailbox.take()),
            (Some(1), Some(2), None)
        );
        post.try_post(3).unwrap();
        assert!(readable(&waker));
    }

    #[test]
    fn a_full_mailbox_gives_the_letter_back() {
        let waker = Waker::new().unwrap();
        let (post, mut mailbox) = mailbox(1, &waker);
        post.try_post("first").unwrap();
        assert_eq!(post.try_post("second"), Err("second"));
        assert_eq!(mailbox.take(), Some("first"));
        post.try_post("second").unwrap();
    }
}
