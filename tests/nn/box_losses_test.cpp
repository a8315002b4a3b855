#include "nn/box_losses.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/autodiff.h"
#include "core/interpret.h"
#include "core/rng.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "tests/error_of.h"

namespace tessera::nn {
namespace {

using tessera::testing::error_of;
using Numbers = std::vector<double>;

// What a builder of two operands gives in f64, and the gradient of its sum by both.
struct Outcome {
  Numbers value, a, b;
};
Outcome run(const std::function<Value(Value, Value)>& build, const Shape& sa, const Numbers& a,
            const Shape& sb, const Numbers& b) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("a", {DType::f32, sa, {}}),
              y = graph.input("b", {DType::f32, sb, {}});
  const Value out = build(x, y);
  const auto g = grad(ops::sum(out), std::vector<Value>{x, y});
  std::vector<Value> wanted = {out};
  for (const Value v : g) wanted.push_back(v);
  const RefMap leaves = {{"a", {x.type(), a}}, {"b", {y.type(), b}}};
  const auto got = interpret(graph, leaves, wanted);
  return {got[0].v, got[1].v, got[2].v};
}

// Gradients against central differences.
void expect_gradients(const std::function<Value(Value, Value)>& build, const Shape& sa, Numbers a,
                      const Shape& sb, Numbers b) {
  const Outcome at = run(build, sa, a, sb, b);
  const auto sum = [](const Numbers& v) {
    double out = 0;
    for (const double one : v) out += one;
    return out;
  };
  constexpr double kStep = 1e-5;
  for (const bool first : {true, false}) {
    Numbers& moved = first ? a : b;
    for (std::size_t i = 0; i < moved.size(); ++i) {
      const double before = moved[i];
      moved[i] = before + kStep;
      const double up = sum(run(build, sa, a, sb, b).value);
      moved[i] = before - kStep;
      const double down = sum(run(build, sa, a, sb, b).value);
      moved[i] = before;
      const double wanted = (up - down) / (2 * kStep);
      EXPECT_NEAR((first ? at.a : at.b)[i], wanted, 1e-5 * (1 + std::abs(wanted)))
          << (first ? "a" : "b") << i;
    }
  }
}

// Side by side, inside, apart, the same, and empty: overlaps counted by hand.
TEST(BoxLosses, OverlapsAreTheKnownOnes) {
  const Shape shape{5, 4};
  const Numbers a = {1, 1, 2, 2, 2, 2, 4, 4, 1, 1, 2, 2, 3, 3, 1, 2, 0, 0, 0, 0},
                b = {2, 1, 2, 2, 2, 2, 2, 2, 5, 1, 2, 2, 3, 3, 1, 2, 0, 0, 0, 0};
  const Outcome iou = run(box_iou, shape, a, shape, b), giou = run(box_giou, shape, a, shape, b);
  const Numbers ious = {2.0 / 6, 0.25, 0, 1, 0};
  const Numbers gious = {2.0 / 6, 0.25, -4.0 / 12, 1, -1};
  for (std::size_t i = 0; i < ious.size(); ++i) {
    EXPECT_NEAR(iou.value[i], ious[i], 1e-9) << i;
    if (i < 4) EXPECT_NEAR(giou.value[i], gious[i], 1e-9) << i;
    EXPECT_TRUE(std::isfinite(giou.value[i])) << i;
  }
  // Boxes that do not meet have no gradient of IoU; GIoU pulls them together.
  EXPECT_EQ(iou.a[8], 0);
  EXPECT_GT(giou.a[8], 0);
}

TEST(BoxLosses, GradientsMatchDifferences) {
  const Shape shape{4, 4};
  const Numbers a = {1, 1, 2, 2.5, 2, 2, 4, 4.1, 1, 1, 2, 2, 3, 3.2, 1.3, 2},
                b = {2, 1.2, 2.2, 2, 2.1, 2.2, 2, 2.3, 5, 1.7, 2.4, 2.2, 3.1, 3, 1, 2.1};
  expect_gradients(box_giou, shape, a, shape, b);
  expect_gradients(box_iou, shape, a, shape, b);
  const Shape six{2, 6};
  const Numbers offsets = {0.3, -0.2, 0.5, -0.7, 1.2, 0.1, 0, 0.4},
                priors = {0.4, 0.6, 0.2, 0.3, 0.05, 0.04, 0.1, 0.2, 0.4, 0.5, 0.07, 0.09};
  expect_gradients(decode_boxes, {2, 4}, offsets, six, priors);
  Numbers p, y;
  Rng rng(1, 1);
  for (int i = 0; i < 20; ++i) {
    p.push_back(rng.uniform(0.05f, 0.95f));
    y.push_back(i % 3 == 0 ? 0 : i % 3 == 1 ? 1 : rng.uniform(0.05f, 0.95f));
  }
  for (const double gamma : {0.0, 1.5, 2.0}) {
    expect_gradients([&](Value a, Value b) { return focal_loss(a, b, gamma); }, {20}, p, {20}, y);
  }
  for (const double beta : {0.0, 0.11, 1.0}) {
    expect_gradients([&](Value a, Value b) { return smooth_l1(a, b, beta); }, {20}, p, {20}, y);
  }
}

TEST(BoxLosses, DecodingUndoesEncoding) {
  const Numbers boxes = {0.4, 0.5, 0.2, 0.1, 0.3, 0.9, 0.05, 0.6},
                priors = {0.4, 0.6, 0.2, 0.3, 0.05, 0.04, 0.1, 0.2, 0.4, 0.5, 0.07, 0.09};
  const Outcome again = run([](Value b, Value p) { return decode_boxes(encode_boxes(b, p), p); },
                            {2, 4}, boxes, {2, 6}, priors);
  for (std::size_t i = 0; i < boxes.size(); ++i) EXPECT_NEAR(again.value[i], boxes[i], 1e-12);
  const Outcome one = run(encode_boxes, {2, 4}, boxes, {2, 6}, priors);
  EXPECT_NEAR(one.value[1], -2.5, 1e-12);  // cells of 0.04
  EXPECT_NEAR(one.value[3], std::log(1 / 3.0), 1e-9);
}

TEST(BoxLosses, SmoothL1IsTheFormula) {
  const Numbers a = {0.05, -0.05, 0.5, -2}, zero(4);
  const auto at = [&](double beta) {
    return run([&](Value x, Value y) { return smooth_l1(x, y, beta); }, {4}, a, {4}, zero).value;
  };
  const Numbers tenth = at(0.1), plain = at(0);
  const Numbers wanted = {0.0125, 0.0125, 0.45, 1.95};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(tenth[i], wanted[i], 1e-12) << i;
    EXPECT_NEAR(plain[i], std::abs(a[i]), 1e-12) << i;
  }
}

TEST(BoxLosses, FocalLossIsTheFormula) {
  const Numbers p = {0.9, 0.1, 0.3}, y = {1, 1, 0.6};
  const Outcome two = run([](Value a, Value b) { return focal_loss(a, b); }, {3}, p, {3}, y);
  EXPECT_NEAR(two.value[0], -0.01 * std::log(0.9), 1e-9);
  EXPECT_NEAR(two.value[1], -0.81 * std::log(0.1), 1e-9);
  EXPECT_NEAR(two.value[2], -0.09 * (0.6 * std::log(0.3) + 0.4 * std::log(0.7)), 1e-9);
  // Certain and wrong: large, not infinite.
  const Outcome wrong =
      run([](Value a, Value b) { return focal_loss(a, b); }, {2}, {0, 1}, {2}, {1, 0});
  for (const double v : wrong.value) EXPECT_NEAR(v, -std::log(1e-7), 0.01);
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({3, 5}));
  EXPECT_NE(error_of([&] { box_iou(x, x); }).find("expected f32[...,4], got f32[3,5]"),
            std::string::npos);
  EXPECT_NE(error_of([&] { focal_loss(x, x, -1); }).find("must not be negative"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::nn
