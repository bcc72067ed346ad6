//! Bytes for many listeners, in a buffer or in a file in memory.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use mio::net::TcpStream;
use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::io::write as write_file;

/// How bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// From a buffer, which the kernel copies for each listener.
    Send,
    /// From a file, whose pages listeners share.
    Sendfile,
}

impl Manner {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Sendfile => "sendfile",
        }
    }
}

#[derive(Clone)]
pub(crate) enum Clip {
    Buffer(Arc<[u8]>),
    File(Arc<(std::os::fd::OwnedFd, usize)>),
}

impl Clip {
    pub(crate) fn new(bytes: &[u8], manner: Manner) -> io::Result<Self> {
        if manner == Manner::Send {
            return Ok(bytes.into());
        }
        let file = memfd_create("clip", MemfdFlags::CLOEXEC)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[write_file(&file, rest)?..];
        }
        Ok(Self::File(Arc::new((file, bytes.len()))))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Buffer(bytes) => bytes.len(),
            Self::File(file) => file.1,
        }
    }

    /// Sends bytes from `from` on, as many as the socket takes at once.
    pub(crate) fn send(&self, stream: &mut TcpStream, from: usize) -> io::Result<usize> {
        match self {
            Self::Buffer(bytes) => stream.write(&bytes[from..]),
            Self::File(file) => {
                let mut offset = from as u64;
                let (file, length) = &**file;
                Ok(sendfile(
                    stream.as_fd(),
                    file,
                    Some(&mut offset),
                    length - from,
                )?)
            }
        }
    }
}

impl From<&[u8]> for Clip {
    fn from(bytes: &[u8]) -> Self {
        Self::Buffer(bytes.into())
    }
}
