//! Refusals of the bridge's own on their way to the writer of their connection. Hardly any connection ever has one, so an empty
//! queue takes no memory; a full one stops the reader.

use crate::limits::REPLIES_WAITING_MAX;
use roost_protocol::socket::ServerFrame;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Between one reader and one writer.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    waiting: Mutex<VecDeque<ServerFrame>>,
    came: Notify,
    went: Notify,
}

impl Replies {
    /// Waits for room.
    pub(crate) async fn push(&self, frame: ServerFrame) {
        while self.is_full() {
            self.went.notified().await;
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(frame);
        self.came.notify_one();
    }

    /// Waits for one.
    pub(crate) async fn next(&self) -> ServerFrame {
        loop {
            if let Some(frame) = self.take() {
                return frame;
            }
            self.came.notified().await;
        }
    }

    /// The first, if one waits.
    pub(crate) fn take(&self) -> Option<ServerFrame> {
        let frame = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        self.went.notify_one();
        frame
    }

    fn is_full(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len() >= REPLIES_WAITING_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn a_full_queue_stops_the_reader_until_the_writer_takes_one() {
        let replies = Replies::default();
        for id in 0..REPLIES_WAITING_MAX as u64 {
            replies.push(ServerFrame::Done { id }).await;
        }
        let mut late = Box::pin(replies.push(ServerFrame::Done { id: 99 }));
        assert!((&mut late).now_or_never().is_none(), "the reader waits");
        assert_eq!(replies.next().await, ServerFrame::Done { id: 0 }, "the first that came is the first that goes");
        late.await;
        let rest: Vec<_> = std::iter::from_fn(|| replies.take()).collect();
        assert_eq!(rest.len(), REPLIES_WAITING_MAX, "all of them are there");
        assert_eq!(rest.last(), Some(&ServerFrame::Done { id: 99 }), "the late one last");
        assert!(replies.next().now_or_never().is_none(), "then the writer waits");
    }
}
