// Limits that both ends of every connection share.
#pragma once

namespace tessera {

// No frame is larger: at most one shard of more than 64 KiB, of at most 16 MiB (the range of
// cluster.shard_bytes), and headers far below 1 MiB.
inline constexpr int kMaxMessageBytes = 32 * 1024 * 1024;

// A silent peer is noticed after at most their sum, also where TCP would take minutes.
inline constexpr int kKeepaliveTimeMs = 10'000;
inline constexpr int kKeepaliveTimeoutMs = 5'000;

// Calls that are under way on one connection; more are refused. Our own clients have a few.
inline constexpr int kMaxCallsPerConnection = 100;
// Exchange streams that a server has at once: of as many workers as a job can have (4096), and of those that
// want weights.
inline constexpr int kMaxExchangeStreams = 4096 + 128;
// A connection that has not said by then that it speaks HTTP/2 is closed.
inline constexpr int kHandshakeTimeoutMs = 10'000;

}  // namespace tessera
