"""Bytes that are no message, at every port of a cluster in training: the run ends as without them."""

import contextlib
import pathlib
import random
import re
import resource
import socket
import struct

from harness import wire
from harness.case import SystemTest
from harness.job import endless, job, write_job
from harness.results import read_summary

REGISTER = "/tessera.wire.CoordinatorService/Register"
EXCHANGE = "/tessera.wire.ParameterService/Exchange"
ERROR = b"grpc-status"

HELLO, PUSH = 1, 2
STREAMS = 100
CONNECTIONS = 120
MOST_GROWTH = 192 << 20  # bytes of memory that the floods may cost a daemon


def say(address, content):
    """Sends `content`, tells that no more will come and reads to the end of the answer."""
    with wire.connect(address) as connection:
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            # Otherwise it was hung up on: just as well.


def garbage():
    generator = random.Random(1)
    yield b"GET / HTTP/1.1\r\nHost: tessera\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + generator.randbytes(500)  # the start of TLS
    yield wire.PREFACE + generator.randbytes(4096)
    yield b""
    for size in (1, 100, 100000):
        yield generator.randbytes(size)


def protocol_version():
    header = pathlib.Path(__file__).parents[2] / "common" / "protocol.h"
    return int(re.search(r"kProtocolVersion = (\d+)", header.read_text(encoding="utf-8")).group(1))


def header(kind, *more):
    return wire.field(1, wire.field(1, kind) + b"".join(more))


def hello():
    return header(HELLO, wire.field(10, 1 << 20), wire.field(15, protocol_version()), wire.field(16, "stranger"))


def bad_pushes():
    """Frames of one push each, none of which may count, whatever term the server is at."""
    shard, first, last, clock, version, wants, term, tensor = 2, 3, 4, 5, 6, 7, 13, 23
    for number in (0, 1, 2, (1 << 32) + 1, 2 ** 64 - 1):
        for fields in (
                {},  # replica 0, clock 0: without a gradient
                {tensor: 4},
                {shard: 2 ** 31 - 1, tensor: 8},
                {shard: 2 ** 64 - 1},
                {first: 3, last: 1},
                {first: 2 ** 31 - 1, last: 2 ** 31 - 1},
                {first: 1, last: 2},
                {clock: 10 ** 12, wants: 1},
                {clock: 2 ** 64 - 1},
                {version: 10 ** 15, tensor: 4}):
            yield (header(PUSH, wire.field(term, number), *(wire.field(*pair) for pair in fields.items())) +
                   wire.field(2, bytes(fields.get(tensor, 0))))


@contextlib.contextmanager
def few_files():
    """Processes that are started meanwhile may have 256 open files, and as many as they had before once they ask."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class HostilePeers(SystemTest):

    def test_run_survives_garbage_with_the_same_bits(self):
        path = write_job(self.folder, job(self.data, train={"epochs": 20}))
        expected = self.train(path, 2, 2)[0]["weights_digest"]
        cluster = self.cluster(path, 2, 2).start(2, 2)
        cluster.wait_for_log(r"epoch 1/")
        addresses = [cluster.address(), *cluster.server_addresses()]
        self.assertEqual(len(addresses), 3)
        with wire.connect(addresses[0]), wire.connect(addresses[1]):  # silent guests that stay
            for address in addresses:
                for content in garbage():
                    say(address, content)
                for method in (REGISTER, EXCHANGE, "/tessera.wire.Absent/Method"):
                    self.assertIn(ERROR, wire.call(address, method, b"\xff" * 64))
                    self.assertIn(ERROR, wire.call(address, method, b"", b"\0" * 1000))
            self.assertIsNone(cluster.coordinator.child.poll(), "training was over before the last guest")
            self.assert_all_exit(cluster, 0)
        summary = read_summary(cluster.run_folder)
        self.assertEqual(summary["weights_digest"], expected)
        told = [event["what"] for event in summary["events"] if event["what"] != "checkpoint"]
        self.assertEqual(told, ["join"] * 4)

    def test_run_survives_floods_and_wrong_pushes_with_the_same_bits_and_bounded_memory(self):
        path = write_job(self.folder, job(self.data, train={"epochs": 20}))
        expected = self.train(path, 2, 2)[0]["weights_digest"]
        with few_files():
            cluster = self.cluster(path, 2, 2).start(2, 2)
        cluster.wait_for_log(r"epoch 1/")
        daemons = [cluster.coordinator, *cluster.servers]
        before = [daemon.peak_bytes() for daemon in daemons]
        with contextlib.ExitStack() as guests:
            self._flood(cluster.address(), REGISTER, guests)
            for address in cluster.server_addresses():
                self._flood(address, EXCHANGE, guests)
            for address in cluster.server_addresses():
                self._push_nonsense(address)
            for daemon, bytes_before in zip(daemons, before):
                self.assertIsNone(daemon.child.poll(), f"{daemon.name} is gone\n{daemon.out}\n{daemon.err}")
                self.assertLess(daemon.peak_bytes() - bytes_before, MOST_GROWTH, daemon.name)
            self.assert_all_exit(cluster, 0)
        self.assertEqual(read_summary(cluster.run_folder)["weights_digest"], expected)

    def _flood(self, address, method, guests):
        """Opens connections that stay as long as `guests`, and read nothing."""
        requests = wire.body(*[1024 * header(PUSH)] * 12)  # each is answered with an error
        for content, streams, connections in (
                (struct.pack(">BI", 0, 1000000) + bytes(500), STREAMS, 3),  # half a message
                (struct.pack(">BI", 0, 0xffffffff), STREAMS, 3),
                (b"", 10 * STREAMS, 1),
                (wire.body(*[hello()] * 1000), 1, 3),
                (requests, 1, CONNECTIONS),
                (b"", 0, 200)):
            for _ in range(connections):
                guests.enter_context(wire.begin_streams(address, method, streams, content))

    def _push_nonsense(self, address):
        for frame in bad_pushes():
            headers, answers = wire.converse(address, EXCHANGE, hello(), frame)
            self.assertIn(ERROR, headers)
            self.assertGreater(len(answers), 20, "neither a hello nor a refusal")

    def test_node_of_another_protocol_version_is_refused_with_both(self):
        cluster = self.cluster(write_job(self.folder, endless(self.data)), 1, 2).start(1, 1)
        cluster.wait_for_log(r"worker 0 .* joined")
        worker = wire.field(1, 99) + wire.field(2, 2) + wire.field(5, 1234) + wire.field(6, "stranger")
        answer = wire.call(cluster.address(), REGISTER, worker)
        self.assertRegex(answer, rb"protocol version 99, the coordinator version \d+")
        cluster.wait_for_log(r"refused a node: .*version 99")
        cluster.start(0, 1).wait_for_log(r"epoch 1/")

    def test_strangers_heartbeat_is_refused(self):
        cluster = self.cluster(write_job(self.folder, endless(self.data)), 1, 1).start(1, 1)
        cluster.wait_for_log(r"epoch 1/")
        heartbeat = wire.field(1, 1) + wire.field(2, "not its incarnation")
        answer = wire.call(cluster.address(), "/tessera.wire.CoordinatorService/Heartbeat", heartbeat)
        self.assertIn(b"another process", answer)
