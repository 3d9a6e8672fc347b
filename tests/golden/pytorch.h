// Runs make_golden.py, where PyTorch is installed.
#pragma once

#include <string>

namespace tessera::golden {

// Why tests that need PyTorch are left out here; "" where /usr/bin/python3 has torch and torchvision.
std::string WithoutPyTorch();

// Whether `make_golden.py ARGUMENTS` ends well, within some minutes.
bool RunMakeGolden(const std::string& arguments);

}  // namespace tessera::golden
