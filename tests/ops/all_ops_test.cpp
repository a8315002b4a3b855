// Everything that can be checked of an op by walking the list: documentation, attributes, shapes,
// every kernel row against the reference, aliasing, thread counts, gradients.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/autodiff.h"
#include "core/parallel.h"
#include "core/threads.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/op_list.h"
#include "tests/ops/bounds.h"
#include "tests/ops/op_harness.h"

namespace tessera {
namespace {

using test::Case;
using test::make_case;
using test::run_row;
using test::runs_here;

class AllOps : public testing::TestWithParam<const OpDef*> {
 protected:
  const OpDef& op() const { return *GetParam(); }

  // Calls fn(case, sample, index) for every sample.
  template <class Fn>
  void each_case(Fn&& fn) {
    ASSERT_NE(op().sample, nullptr) << "an op needs samples";
    int index = 0;
    for (; index < 20; ++index) {
      Rng shapes(7, stable_id(op().name) + static_cast<std::uint64_t>(index));
      const auto sample = op().sample(shapes, index);
      if (!sample) break;
      SCOPED_TRACE(cat("sample ", index));
      Case c = make_case(op(), *sample, shapes);
      fn(c, *sample, shapes);
    }
    EXPECT_GE(index, op().has(kStorage) ? 1 : 3) << "too few samples";
  }
};

std::string name_of(const testing::TestParamInfo<const OpDef*>& info) {
  return std::string(info.param->name);
}

std::vector<const OpDef*> computed_ops() {
  std::vector<const OpDef*> out;
  for (const OpDef* op : ops::standard_ops().all()) {
    if (!op->has(kLeaf)) out.push_back(op);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Ops, AllOps, testing::ValuesIn(computed_ops()), name_of);

TEST_P(AllOps, IsDescribed) {
  EXPECT_FALSE(op().name.empty());
  EXPECT_FALSE(op().doc.empty());
  EXPECT_NE(op().infer, nullptr);
  EXPECT_TRUE(op().ref != nullptr || op().decompose != nullptr);
  bool differentiable = false;
  for (const InputDef& input : op().inputs) {
    EXPECT_FALSE(input.name.empty());
    differentiable |= input.differentiable;
  }
  EXPECT_EQ(op().grad != nullptr || op().decompose != nullptr, differentiable)
      << "inputs that are differentiable need a gradient, and the other way round";
  EXPECT_TRUE(!op().has(kElementwise) || op().scalar != nullptr);
  for (const AttrDef& attr : op().attrs) {
    EXPECT_TRUE(!attr.fallback || kind_of(*attr.fallback) == attr.kind) << attr.name;
  }
}

TEST_P(AllOps, AttributesReadBack) {
  each_case([&](const Case& c, const Sample&, Rng&) {
    for (const auto& [name, value] : c.node->attrs().items()) {
      EXPECT_EQ(parse_attr(ops::standard_ops(), kind_of(value), attr_text(value)), value) << name;
    }
  });
}

TEST_P(AllOps, ShapesMatchReference) {
  each_case([&](const Case& c, const Sample&, Rng&) {
    const auto outputs = c.reference();
    ASSERT_EQ(outputs.size(), c.node->types().size());
    for (std::size_t o = 0; o < outputs.size(); ++o) {
      EXPECT_EQ(outputs[o].type.shape, c.node->types()[o].shape);
      EXPECT_EQ(outputs[o].numel(), c.node->types()[o].shape.numel());
    }
  });
}

void expect_close(const OpDef& op, const std::vector<Tensor>& got,
                  const std::vector<RefTensor>& want, const test::Bound* rounded = nullptr) {
  const test::Bound bound = rounded ? *rounded : test::bound_of(op.name);
  for (std::size_t o = 0; o < want.size(); ++o) {
    int shown = 0;
    for (std::int64_t i = 0; i < want[o].numel() && shown < 3; ++i) {
      const double a = element(got[o], i), b = want[o].v[static_cast<std::size_t>(i)];
      if (std::isnan(a) && std::isnan(b)) continue;
      if (std::fabs(a - b) <= bound.absolute + bound.relative * std::fabs(b)) continue;
      ADD_FAILURE() << "output " << o << " element " << i << ": " << a << ", expected " << b
                    << " of " << want[o].type.text();
      ++shown;
    }
  }
}

TEST_P(AllOps, EveryRowMatchesReference) {
  std::set<std::string_view> reached;
  const auto run_all = [&](const Case& c) {
    const auto want = c.reference();
    for (const KernelRow& row : op().rows) {
      if (!runs_here(row)) continue;
      for (const bool fixed : {false, true}) {
        SCOPED_TRACE(cat(row.name, fixed ? ", fixed operands" : ""));
        auto run = run_row(c, row, {.fixed = fixed});
        // Rows that round their operands serve those who ask for it only.
        const bool rounds = !run.refusal.empty();
        if (rounds) run = run_row(c, row, {.fixed = fixed, .rounds = true});
        if (!run.refusal.empty()) continue;
        reached.insert(row.name);
        const test::Bound& rounded =
            row.name.find("_s8_") == row.name.npos ? test::kBf16Bound : test::kInt8Bound;
        expect_close(op(), run.outputs, want, rounds ? &rounded : nullptr);
      }
    }
  };
  each_case([&](const Case& c, const Sample& sample, Rng& rng) {
    run_all(c);
    for (const Sample& variant : test::encoded_variants(op(), sample)) {
      const Case encoded = make_case(op(), variant, rng);
      std::string types;
      for (const Value v : encoded.node->inputs()) types += (v ? v.type().text() : "-") + " ";
      SCOPED_TRACE(types);
      run_all(encoded);
    }
  });
  for (const KernelRow& row : op().rows) {
    EXPECT_TRUE(!runs_here(row) || reached.contains(row.name)) << "no sample reaches " << row.name;
  }
}

TEST_P(AllOps, OutputsMayShareInputs) {
  each_case([&](const Case& c, const Sample&, Rng&) {
    for (const KernelRow& row : op().rows) {
      if (!runs_here(row)) continue;
      const auto plain = run_row(c, row);
      if (!plain.refusal.empty() || !plain.plan.in_place) continue;
      const auto expect_same = [&](const std::vector<int>& alias) {
        const auto shared = run_row(c, row, {.alias = alias});
        for (std::size_t o = 0; o < plain.outputs.size(); ++o) {
          EXPECT_TRUE(equal_bits(plain.outputs[o], shared.outputs[o]))
              << row.name << " output " << o;
        }
      };
      // Where an epilogue is carried only its operands may be overwritten.
      const std::size_t first = op().has(kEpilogue) ? op().inputs.size() - 1 : 0;
      std::vector<int> same;
      for (std::size_t i = first; i < c.inputs.size(); ++i) {
        if (!c.planes[i].empty() && c.inputs[i].type == c.node->types()[0]) {
          same.push_back(static_cast<int>(i));
        }
      }
      for (std::size_t o = 0; o < plain.outputs.size(); ++o) {
        if (c.node->types()[o] != c.node->types()[0]) continue;
        for (const int i : same) {
          SCOPED_TRACE(cat("output ", o, " over input ", i));
          std::vector<int> alias(plain.outputs.size(), -1);
          alias[o] = i;
          expect_same(alias);
        }
      }
      // As an update of several states does.
      const auto& types = c.node->types();
      const auto outputs = std::count(types.begin(), types.end(), types[0]);
      same.resize(std::min(same.size(), static_cast<std::size_t>(outputs)));
      if (same.size() > 1) expect_same(same);
    }
  });
}

// Ops of which no row starts a second thread: they have no rows, move whole blocks of bytes, or do
// next to nothing.
bool is_serial(std::string_view op) {
  static constexpr std::string_view kSerial[] = {
      "all_gather",      "all_reduce",       "all_reduce_finish", "all_reduce_start",
      "argmax",          "batch_norm_train", "codebook",          "count",
      "gramian_weights", "joint_moments",    "one_hot",           "repack",
      "reshape",         "sparse",           "sparse_values_grad"};
  return std::find(std::begin(kSerial), std::end(kSerial), op) != std::end(kSerial);
}

// Samples are small: with a grain of one item they start threads all the same.
struct FineGrain {
  FineGrain() { detail::limit_grain(1); }
  ~FineGrain() { detail::limit_grain(0); }
};

TEST_P(AllOps, ThreadCountDoesNotChangeBits) {
  const int before = num_threads();
  const FineGrain fine;
  const std::int64_t jobs = detail::team_jobs();
  const auto run_all = [&](const Case& c, bool fixed) {
    for (const KernelRow& row : op().rows) {
      if (!runs_here(row)) continue;
      // oneDNN cuts the sums of a weight's gradient by the number of threads; then the same number
      // gives the same bits.
      const bool cut = row.name.starts_with("conv2d_grad_weight_onednn");
      std::vector<Tensor> first;
      for (const int threads : {1, 2, 3}) {
        set_num_threads(threads);
        const auto run = run_row(c, row, {.fixed = fixed});
        if (!run.refusal.empty()) break;
        if (threads == 1) first = run.outputs;
        if (cut) first = run_row(c, row, {.fixed = fixed}).outputs;
        for (std::size_t o = 0; o < first.size(); ++o) {
          EXPECT_TRUE(equal_bits(first[o], run.outputs[o])) << row.name << ", threads " << threads;
        }
      }
    }
  };
  each_case([&](const Case& c, const Sample& sample, Rng& rng) {
    run_all(c, false);
    for (const Sample& variant : test::encoded_variants(op(), sample)) {
      const Case encoded = make_case(op(), variant, rng);
      run_all(encoded, false);
      run_all(encoded, true);
    }
    // A long line is cut into pieces, which samples are shorter than.
    if (!op().has(kElementwise) || sample.inputs[0].type.shape.rank() != 1) return;
    Sample line = sample;
    for (SampleInput& input : line.inputs) input = {f32({20000}), input.low, input.high};
    run_all(make_case(op(), line, rng), false);
  });
  set_num_threads(before);
  EXPECT_EQ(detail::team_jobs() == jobs, is_serial(op().name)) << detail::team_jobs() - jobs;
}

bool carries_program(const Sample& sample) {
  for (const auto& [name, value] : sample.attrs.items()) {
    if (const auto* program = std::get_if<ProgramRef>(&value); program && *program) return true;
  }
  return false;
}

// d/de of L(x + e d) against <gradient, d>, in f64, for L a random weighting of all outputs.
TEST_P(AllOps, GradientMatchesDifferences) {
  if (op().grad == nullptr && op().decompose == nullptr) GTEST_SKIP() << "not differentiable";
  int checked = 0;
  each_case([&](const Case& c, const Sample& sample, Rng& rng) {
    Graph graph(ops::standard_ops());
    RefMap leaves;
    std::vector<Value> inputs, wrt;
    std::vector<std::string> names;
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      if (c.planes[i].empty()) {
        inputs.emplace_back();
        continue;
      }
      const std::string name = "in" + std::to_string(i);
      inputs.push_back(graph.input(name, c.inputs[i].type));
      leaves[name] = c.inputs[i];
      if (op().input_def(i).differentiable && c.inputs[i].type.dtype == DType::f32) {
        wrt.push_back(inputs.back());
        names.push_back(name);
      }
    }
    const Node& node = graph.add(op(), inputs, sample.attrs);
    Value loss;
    for (int o = 0; o < static_cast<int>(node.types().size()); ++o) {
      if (node.types()[static_cast<std::size_t>(o)].dtype != DType::f32) continue;
      if (test::is_detached(op().name, o)) continue;
      const std::string name = "weight" + std::to_string(o);
      const TensorType type = node.output(o).type().dense();
      RefTensor weights{type, {}};
      for (std::int64_t i = 0; i < type.shape.numel(); ++i) weights.v.push_back(rng.normal());
      leaves[name] = weights;
      Value y = node.output(o);
      if (!y.type().encoding.is_dense()) y = ops::decode(y);
      const Value term = ops::sum(y * graph.input(name, type));
      loss = loss ? loss + term : term;
    }
    if (!loss || wrt.empty()) return;  // a sample of integers
    // After fusion there is no gradient, and everywhere else there is one.
    if (carries_program(sample)) {
      EXPECT_THROW(grad(loss, wrt), Error);
      return;
    }
    const std::vector<Value> gradients = grad(loss, wrt);
    ++checked;
    const auto analytic = interpret(graph, leaves, gradients);
    constexpr double kStep = 1e-5;
    for (std::size_t i = 0; i < wrt.size(); ++i) {
      ASSERT_EQ(gradients[i].type(), wrt[i].type().dense());
      for (int repeat = 0; repeat < 3; ++repeat) {
        std::vector<double> direction;
        double expected = 0, scale = 1;
        for (const double g : analytic[i].v) {
          direction.push_back(rng.normal());
          expected += g * direction.back();
          scale += std::fabs(g);
        }
        const auto loss_at = [&](double step) {
          RefMap moved = leaves;
          auto& x = moved[names[i]].v;
          for (std::size_t j = 0; j < x.size(); ++j) x[j] += step * direction[j];
          return interpret(graph, moved, {loss})[0].v[0];
        };
        const double numeric = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
        EXPECT_NEAR(numeric, expected, 1e-6 * scale) << "input " << i;
      }
    }
  });
  EXPECT_GT(checked, 0);
}

}  // namespace
}  // namespace tessera
