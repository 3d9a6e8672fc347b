#include "tests/golden/golden.h"

#include <gtest/gtest.h>

namespace tessera::golden {
namespace {

class ReferenceGolden : public testing::TestWithParam<const char*> {};

TEST_P(ReferenceGolden, StepMatchesCommittedValues) { ExpectMatchesGolden("reference", GetParam()); }
TEST_P(ReferenceGolden, StepMatchesPyTorchInEveryElement) { ExpectMatchesPyTorch("reference", GetParam()); }

INSTANTIATE_TEST_SUITE_P(Zoo, ReferenceGolden, testing::Values("lenet5", "resnet20"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tessera::golden
