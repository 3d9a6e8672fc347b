"""gRPC by hand, to say what no client of ours would: HTTP/2 frames, HPACK literals, protobuf varints."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1


def connect(address, timeout=10):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout)


def call(address, method, *messages):
    """Sends `messages` (bytes) to `method` ("/package.Service/Method").

    Returns what came back as headers and trailers, undecoded: gRPC writes the text of a status as it is.
    """
    with connect(address) as connection:
        body = b"".join(struct.pack(">BI", 0, len(message)) + message for message in messages)
        connection.sendall(PREFACE + _frame(_SETTINGS, 0, 0, b"") +
                           _frame(_HEADERS, _END_HEADERS, 1, _request_headers(address, method)) +
                           _frame(_DATA, _END_STREAM, 1, body))
        return _read_headers(connection)


def field(number, value):
    """A protobuf field: a varint for an int, else length-delimited."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _read_headers(connection):
    """Everything in HEADERS frames until the stream ends."""
    headers = b""
    with connection.makefile("rb") as stream:
        while True:
            start = stream.read(9)
            if len(start) < 9:
                return headers
            length, kind, flags = int.from_bytes(start[:3], "big"), start[3], start[4]
            payload = stream.read(length)
            if kind == _SETTINGS and not flags & _ACK:
                connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
            if kind == _HEADERS:
                headers += payload
                if flags & _END_STREAM:
                    return headers


def _frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _request_headers(authority, path):
    headers = ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", authority),
               ("content-type", "application/grpc"), ("te", "trailers"))
    return b"".join(b"\0" + _short(name) + _short(value) for name, value in headers)


def _short(text):
    assert len(text) < 127
    return bytes([len(text)]) + text.encode()


def _varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])
