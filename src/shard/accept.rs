//! How client connections begin: accepted, and joined to a connection of their own to the source.

use std::io;
use std::net::SocketAddr;

use super::connection::{Connection, ConnectionId, Phase};
use super::net::Net;
use super::{Owner, Shard};
use crate::relay::Session;
use crate::side::Side;
use crate::tls::Secure;
use crate::topology::Facts;

impl Shard {
    pub(super) fn accept<N: Net>(&mut self, stream: N::Stream, ring: &mut N) {
        if self.stop_at_us.is_some() || !self.clients.seats.take() {
            return; // dropped: the driver tries again elsewhere or later
        }
        if !self.take_over(stream, ring) {
            self.clients.seats.give();
        }
    }

    /// False: nothing has become of it.
    fn take_over<N: Net>(&mut self, stream: N::Stream, ring: &mut N) -> bool {
        let Ok((id, address)) = ring.adopt(stream) else {
            return false; // it has closed already
        };
        let here = SocketAddr::new(address.ip().to_canonical(), address.port());
        let facts = Facts::new(here, &self.clients.shown, &self.clients.offer);
        let contact_point = self.clients.points.take(self.now_us);
        let mut connection = Connection::new(Session::new(facts), id, self.now_us, contact_point);
        let listener = self.tls.material.listener.as_ref();
        let secure = listener.and_then(|listener| Secure::server(&listener.config).ok());
        let greeting = secure.is_some();
        if let Some(secure) = secure {
            connection.client.tls = Some(Box::new(secure));
            connection.phase = Phase::Greeting;
        } else if listener.is_some() {
            ring.close(id); // never in plain where TLS is wanted
            return false;
        }
        let at = self.clients.insert(connection);
        self.own(id, Owner::Client(at));
        self.recorder.opened(Side::Client);
        ring.start_recv(id);
        if !greeting {
            self.connect_source(at, ring);
        }
        true
    }

    pub(super) fn connect_source(&mut self, at: ConnectionId, ring: &mut impl Net) {
        let points = &self.config.source.contact_points;
        let Some(connection) = self.clients.get(at) else {
            return;
        };
        let address = connection.source_address(points);
        connection.connect_since_us = self.now_us;
        match ring.connect(address) {
            Ok(id) => {
                connection.source.socket = Some(id);
                self.own(id, Owner::Source(at));
            }
            Err(error) => {
                tracing::warn!("no connection to the source {address}: {error}");
                self.close(at, ring);
            }
        }
    }

    pub(super) fn source_connected(
        &mut self,
        at: ConnectionId,
        result: io::Result<()>,
        ring: &mut impl Net,
    ) {
        let Some(connection) = self.clients.get(at) else {
            return;
        };
        let Some(id) = connection.source.socket else {
            return;
        };
        let connecting = connection.phase == Phase::Connecting;
        let begun = match (result, connecting) {
            (Ok(()), true) => self.secure_source(at).map_err(io::Error::other),
            (result, _) => result.map(|()| false),
        };
        let points = &self.config.source.contact_points;
        let Some(connection) = self.clients.get(at) else {
            return;
        };
        match begun {
            // the client has said nonsense, or left, before: nothing is sent there any more
            Ok(_) if !connecting => {}
            Ok(secure) => {
                ring.tune(id);
                connection.connected = true;
                let at_point = connection.contact_point;
                connection.phase = if secure { Phase::Securing } else { Phase::Open };
                ring.start_recv(id);
                self.clients.points.answered(at_point);
                self.recorder.opened(Side::Source);
                self.clients.mark(at);
            }
            Err(error) => {
                connection.failed_connects += 1;
                let last = connection.failed_connects >= points.len();
                let failed = connection.contact_point;
                let begun_us = connection.connect_since_us;
                let address = connection.source_address(points);
                connection.source.socket = None;
                ring.close(id);
                self.recorder.connect_failed(Side::Source);
                tracing::warn!("no connection to the source {address}: {error}");
                let rested = &mut self.clients.points;
                rested.failed(failed, begun_us, self.now_us);
                if last {
                    return self.close(at, ring); // as a node that is down would
                }
                let next = rested.take_after(failed, self.now_us);
                if let Some(connection) = self.clients.get(at) {
                    connection.contact_point = next;
                }
                self.connect_source(at, ring);
            }
        }
    }
    /// Connects that nobody answers are given up for another contact point: its node swallows them.
    pub(super) fn expire_connects(&mut self, ring: &mut impl Net) {
        for at in self.clients.late_connects(self.now_us) {
            self.source_connected(at, Err(io::ErrorKind::TimedOut.into()), ring);
        }
    }
}
