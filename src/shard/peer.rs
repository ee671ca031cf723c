//! One node of a cluster as a shard sees it: the link to it, and how much it is trusted with.

use std::fmt;
use std::net::SocketAddr;

use super::buffers::Partial;
use super::frames::Frames;
use crate::cql::decoder::DecodeLimits;
use crate::cql::envelope::Envelope;
use crate::cql::frame::Format;
use crate::relay::breaker::{Breaker, BreakerConfig, Failure};
use crate::relay::link::{Link, LinkEvent};
use crate::sys::ring::SocketId;
use crate::tls::Secure;

/// Answers of a cluster are small; a longer one than this is nonsense.
const ANSWER_LIMITS: DecodeLimits = DecodeLimits::responses(16 << 20);

/// See the module.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: SocketAddr,
    pub(super) name: String,
    pub(super) link: Option<Open>,
    pub(super) breaker: Breaker,
    /// It may be tried again at once, whatever the breaker says.
    pub(super) try_now: bool,
    /// It is not tried any more.
    pub(super) given_up: bool,
    /// It is not among those to use: it has left, or is in another data centre.
    pub(super) unwanted: bool,
    /// Its answers have stopped.
    pub(super) stalled: bool,
    /// The last failure was told to the log.
    pub(super) reported: bool,
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) link: Link,
    pub(super) socket: SocketId,
    pub(super) connected: bool,
    pub(super) tls: Option<Box<Secure>>,
    pub(super) partial: Partial,
    /// Since the node has accepted v5.
    pub(super) frames: Option<Frames>,
    /// When the last bytes came in, or the connect began (µs).
    pub(super) heard_us: i64,
    /// When bytes began to wait in `link.out` (µs).
    pub(super) waiting_since_us: Option<i64>,
}

impl Open {
    /// Hands each answer in `bytes`, which follow what came before, to `each`.
    ///
    /// # Errors
    /// Nothing that follows can be read, and why.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&mut Link, &Envelope<'_>),
    ) -> Result<(), String> {
        let (link, partial) = (&mut self.link, &mut self.partial);
        let mut wrong = None;
        let mut cut = |bytes: &[u8]| {
            let mut ended = 0;
            let rest = partial.cut(bytes, &ANSWER_LIMITS, |envelope| {
                ended += 1;
                each(link, envelope);
            });
            match rest {
                Ok(rest) => partial.keep(rest),
                Err(error) => wrong = Some(error.to_string()),
            }
            (ended, partial.is_empty())
        };
        match &mut self.frames {
            None => {
                cut(bytes);
            }
            // nothing is compressed, so there is nothing to keep in a scratch
            Some(frames) => frames
                .open(bytes, &mut Vec::new(), cut)
                .map_err(|error| error.to_string())?,
        }
        if self.link.is_framed() && self.frames.is_none() {
            self.frames = Some(Frames::new(Format::Plain, 0));
        }
        wrong.map_or(Ok(()), Err)
    }
}

impl fmt::Display for Node {
    /// Its address, with its name if that says more: behind one address there may be many nodes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match self.name == self.address.ip().to_string() {
            true => Ok(()),
            false => write!(f, " ({})", self.name),
        }
    }
}

impl Node {
    pub(super) fn new(address: SocketAddr, name: String, trust: BreakerConfig, seed: u64) -> Self {
        Self {
            address,
            name,
            link: None,
            breaker: Breaker::new(trust, seed),
            try_now: false,
            given_up: false,
            unwanted: false,
            stalled: false,
            reported: false,
        }
    }

    /// Whether nothing is left to do with it: it is not used any more, nor was it named.
    pub(super) fn has_left(&self, named: &[SocketAddr]) -> bool {
        self.unwanted && self.link.is_none() && !named.contains(&self.address)
    }

    /// Whether writes go there: connected, and not given a rest.
    pub(super) fn is_usable(&self) -> bool {
        !self.unwanted
            && !self.breaker.is_open()
            && self.link.as_ref().is_some_and(|open| open.link.is_ready())
    }

    /// How many requests it may get now.
    pub(super) fn room(&self, now_us: i64) -> usize {
        let ready = self.link.as_ref().filter(|open| open.link.is_ready());
        ready.filter(|_| !self.unwanted).map_or(0, |open| {
            let window = self.breaker.window(now_us);
            window.saturating_sub(open.link.load())
        })
    }

    /// What an answer to a write says about the node. `doubtful`: a failure would say more about
    /// the write.
    pub(super) fn judge(
        &mut self,
        answer: &LinkEvent,
        doubtful: bool,
        in_flight: usize,
        now_us: i64,
    ) {
        match answer {
            LinkEvent::Failed { code, message, .. } => match Failure::of_error(*code, message) {
                Some(Failure::Unable) if doubtful => self.breaker.doubted(now_us),
                Some(failure) => self.breaker.failed(failure, in_flight, now_us),
                None => self.breaker.succeeded(),
            },
            LinkEvent::Applied(_) | LinkEvent::Rows(..) => self.breaker.succeeded(),
            LinkEvent::Unparked(_) | LinkEvent::Ready | LinkEvent::Broken(_) | LinkEvent::Alive => {
            }
        }
    }
}

/// The owner's link if it takes writes, else the next in turn that does: a sick node's writes go to
/// the others.
pub(super) fn with_room<'n>(
    nodes: &'n mut [Node],
    owner: Option<usize>,
    next: &mut usize,
    now_us: i64,
) -> Option<&'n mut Open> {
    if let Some(owner) = owner
        && nodes.get(owner).is_some_and(|node| node.room(now_us) > 0)
    {
        return nodes[owner].link.as_mut();
    }
    let count = nodes.len();
    let found = (0..count)
        .map(|step| (*next + step) % count)
        .find(|index| nodes[*index].room(now_us) > 0)?;
    *next = (found + 1) % count;
    nodes[found].link.as_mut()
}
