#include "tests/golden/golden.h"

#include <gtest/gtest.h>

namespace tessera::golden {
namespace {

class CpuGolden : public testing::TestWithParam<const char*> {};

TEST_P(CpuGolden, StepMatchesCommittedValues) { ExpectMatchesGolden("cpu", GetParam()); }
TEST_P(CpuGolden, StepMatchesPyTorchInEveryElement) { ExpectMatchesPyTorch("cpu", GetParam()); }

INSTANTIATE_TEST_SUITE_P(Zoo, CpuGolden,
                         testing::Values("lenet5", "resnet20", "resnet18", "resnet50", "vgg11", "alexnet"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tessera::golden
