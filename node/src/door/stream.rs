//! A stream with deadlines: for what is to come, and for what the other side has to read. Of requests and answers it knows
//! what its [`Connection`] is told, and nothing of what they say.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Connection, Held, NEVER, millis};

/// Of an answer that waits, so much must be read before the next deadline begins, in bytes.
const READ_BYTES: u64 = 8 * 1024;

/// As good as never: the timer takes no longer span.
const FAR: Duration = Duration::from_secs(86_400);

/// A connection's stream.
#[derive(Debug)]
pub struct Stream<Io> {
    io: Io,
    held: Held,
    /// Bytes that went out.
    written: u64,
    /// Since when the other side has read too little, and how much had gone out then.
    unread: Option<(u64, u64)>,
    timer: Pin<Box<Sleep>>,
    is_armed: bool,
}

impl<Io> Stream<Io> {
    pub(super) fn new(io: Io, held: Held) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + FAR));
        Self { io, held, written: 0, unread: None, timer, is_armed: false }
    }

    /// What those see of it who answer.
    pub fn connection(&self) -> Arc<Connection> {
        self.held.0.clone()
    }

    /// Fails when a deadline is over, and sees to it that somebody looks when the next one is.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Connection { door, deadline, is_shown_out, task, .. } = &*self.held.0;
        task.register(cx.waker());
        if is_shown_out.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "somebody else has the place"));
        }
        let unread = self.unread.map_or(NEVER, |(since, _)| since + millis(door.rules.unread_secs));
        let until = deadline.load(Ordering::Acquire).min(unread);
        if door.now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let at = if until == NEVER { Instant::now() + FAR } else { door.began + Duration::from_millis(until) };
        // A timer that is early is set anew when it rings: moving it at every request would cost more.
        if !self.is_armed || at < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(at);
            self.is_armed = self.timer.as_mut().poll(cx).is_pending();
        }
        Ok(())
    }

    /// Takes note of what has to wait until the other side reads.
    fn waits(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let now = self.held.0.door.now();
        let (_, before) = *self.unread.get_or_insert((now, self.written));
        if self.written >= before + READ_BYTES {
            self.unread = Some((now, self.written));
        }
        self.check(cx)
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Stream<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let connection = &self.held.0;
        if buf.filled().len() > before && connection.is_idle.swap(false, Ordering::AcqRel) {
            // The first bytes of a request: from now on its headers have their time.
            let until = connection.door.now().saturating_add(millis(connection.door.rules.head_secs));
            connection.deadline.fetch_min(until, Ordering::AcqRel);
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Stream<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let went = Pin::new(&mut self.io).poll_write(cx, bytes);
        match went {
            Poll::Ready(Ok(count)) => {
                self.written += count as u64;
                self.held.0.goes_out();
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.waits(cx)?,
        }
        went
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let went = Pin::new(&mut self.io).poll_flush(cx);
        if went.is_pending() {
            self.waits(cx)?;
        } else {
            // All of it is out, and what comes next has its deadline.
            self.unread = None;
            self.check(cx)?;
        }
        went
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let went = Pin::new(&mut self.io).poll_shutdown(cx);
        if went.is_pending() {
            self.waits(cx)?;
        }
        went
    }
}
