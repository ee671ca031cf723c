//! Requests that change on their way because a statement calls `now()`, `uuid()` or kin: source and
//! target get the same values.

use std::rc::Rc;

use super::functions;
use super::hidden;
use super::plan::{Plan, Treatment};
use super::registry::Prepared;
use super::requests::{Opened, put_request};
use super::session::{Context, Session, Taken};
use super::write::{Body, Child, ChildStatement};
use crate::cql::envelope::Envelope;
use crate::cql::{Flags, HEADER_LEN, Header, Opcode};

/// The statements of a batch with values in the place of the calls, and their bound values.
pub(super) struct Made {
    children: Vec<Child>,
    values: Vec<u8>,
}

impl Session {
    /// A text with literals in the place of the calls of `old`, with the client's parameters. Its
    /// names are qualified: a prepared statement keeps the keyspace in which it was prepared.
    pub(super) fn with_literals(
        &mut self,
        text: &str,
        old: &Plan,
        opened: &Opened<'_>,
        params: &[u8],
        cx: &mut Context<'_>,
    ) -> Taken {
        let plans = &cx.common.plans;
        let plan = plans.prepared(text, old.session_keyspace.clone(), Box::default());
        let text = &plan.target_text;
        let mut message = Vec::with_capacity(4 + text.len() + params.len());
        put_long_string(&mut message, text);
        let before = message.len();
        message.extend_from_slice(params);
        let target_text = plan.target_text.clone();
        self.substitute(
            &message,
            Opcode::Query,
            opened,
            |session, opened, envelope| {
                session.run(&Rc::new(plan), opened, before, envelope, cx, |params| {
                    Body::Query {
                        text: target_text,
                        params,
                    }
                });
            },
        );
        Taken::Yes
    }

    /// A prepared statement with values for the markers that the client does not know of. `None`:
    /// the parameters cannot be read.
    pub(super) fn with_added(
        &mut self,
        prepared: &Rc<Prepared>,
        opened: &Opened<'_>,
        before: usize,
        cx: &mut Context<'_>,
    ) -> Option<Taken> {
        let (head, params) = opened.message.split_at_checked(before)?;
        let (added, version) = (&prepared.plan.added, opened.version());
        let params =
            hidden::with_values(params, version, added, &mut cx.common.generator, cx.now_us)?;
        let message = [head, &params].concat();
        let (plan, prepared) = (prepared.plan.clone(), prepared.clone());
        self.substitute(
            &message,
            Opcode::Execute,
            opened,
            |session, opened, envelope| {
                session.run(&plan, opened, before, envelope, cx, |params| {
                    Body::Execute { prepared, params }
                });
            },
        );
        Some(Taken::Yes)
    }

    /// Calls `with` for a request with another message and the same stream, uncompressed.
    fn substitute(
        &mut self,
        message: &[u8],
        opcode: Opcode,
        opened: &Opened<'_>,
        with: impl FnOnce(&mut Self, &Opened<'_>, &Envelope<'_>),
    ) {
        let header = Header {
            flags: opened.header.flags.without(Flags::COMPRESSION),
            opcode,
            ..opened.header
        };
        let mut raw = Vec::with_capacity(HEADER_LEN + opened.prelude.len() + message.len());
        put_request(&mut raw, header, &[opened.prelude, message]);
        let envelope = Envelope {
            header,
            body: raw.get(HEADER_LEN..).unwrap_or_default(),
            raw: &raw,
        };
        let opened = Opened {
            header,
            prelude: opened.prelude,
            message,
        };
        with(self, &opened, &envelope);
    }

    /// The batch's statements with values in the place of calls; `None` if there are no calls.
    pub(super) fn with_generated(
        &mut self,
        kind: u8,
        children: &[Child],
        values: &[u8],
        cx: &mut Context<'_>,
    ) -> Option<Made> {
        let calls = |child: &Child| {
            let plan = child.statement.plan();
            matches!(plan.treatment, Treatment::Mirror | Treatment::Lwt)
                && !(plan.statement.functions.is_empty() && plan.added.is_empty())
        };
        if kind == 2 || !children.iter().any(calls) {
            return None;
        }
        let mut made = Made {
            children: Vec::with_capacity(children.len()),
            values: Vec::new(),
        };
        for child in children {
            let bound = values.get(child.values.clone())?;
            let from = made.values.len();
            let plan = child.statement.plan();
            let generator = &mut cx.common.generator;
            let text = functions::literal(plan, cx.now_us, generator);
            if plan.added.is_empty() {
                made.values.extend_from_slice(bound);
            } else {
                let (added, out) = (&plan.added, &mut made.values);
                hidden::with_batch_values(bound, added, generator, cx.now_us, out)?;
            }
            let statement = match (text, &child.statement) {
                (Some(text), _) => {
                    let keyspace = plan.session_keyspace.clone();
                    let plan = cx.common.plans.prepared(&text, keyspace, Box::default());
                    ChildStatement::Text(Rc::new(plan))
                }
                (None, ChildStatement::Text(plan)) => ChildStatement::Text(plan.clone()),
                (None, ChildStatement::Prepared(prepared)) => {
                    ChildStatement::Prepared(prepared.clone())
                }
            };
            made.children.push(Child {
                statement,
                values: from..made.values.len(),
            });
        }
        Some(made)
    }

    /// Runs the batch with these statements instead of the client's.
    pub(super) fn substitute_batch(
        &mut self,
        kind: u8,
        made: Made,
        opened: &Opened<'_>,
        tail: &[u8],
        cx: &mut Context<'_>,
    ) -> Taken {
        let Made { children, values } = made;
        let mut message = vec![kind];
        let count = u16::try_from(children.len()).unwrap_or(u16::MAX);
        message.extend_from_slice(&count.to_be_bytes());
        for child in &children {
            match &child.statement {
                ChildStatement::Text(plan) => {
                    message.push(0);
                    put_long_string(&mut message, &plan.target_text);
                }
                ChildStatement::Prepared(prepared) => {
                    message.push(1);
                    let length = u16::try_from(prepared.id.len()).unwrap_or(u16::MAX);
                    message.extend_from_slice(&length.to_be_bytes());
                    message.extend_from_slice(&prepared.id);
                }
            }
            message.extend_from_slice(values.get(child.values.clone()).unwrap_or_default());
        }
        let before = message.len();
        message.extend_from_slice(tail);
        self.substitute(
            &message,
            Opcode::Batch,
            opened,
            |session, opened, envelope| {
                session.run_batch(kind, children, values, opened, before, envelope, cx);
            },
        );
        Taken::Yes
    }
}

fn put_long_string(out: &mut Vec<u8>, text: &str) {
    // a text that came in one envelope, a little longer by its literals
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
