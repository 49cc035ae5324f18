//! Files that the kernel sends: a plain connection passes a file's bytes from the page cache to its
//! socket (`sendfile(2)`), and they are not copied through this process.
//!
//! hyper only sends bytes in memory. So the body of such an answer consists of placeholders, memory
//! whose content is never sent: when hyper writes one, the stream below sends as many bytes of the
//! file in its place. A placeholder is recognized by its address, which no other bytes can have
//! while it is queued. hyper writes the bytes of a body without copying them when the stream below
//! it takes several buffers at once (`is_write_vectored`), as a socket does; a body whose
//! placeholder was not sent in this way breaks the connection.
//!
//! That works where the bytes of an answer go to the socket as they are and in the order of the
//! answers: without TLS, and up to HTTP/1.1.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use bytes::Buf as _;
use futures_util::stream;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::sendfile::sendfile;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// How much of a file is queued at once, in bytes.
const PART: usize = 1 << 20;

/// hyper asks for the next part of a body while fewer bytes than this are still to be written
/// (`DEFAULT_MAX_BUFFER_SIZE` in its `proto/h1/io.rs`, 8 KiB and 100 pages). A part is longer, so
/// that a whole one which was never sent is noticed when the next one is asked for.
const HYPER_BUFFERS: usize = (8 << 10) + 100 * (4 << 10);

/// The parts of files that a connection is to send. Requests of such a connection carry it. Cheap
/// to clone.
#[derive(Debug, Clone, Default)]
pub struct FileQueue(Arc<Mutex<VecDeque<QueuedPart>>>);

#[derive(Debug)]
struct QueuedPart {
    /// A placeholder of the length that is left to send.
    placeholder: Bytes,
    file: Arc<File>,
    offset: i64,
}

impl FileQueue {
    /// The body that sends `length` bytes of a file, from `start` on.
    pub(crate) fn body(&self, file: File, start: u64, length: u64) -> Body {
        let longest = usize::try_from(length).map_or(PART, |length| length.min(PART));
        let rest = FileRest {
            queue: self.clone(),
            file: Arc::new(file),
            placeholder: Bytes::from(vec![0_u8; longest]),
            offset: start,
            left: length,
        };
        Body::from_stream(stream::try_unfold(rest, FileRest::next))
    }

    /// Whether bytes stand for the file that is to be sent next.
    fn is_next(&self, bytes: &[u8]) -> bool {
        let parts = self.0.lock();
        !bytes.is_empty()
            && parts.front().is_some_and(|part| part.placeholder.as_ptr() == bytes.as_ptr())
    }

    /// Sends at most so many bytes of the part that is next, as many as the socket takes.
    fn send(&self, socket: &TcpStream, most: usize) -> io::Result<usize> {
        let mut parts = self.0.lock();
        let Some(part) = parts.front_mut() else {
            return Err(io::Error::other("no part of a file is to be sent"));
        };
        let count = most.min(part.placeholder.len());
        let mut offset = part.offset;
        let sent = sendfile(socket, &*part.file, Some(&mut offset), count)?;
        if sent == 0 {
            // The other side was promised more: it learns from the connection that it did not come.
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file became shorter"));
        }
        part.offset = offset;
        part.placeholder.advance(sent);
        if part.placeholder.is_empty() {
            parts.pop_front();
        }
        Ok(sent)
    }
}

/// The part of a file that is not queued yet.
struct FileRest {
    queue: FileQueue,
    file: Arc<File>,
    /// Memory for the longest part; all parts take theirs from it.
    placeholder: Bytes,
    offset: u64,
    /// In bytes.
    left: u64,
}

impl FileRest {
    /// Queues the next part, and gives back what stands for it.
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let length = usize::try_from(self.left).map_or(PART, |left| left.min(PART));
        let (file, offset) = (self.file.clone(), self.offset);
        let read = tokio::task::spawn_blocking(move || read_ahead(&file, offset, length));
        read.await.map_err(io::Error::other)??;
        let placeholder = self.placeholder.slice(..length);
        self.queue_part(placeholder.clone())?;
        self.offset += length as u64;
        self.left -= length as u64;
        Ok(Some((placeholder, self)))
    }

    fn queue_part(&self, placeholder: Bytes) -> io::Result<()> {
        let offset = i64::try_from(self.offset).map_err(io::Error::other)?;
        let mut parts = self.queue.0.lock();
        // The end of the part before may still wait for the socket.
        let unsent: usize = parts.iter().map(|part| part.placeholder.len()).sum();
        if unsent >= HYPER_BUFFERS {
            return Err(io::Error::other("the part of a file before this one was not sent"));
        }
        parts.push_back(QueuedPart { placeholder, file: self.file.clone(), offset });
        Ok(())
    }
}

/// Has the kernel read a part into its cache, so that sending does not make a thread of the runtime
/// wait for the disk: asks for all of it, and waits for its last byte.
fn read_ahead(file: &File, offset: u64, length: usize) -> io::Result<()> {
    let begin = i64::try_from(offset).map_err(io::Error::other)?;
    let size = i64::try_from(length).map_err(io::Error::other)?;
    posix_fadvise(file, begin, size, PosixFadviseAdvice::POSIX_FADV_WILLNEED)?;
    file.read_at(&mut [0], offset + (length as u64).saturating_sub(1))?;
    Ok(())
}

/// A socket that sends files in place of their placeholders.
#[derive(Debug)]
pub(super) struct FileSender {
    socket: TcpStream,
    files: FileQueue,
}

impl FileSender {
    pub(super) const fn new(socket: TcpStream, files: FileQueue) -> Self {
        Self { socket, files }
    }

    fn poll_send(&self, context: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        use io::ErrorKind::{Interrupted, WouldBlock};
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            let send = || self.files.send(&self.socket, most);
            match self.socket.try_io(Interest::WRITABLE, send) {
                Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl AsyncRead for FileSender {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for FileSender {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.files.is_next(bytes) {
            return self.poll_send(context, bytes.len());
        }
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let before = match bytes.iter().position(|slice| self.files.is_next(slice)) {
            Some(0) => return self.poll_send(context, bytes[0].len()),
            Some(place) => &bytes[..place],
            None => bytes,
        };
        Pin::new(&mut self.socket).poll_write_vectored(context, before)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use futures_util::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A file of so many bytes, none of which is zero.
    fn file(length: usize) -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0..length).map(|place| (place % 251) as u8 + 1).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, accepted) = tokio::join!(near, listener.accept());
        (near.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn the_bytes_of_a_file_are_sent_between_others() {
        let (near, mut far) = connected().await;
        let files = FileQueue::default();
        let mut sender = FileSender::new(near, files.clone());
        let (file, bytes) = file(3 * PART + 5);
        let send = async {
            sender.write_all(b"before").await.unwrap();
            let mut parts = files.body(file, 2, bytes.len() as u64 - 4).into_data_stream();
            while let Some(part) = parts.next().await {
                sender.write_all(&part.unwrap()).await.unwrap();
            }
            sender.write_all(b"after").await.unwrap();
            sender.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let ((), read) = tokio::join!(send, far.read_to_end(&mut got));
        read.unwrap();
        let whole = [&b"before"[..], &bytes[2..bytes.len() - 2], &b"after"[..]].concat();
        assert!(got == whole, "{} bytes instead of {}", got.len(), whole.len());
    }

    #[tokio::test]
    async fn buffers_before_a_file_are_written_first() {
        let (near, mut far) = connected().await;
        let files = FileQueue::default();
        let mut sender = FileSender::new(near, files.clone());
        let part = files.body(file(10).0, 0, 10).into_data_stream().next().await.unwrap().unwrap();
        let all = [IoSlice::new(b"head"), IoSlice::new(&part)];
        assert_eq!(sender.write_vectored(&all).await.unwrap(), 4);
        assert_eq!(sender.write_vectored(&all[1..]).await.unwrap(), 10);
        let mut got = [0; 14];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"head\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a");
    }

    #[tokio::test]
    async fn a_part_follows_one_whose_end_waits_for_the_socket() {
        let (near, mut far) = connected().await;
        let files = FileQueue::default();
        let mut sender = FileSender::new(near, files.clone());
        let (file, bytes) = file(2 * PART);
        let mut parts = files.body(file, 0, bytes.len() as u64).into_data_stream();
        let mut first = parts.next().await.unwrap().unwrap();
        let mut got = vec![0; PART - 1000];
        let begin = async {
            while first.len() > 1000 {
                let most = first.len() - 1000;
                let sent = sender.write(&first[..most]).await.unwrap();
                first.advance(sent);
            }
        };
        let ((), read) = tokio::join!(begin, far.read_exact(&mut got));
        read.unwrap();
        let second = parts.next().await.unwrap().unwrap();
        let end = async {
            sender.write_all(&first).await.unwrap();
            sender.write_all(&second).await.unwrap();
            sender.shutdown().await.unwrap();
        };
        let ((), read) = tokio::join!(end, far.read_to_end(&mut got));
        read.unwrap();
        assert!(got == bytes, "{} bytes instead of {}", got.len(), bytes.len());
    }

    /// A reader that is slower than the sender, through hyper: the socket takes parts of parts.
    #[tokio::test]
    async fn a_slow_reader_gets_the_whole_file() {
        use hyper::service::service_fn;
        use hyper_util::rt::TokioIo;

        let (near, mut far) = connected().await;
        let files = FileQueue::default();
        let (file, bytes) = file(24 * PART + 7);
        let (file, length) = (Arc::new(file), bytes.len() as u64);
        let socket = TokioIo::new(FileSender::new(near, files.clone()));
        let service = service_fn(move |_| {
            let body = files.body(file.try_clone().unwrap(), 0, length);
            let response = hyper::Response::builder().header("content-length", length);
            async move { response.body(body) }
        });
        let server = hyper::server::conn::http1::Builder::new().serve_connection(socket, service);
        let read = async {
            let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            far.write_all(request).await.unwrap();
            let (mut got, mut buffer) = (Vec::new(), vec![0; 50_000]);
            loop {
                match far.read(&mut buffer).await.unwrap() {
                    0 => return got,
                    count => got.extend_from_slice(&buffer[..count]),
                }
            }
        };
        let (served, got) = tokio::join!(server, read);
        served.unwrap();
        assert!(got.ends_with(&bytes), "{} bytes with the head, of {}", got.len(), bytes.len());
    }

    #[tokio::test]
    async fn a_placeholder_that_was_copied_ends_the_answer() {
        let files = FileQueue::default();
        let (file, bytes) = file(2 * PART);
        let mut parts = files.body(file, 0, bytes.len() as u64).into_data_stream();
        parts.next().await.unwrap().unwrap();
        assert!(parts.next().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_breaks_the_connection() {
        let (near, _far) = connected().await;
        let files = FileQueue::default();
        let mut sender = FileSender::new(near, files.clone());
        let part = files.body(file(4).0, 2, 10).into_data_stream().next().await.unwrap().unwrap();
        let error = sender.write_all(&part).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
