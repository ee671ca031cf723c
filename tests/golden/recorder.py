"""A relay that keeps what a driver and a node say to each other, for capture.py and drivers.py."""

import pathlib
import socket
import struct
import threading

import lz4.block

STARTUP, READY, AUTHENTICATE = 0x01, 0x02, 0x03
# Kinds of records; see README.md. A frame's is its direction's, plus 2.
REQUEST, RESPONSE, FRAME = 0, 1, 2
# How many of each kind, flags, opcode and length a file of drivers.py keeps.
ALIKE = 1


class Connection:
    """What the two directions of one connection know together."""

    def __init__(self):
        self.framed = [False, False]
        self.lz4 = False

    def cut(self, direction, kept):
        """The first whole envelope or frame as (kind, bytes), and the rest; None: not yet whole."""
        if not self.framed[direction]:
            if len(kept) < 9:
                return None
            end = 9 + struct.unpack(">I", kept[5:9])[0]
            if len(kept) < end:
                return None
            self.notice(direction, kept[:end])
            return (direction, kept[:end]), kept[end:]
        head = 5 if self.lz4 else 3
        if len(kept) < head + 3:
            return None
        end = head + 3 + (int.from_bytes(kept[:head], "little") & 0x1FFFF) + 4
        return ((direction + FRAME, kept[:end]), kept[end:]) if len(kept) >= end else None

    def notice(self, direction, envelope):
        """After these, v5 travels in frames (native_protocol_v5.spec, section 2)."""
        if envelope[0] & 0x7F != 5:
            return
        if direction == REQUEST and envelope[4] == STARTUP:
            self.lz4 = b"COMPRESSION\0\3lz4" in envelope
            self.framed[REQUEST] = True
        if direction == RESPONSE and envelope[4] in (READY, AUTHENTICATE):
            self.framed[RESPONSE] = True

    def shape(self, kind, record):
        """What makes a record another one than those before it."""
        if kind < FRAME:
            return kind, record[:2], record[4], len(record)
        head = 5 if self.lz4 else 3
        bits = int.from_bytes(record[:head], "little")
        payload, plain = record[head + 3:-4], bits >> 17 & 0x1FFFF
        if self.lz4 and plain:
            payload = lz4.block.decompress(payload, uncompressed_size=plain)
        if not bits >> (34 if self.lz4 else 17) & 1:
            return kind, "part", len(payload)
        shapes = []
        while payload:
            end = 9 + struct.unpack(">I", payload[5:9])[0]
            shapes.append((payload[:2], payload[4], end))
            payload = payload[end:]
        return kind, tuple(shapes)


class Recorder:
    """Forwards bytes both ways and keeps every envelope, and every frame of v5."""

    def __init__(self, listen, node):
        self.node, self.records, self.lock = node, [], threading.Lock()
        self.listener = socket.create_server(listen)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server, connection = socket.create_connection(self.node), Connection()
            for direction, source, sink in ((0, client, server), (1, server, client)):
                args = (connection, direction, source, sink)
                threading.Thread(target=self.pump, args=args, daemon=True).start()

    def pump(self, connection, direction, source, sink):
        kept = b""
        while True:
            try:
                read = source.recv(65536)
            except OSError:
                break
            if not read:
                break
            # Before it goes on: the other direction's format follows from it.
            kept += read
            while cut := connection.cut(direction, kept):
                record, kept = cut
                with self.lock:
                    self.records.append((connection, *record))
            try:
                sink.sendall(read)
            except OSError:
                break
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def save(self, path, whole=False, longest=65536):
        """Writes what was recorded since the last call; `whole`: all that differs in more than the
        stream id, and not only its shape."""
        with self.lock:
            records, self.records = self.records, []
        seen, out, count = {}, bytearray(), 0
        for connection, kind, record in records:
            shape = (kind, record[:2], record[4:]) if whole else connection.shape(kind, record)
            seen[shape] = seen.get(shape, 0) + 1
            if seen[shape] > (1 if whole else ALIKE) or len(record) >= longest:
                continue
            count += 1
            out += struct.pack(">BI", kind, len(record)) + record
        pathlib.Path(path).write_bytes(out)
        print(pathlib.Path(path).name, count, "records", len(out), "bytes")
