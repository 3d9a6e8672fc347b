// One training step of a zoo network, compared with PyTorch's: for any executor, by name.
// Weights, images and labels come from a formula that make_golden.py repeats. Bounds: the loss 1e-5 relative,
// every gradient and batch-norm statistic 1e-4 by ||a-b||/||b||; 1e-6 absolute where ||b|| < 1e-6.
#pragma once

#include <string>

namespace tessera::golden {

// Against the committed values in tests/golden/<network>.json, where ||a-b|| is estimated twice: from
// seeded samples (how many: the file's) and from 8 products with vectors of +1 and -1. Adds GoogleTest
// failures to the running test.
void ExpectMatchesGolden(const std::string& executor, const std::string& network);

// Against every element of what PyTorch computes now. Skips the running test, with the reason, where
// /usr/bin/python3 has no torch and torchvision.
void ExpectMatchesPyTorch(const std::string& executor, const std::string& network);

}  // namespace tessera::golden
