#include "bench/bare_transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "bench/child_process.h"
#include "common/status.h"

namespace tessera::bench {
namespace {

constexpr int64_t kProbeBytes = 64 << 20;  // sent first, to learn how much fills the duration

void Tune(int socket, const BareOptions& options) {
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // no TCP: it fails, and means nothing
  if (options.socket_buffer_bytes == 0) return;
  for (const int which : {SO_SNDBUF, SO_RCVBUF}) {
    setsockopt(socket, SOL_SOCKET, which, &options.socket_buffer_bytes, sizeof(int));
  }
}

// A listening socket on a free port of loopback, as accepted sockets inherit its buffers.
absl::StatusOr<int> Listen(const BareOptions& options, sockaddr_in* address) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Tune(listener, options);
  *address = {};
  address->sin_family = AF_INET;
  address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(*address);
  if (bind(listener, reinterpret_cast<sockaddr*>(address), size) != 0 || listen(listener, 1) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(address), &size) != 0) {
    return absl::UnavailableError("cannot listen on loopback");
  }
  return listener;
}

// The payload's memory, walked over and over in pieces of at most write_bytes.
class Payload {
 public:
  explicit Payload(const BareOptions& options)
      : write_bytes_(options.write_bytes), memory_(std::max(options.payload_bytes, options.write_bytes), 1) {}

  // The next piece, of at most `left` bytes.
  absl::Span<char> Next(int64_t left) {
    if (at_ == memory_.size()) at_ = 0;
    const size_t size = std::min({write_bytes_, memory_.size() - at_, static_cast<size_t>(left)});
    return {memory_.data() + std::exchange(at_, at_ + size), size};
  }

 private:
  const size_t write_bytes_;
  std::vector<char> memory_;
  size_t at_ = 0;
};

// The reader: as often as it is told a number of bytes, it reads them and answers with one.
void Drain(int socket, const BareOptions& options) {
  Payload payload(options);
  int64_t left = 0;
  while (ReadAll(socket, &left, sizeof(left)).ok()) {
    while (left > 0) {
      const absl::Span<char> piece = payload.Next(left);
      if (!ReadAll(socket, piece.data(), piece.size()).ok()) return;
      left -= static_cast<int64_t>(piece.size());
    }
    if (!WriteAll(socket, "", 1).ok()) return;
  }
}

// The seconds until `bytes` have been written here and read there.
absl::StatusOr<double> Transfer(int socket, int64_t bytes, Payload* payload) {
  const absl::Time start = absl::Now();
  TESSERA_RETURN_IF_ERROR(WriteAll(socket, &bytes, sizeof(bytes)));
  for (int64_t left = bytes; left > 0;) {
    const absl::Span<char> piece = payload->Next(left);
    TESSERA_RETURN_IF_ERROR(WriteAll(socket, piece.data(), piece.size()));
    left -= static_cast<int64_t>(piece.size());
  }
  char read = 0;
  TESSERA_RETURN_IF_ERROR(ReadAll(socket, &read, 1));
  return absl::ToDoubleSeconds(absl::Now() - start);
}

absl::StatusOr<double> Rate(int socket, const BareOptions& options) {
  Payload payload(options);
  TESSERA_ASSIGN_OR_RETURN(const double probe, Transfer(socket, kProbeBytes, &payload));
  const double share = absl::ToDoubleSeconds(options.duration) / probe;
  const auto bytes = static_cast<int64_t>(std::max(share, 1.0) * kProbeBytes);
  TESSERA_ASSIGN_OR_RETURN(const double seconds, Transfer(socket, bytes, &payload));
  return static_cast<double>(bytes) / seconds;
}

}  // namespace

absl::StatusOr<double> BareTcpRate(const BareOptions& options) {
  sockaddr_in address;
  TESSERA_ASSIGN_OR_RETURN(const int listener, Listen(options, &address));
  TESSERA_ASSIGN_OR_RETURN(const ChildProcess child, ChildProcess::Start([&](int) {
                             const int accepted = accept(listener, nullptr, nullptr);
                             Drain(accepted, options);
                           }));
  close(listener);
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Tune(socket, options);
  if (connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return absl::UnavailableError("cannot connect on loopback");
  }
  absl::StatusOr<double> rate = Rate(socket, options);
  close(socket);
  return rate;
}

absl::StatusOr<double> BareUnixRate(const BareOptions& options) {
  TESSERA_ASSIGN_OR_RETURN(const ChildProcess child, ChildProcess::Start([&](int socket) {
                             Tune(socket, options);
                             Drain(socket, options);
                           }));
  Tune(child.socket(), options);
  return Rate(child.socket(), options);
}

double CopyRate(int64_t bytes, absl::Duration duration) {
  const auto size = static_cast<size_t>(bytes);
  std::vector<char> from(size, 1), to(size, 2);
  int64_t copied = 0;
  const absl::Time start = absl::Now();
  absl::Duration taken;
  do {
    std::memcpy(to.data(), from.data(), size);
    asm volatile("" : : "r"(to.data()) : "memory");  // somebody might read it
    copied += bytes;
    taken = absl::Now() - start;
  } while (taken < duration);
  return static_cast<double>(copied) / absl::ToDoubleSeconds(taken);
}

}  // namespace tessera::bench
