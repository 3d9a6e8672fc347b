#include "tests/golden/pytorch.h"

#include <sys/wait.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace tessera::golden {
namespace {

constexpr char kPython[] = "/usr/bin/python3";

// Whether the command ends with exit code 0 within `seconds`.
bool Runs(const std::string& command, int seconds) {
  const int status = std::system(absl::StrCat("timeout ", seconds, " ", command).c_str());
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

std::string WithoutPyTorch() {
  if (Runs(absl::StrCat(kPython, " -c 'import torch, torchvision' 2>/dev/null"), 60)) return "";
  return absl::StrCat(kPython,
                      " has no torch and torchvision (packages python3-torch, python3-torchvision): ",
                      "the full comparison is left out");
}

bool RunMakeGolden(const std::string& arguments) {
  return Runs(absl::StrCat(kPython, " ", TESSERA_SOURCE_DIR, "/tests/golden/make_golden.py ", arguments),
              200);
}

}  // namespace tessera::golden
