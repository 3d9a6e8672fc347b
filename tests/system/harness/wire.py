"""gRPC by hand, to say what no client of ours would: HTTP/2 frames, HPACK literals, protobuf varints."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_FRAME_BYTES = 16384  # of HTTP/2; more is an error before settings say otherwise
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1


def connect(address, timeout=10):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout)


def call(address, method, *messages):
    """Sends `messages` (bytes) to `method` ("/package.Service/Method").

    Returns what came back as headers and trailers, undecoded: gRPC writes the text of a status as it is.
    """
    return converse(address, method, *messages)[0]


def converse(address, method, *messages):
    """As call(), but returns (headers, data): the bodies of the answers too, undecoded."""
    with connect(address) as connection:
        connection.sendall(_preamble() + _request(address, method, 1) + _frame(_DATA, _END_STREAM, 1, body(*messages)))
        return _read_stream(connection)


def body(*messages):
    """`messages` as gRPC puts them into the stream."""
    return b"".join(struct.pack(">BI", 0, len(message)) + message for message in messages)


def begin_streams(address, method, streams, content):
    """A connection with so many calls of `method`, each of which has sent the bytes `content` and will read nothing.

    The caller closes it. It may be closed already by the other side."""
    connection = connect(address)
    try:
        connection.sendall(_preamble())
        for stream in range(1, 2 * streams, 2):
            data = b"".join(_frame(_DATA, 0, stream, content[at:at + _FRAME_BYTES])
                            for at in range(0, len(content), _FRAME_BYTES))
            connection.sendall(_request(address, method, stream) + data)
    except OSError as error:
        if isinstance(error, TimeoutError):
            connection.close()
            raise
    return connection


def field(number, value):
    """A protobuf field: a varint for an int, else length-delimited."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _preamble():
    return PREFACE + _frame(_SETTINGS, 0, 0, b"")


def _request(address, method, stream):
    return _frame(_HEADERS, _END_HEADERS, stream, _request_headers(address, method))


def _read_stream(connection):
    """(everything in HEADERS frames, everything in DATA frames) until the stream ends."""
    headers, data = b"", b""
    with connection.makefile("rb") as stream:
        while True:
            start = stream.read(9)
            if len(start) < 9:
                return headers, data
            length, kind, flags = int.from_bytes(start[:3], "big"), start[3], start[4]
            payload = stream.read(length)
            if kind == _SETTINGS and not flags & _ACK:
                connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
            if kind == _HEADERS:
                headers += payload
            if kind == _DATA:
                data += payload
            if kind in (_HEADERS, _DATA) and flags & _END_STREAM:
                return headers, data


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
