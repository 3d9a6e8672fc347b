// The version of the wire; nodes of another are refused with both named.
#pragma once

namespace tessera {

inline constexpr int kProtocolVersion = 6;
// Where all replicas keep step, and one changes workers: so far beyond the newest version of a shard it is
// handed over (docs/adr/0009-recovery.md, "A join or a drain").
inline constexpr int kHandoverLead = 3;
// Clocks that a heartbeat says were computed again, at most.
inline constexpr int kMostRecomputed = 64;
inline constexpr char kBuildVersion[] = "0.1.0";

}  // namespace tessera
