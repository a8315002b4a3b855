// The networks of the zoo that take a second and more each, exported and imported again.
#include <gtest/gtest.h>

#include "tests/onnx/networks.h"

namespace tessera::onnx {
namespace {

class OnnxZoo : public ::testing::TestWithParam<std::string> {};

TEST_P(OnnxZoo, ComesBackAsItWas) {
  expect_same(GetParam(), zoo_model(GetParam()));
}
INSTANTIATE_TEST_SUITE_P(All, OnnxZoo, ::testing::ValuesIn(zoo_names(Weight::heavy)),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tessera::onnx
