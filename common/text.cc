#include "common/text.h"

#include <cstdint>

namespace tessera {
namespace {

bool IsContinuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// Bytes of the UTF-8 character that `text` begins with, or 0 when it begins with none.
// Source: RFC 3629, section 4 (no overlong forms, no surrogates).
size_t CharacterLength(absl::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  size_t length = 0;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  }
  if (length == 0 || text.size() < length || byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if (!IsContinuation(text[i])) return 0;
  }
  return length;
}

// Cuts `line` so that "..." fits behind it.
std::string Cut(std::string line, size_t max_bytes) {
  constexpr absl::string_view kCut = "...";
  while (line.size() + kCut.size() > max_bytes && !line.empty()) {
    while (IsContinuation(line.back())) line.pop_back();
    line.pop_back();
  }
  return line.append(kCut.data(), kCut.size() < max_bytes ? kCut.size() : max_bytes);
}

}  // namespace

std::string PrintableLine(absl::string_view text, size_t max_bytes) {
  std::string line;
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    const size_t taken = length == 0 ? 1 : length;
    if (line.size() + taken > max_bytes) return Cut(std::move(line), max_bytes);
    const auto lead = static_cast<uint8_t>(text[0]);
    if (length == 0) {
      line.push_back('?');
    } else if (lead < 0x20 || lead == 0x7F) {
      line.push_back(' ');
    } else {
      line.append(text.data(), length);
    }
    text.remove_prefix(taken);
  }
  return line;
}

}  // namespace tessera
