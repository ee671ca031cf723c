//! Reads of `system.local` and `system.peers` where several proxies are shown as the ring.
//!
//! Before the client's own question two others go to the source, one after the other, on the
//! client's stream id, which a correct client does not use again before it has its answer: what the
//! node knows of itself, and of the others. So the ring is always the present one, with the
//! client's own rights, and costs nothing else.

use std::rc::Rc;

use super::handshake::Answer;
use super::inflight::Pending;
use super::plan::Plan;
use super::requests::Opened;
use super::session::{Context, Session};
use crate::cql::request::params::QueryParams;
use crate::cql::response::{ErrorBody, ErrorCode};
use crate::cql::{Consistency, DecodeError, Flags, Header, Opcode, Version, encode};
use crate::statement::{PlainSelect, SystemTable};
use crate::topology::ring::{LOCAL_QUERY, PEERS_QUERY, Question, Ring};

/// For so long a driver sees that nodes have different schemas; after that the others count as down
/// (µs).
const DISAGREE_US: i64 = 3_000_000;

/// A client's question, and what was found out for its answer.
#[derive(Debug)]
pub struct RingRead {
    table: SystemTable,
    plan: Rc<Plan>,
    /// The client's own request, which goes last.
    request: Vec<u8>,
    /// Its `<query_parameters>`.
    params: Vec<u8>,
    local: Option<Vec<u8>>,
    peers: Option<Vec<u8>>,
}

impl Session {
    /// Begins to answer a client's question with the ring. `request`: the question as it shall go
    /// to the source in the end.
    pub(super) fn read_ring(
        &mut self,
        (table, plan): (SystemTable, &Rc<Plan>),
        opened: &Opened<'_>,
        before: usize,
        request: Vec<u8>,
        cx: &mut Context<'_>,
    ) {
        let read = RingRead {
            table,
            plan: plan.clone(),
            request,
            params: opened.message.get(before..).unwrap_or_default().to_vec(),
            local: None,
            peers: None,
        };
        self.expect_answer(opened.header.stream, Pending::Ring(Box::new(read)), cx);
        self.ask(LOCAL_QUERY, &opened.header, cx);
    }

    fn ask(&mut self, text: &str, header: &Header, cx: &mut Context<'_>) {
        let version = header.protocol().unwrap_or(Version::V4);
        let params = QueryParams::new(Consistency::One);
        let put = encode::envelope(
            cx.to_source,
            version,
            Flags::NONE,
            header.stream,
            Opcode::Query,
            |body| {
                body.long_string(text);
                params.encode_as(body, version);
            },
        );
        debug_assert!(put.is_ok()); // a short text
        self.count_sent();
    }

    /// The source has answered one of the three questions.
    pub(super) fn ring_answered(
        &mut self,
        mut read: Box<RingRead>,
        answer: &Answer<'_>,
        cx: &mut Context<'_>,
    ) {
        let header = &answer.header;
        match (&read.local, &read.peers) {
            (None, _) => {
                read.local = Some(answer.message.to_vec());
                self.ask(PEERS_QUERY, header, cx);
            }
            (Some(_), None) => {
                read.peers = Some(answer.message.to_vec());
                cx.to_source.extend_from_slice(&read.request);
                read.request = Vec::new();
                self.count_sent();
            }
            (Some(local), Some(peers)) => {
                let shown = self.put_ring(&read, (local, peers), answer, cx);
                if let Err(error) = shown {
                    put_error(&error, header, cx.to_client);
                }
                return;
            }
        }
        self.expect_answer(header.stream, Pending::Ring(read), cx);
    }

    fn put_ring(
        &mut self,
        read: &RingRead,
        (local, peers): (&[u8], &[u8]),
        answer: &Answer<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), DecodeError> {
        let version = answer.header.protocol().unwrap_or(Version::V4);
        let facts = self.facts().clone();
        let Some(proxies) = facts.proxies() else {
            return Ok(()); // only where proxies are shown as the ring
        };
        let mut ring = Ring::read(local, peers, proxies.all.len())?;
        match (ring.agrees(), self.disagree_since_us) {
            (true, _) => self.disagree_since_us = None,
            (false, None) => self.disagree_since_us = Some(cx.now_us),
            (false, Some(since_us)) if cx.now_us - since_us > DISAGREE_US => {
                ring.pretend_to_agree();
            }
            (false, Some(_)) => {}
        }
        let select = PlainSelect::of(&read.plan.text);
        let question = Question {
            table: read.table,
            select: select.as_ref(),
            params: QueryParams::parse_as(&read.params, version).ok(),
        };
        let mut rows = Vec::new();
        ring.put_rows(&mut rows, &question, answer.message, (proxies, &facts))?;
        let put = answer.put(cx.to_client, |out| {
            out.extend_from_slice(&rows);
            true
        });
        debug_assert!(put); // far below the longest body
        Ok(())
    }
}

/// The client gets an answer in any case.
fn put_error(error: &DecodeError, header: &Header, to_client: &mut Vec<u8>) {
    let words = format!("the proxy cannot read the source's answer about its nodes: {error}");
    let body = ErrorBody::new(ErrorCode::Server, &words);
    let version = header.protocol().unwrap_or(Version::V4);
    let put = encode::error(to_client, version, header.stream, &body);
    debug_assert!(put.is_ok());
}
