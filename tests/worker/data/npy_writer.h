// The bytes of NumPy array files, for tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tessera {

// Version 1.0 with the dictionary `header`, padded as NumPy does.
inline std::string NpyWithHeader(std::string header, const std::string& elements) {
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() & 0xff);
  file += static_cast<char>(header.size() >> 8);
  return file + header + elements;
}

inline std::string NpyHeader(const std::string& type, const std::vector<int64_t>& shape,
                             const std::string& fortran_order = "False") {
  return absl::StrCat("{'descr': '", type, "', 'fortran_order': ", fortran_order, ", 'shape': (",
                      absl::StrJoin(shape, ", "), shape.size() == 1 ? ",), }" : "), }");
}

template <typename T>
std::string ElementBytes(const std::vector<T>& elements) {
  return {reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(T)};
}

// `type` is T's: "<f4", "|u1", ...
template <typename T>
std::string Npy(const std::string& type, const std::vector<int64_t>& shape, const std::vector<T>& elements) {
  return NpyWithHeader(NpyHeader(type, shape), ElementBytes(elements));
}

}  // namespace tessera
