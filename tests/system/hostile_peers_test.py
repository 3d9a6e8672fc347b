"""Bytes that are no message, at every port of a cluster in training: the run ends as without them."""

import random
import socket

from harness import wire
from harness.case import SystemTest
from harness.job import endless, job, write_job
from harness.results import read_summary

REGISTER = "/tessera.wire.CoordinatorService/Register"
EXCHANGE = "/tessera.wire.ParameterService/Exchange"
ERROR = b"grpc-status"


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
        self.assertEqual([event["what"] for event in summary["events"]], ["join"] * 4)

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
