// The version of the wire; nodes of another are refused with both named.
#pragma once

namespace tessera {

inline constexpr int kProtocolVersion = 6;
// Clocks that a heartbeat says were computed again, at most.
inline constexpr int kMostRecomputed = 64;
inline constexpr char kBuildVersion[] = "0.1.0";

}  // namespace tessera
