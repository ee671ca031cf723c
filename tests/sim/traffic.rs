//! What happens on connections, and what clients may see of it.

use crate::client::{Served, Wish};
use crate::cluster::{Cluster, Health};
use crate::net::{Arrival, Party, Report, WireId};
use crate::world::World;

/// With a source that is well, no answer takes longer (µs).
const ANSWER_US: i64 = 400_000;

impl World {
    pub fn connect(&mut self, wire: WireId) {
        let Party::Shard { shard, socket } = self.network.get(wire).ends[0] else {
            return; // given up meanwhile
        };
        let address = self.network.get(wire).address.unwrap();
        let (cluster, node) = Cluster::of_address(address);
        let health = self.clusters[cluster].nodes[node].health;
        match health {
            Health::Gone => return, // nobody answers
            Health::Down => {
                self.network.cut(wire);
                let error = std::io::ErrorKind::ConnectionRefused.into();
                self.report(shard, socket, Report::Connected(Err(error)));
            }
            Health::Up | Health::Frozen => {
                self.clusters[cluster].accept(&mut self.core, &mut self.network, node, wire);
                self.report(shard, socket, Report::Connected(Ok(())));
            }
        }
        self.stir(shard);
    }

    fn report(&mut self, shard: usize, socket: usize, report: Report) {
        if let Some(proxy) = &mut self.proxy {
            proxy.slots[shard].sockets.report(socket, report);
        }
    }

    pub fn arrive(&mut self, wire: WireId, to: Party, what: Arrival) {
        match (to, what) {
            (Party::Nobody, _) => {}
            (Party::Shard { shard, socket }, Arrival::Bytes(bytes)) => {
                self.report(shard, socket, Report::Received(bytes));
                self.stir(shard);
            }
            (Party::Shard { shard, socket }, Arrival::Eof) => {
                self.report(shard, socket, Report::Eof);
                self.stir(shard);
            }
            (Party::Client(client), Arrival::Bytes(bytes)) => {
                let mut served = Vec::new();
                let it = &mut self.clients[client];
                let (core, keys, ledger) = (&mut self.core, &mut self.keys, &mut self.ledger);
                let wish = it.bytes(core, &bytes, keys, ledger, &mut served);
                for served in served {
                    self.judge(client, served);
                }
                self.grant(client, wish);
            }
            (Party::Client(client), Arrival::Eof) => {
                self.network.hang_up(&mut self.core, wire, 0);
                self.client_lost(client);
            }
            (Party::Node(conn), Arrival::Bytes(bytes)) => {
                self.clusters[conn.cluster].bytes(&mut self.core, conn, &bytes);
            }
            (Party::Node(conn), Arrival::Eof) => {
                self.clusters[conn.cluster].forget(conn);
                self.network.hang_up(&mut self.core, wire, 1);
            }
        }
    }

    /// What a client has seen must be the source's doing.
    fn judge(&mut self, client: usize, served: Served) {
        if served.sent_us <= self.disturbed_until_us {
            return;
        }
        // a journal without room for what is in flight has its writers wait, and so has a disk
        let tight = self.config.journal.bytes < 1 << 20 || self.forecast.machine;
        if served.took_us > ANSWER_US && !tight {
            let took_ms = served.took_us / 1_000;
            self.complain(format!("client {client} waited {took_ms} ms for an answer"));
        }
        // what a client's own requests deserve
        let deserved = [0, 0x2200, 0x2400, 0x2500];
        if !deserved.contains(&served.error) {
            self.complain(format!("client {client} saw error {:#06x}", served.error));
        }
    }

    pub fn complain(&mut self, words: String) {
        self.core.note(|| format!("COMPLAINT: {words}"));
        self.complaints.push(words);
    }

    fn client_lost(&mut self, client: usize) {
        if self.core.now_us > self.disturbed_until_us {
            self.complain(format!("client {client} lost its connection"));
        }
        self.clients[client].lost(&mut self.core, &mut self.ledger);
    }

    pub fn grant(&mut self, client: usize, wish: Wish) {
        match wish {
            Wish::Nothing => {}
            Wish::Connect => {
                let Some(proxy) = &mut self.proxy else {
                    return self.clients[client].lost(&mut self.core, &mut self.ledger);
                };
                let shard = self.core.rng.below(proxy.slots.len());
                let wire = self.network.add(Party::Client(client), Party::Nobody, None);
                self.network.read(&mut self.core, wire, 1, true);
                proxy.slots[shard].sockets.report_accept(wire);
                self.stir(shard);
                self.clients[client].connected(&mut self.core, wire);
            }
            Wish::Leave(cut) => {
                self.core
                    .note(|| format!("client {client} leaves, cut: {cut}"));
                if let Some(wire) = self.clients[client].wire {
                    self.network.get(wire).ends[0] = Party::Nobody;
                    match cut {
                        true => self.cut(wire),
                        false => self.network.hang_up(&mut self.core, wire, 0),
                    }
                }
                self.clients[client].lost(&mut self.core, &mut self.ledger);
            }
        }
        self.flush_client(client);
    }

    fn flush_client(&mut self, client: usize) {
        let it = &mut self.clients[client];
        if let Some(wire) = it.wire
            && !it.out.is_empty()
            && !self.network.get(wire).dead
        {
            let bytes = std::mem::take(&mut it.out);
            self.network.send_more(&mut self.core, wire, 0, bytes);
        }
    }

    pub fn flushed(&mut self, wire: WireId, dir: usize) {
        if let Party::Shard { shard, socket } = self.network.get(wire).ends[dir]
            && let Some(proxy) = &mut self.proxy
        {
            proxy.slots[shard].sockets.flushed(socket);
            self.stir(shard);
        }
    }

    /// A connection is cut: those at its ends learn of it.
    pub fn cut(&mut self, wire: WireId) {
        for party in self.network.cut(wire) {
            match party {
                Party::Nobody => {}
                Party::Shard { shard, socket } => {
                    if let Some(proxy) = &mut self.proxy {
                        proxy.slots[shard].sockets.cut(socket);
                        self.stir(shard);
                    }
                }
                Party::Client(client) => self.client_lost(client),
                Party::Node(conn) => self.clusters[conn.cluster].forget(conn),
            }
        }
    }
}
