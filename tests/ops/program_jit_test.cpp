// Compiled programs against the interpreter: the same bits, whatever the program, the kinds and
// sizes of operands, and buffers shared with results.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include "core/rng.h"
#include "ops/build.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/program_runner.h"
#include "ops/op_list.h"

namespace tessera {
namespace {

using Engine = ProgramRunner::Engine;

bool compiles_here() {
  const char* word = std::getenv("TESSERA_JIT");
  return active_features().includes(kAvx512) && (word == nullptr || std::string_view(word) != "0");
}
#define REQUIRE_COMPILER() \
  if (!compiles_here()) GTEST_SKIP() << "no AVX-512, or TESSERA_JIT=0"

Program program(std::string_view text) {
  return parse_program(ops::standard_ops(), text);
}

int below(Rng& rng, int n) {
  return static_cast<int>(rng.below(static_cast<std::uint64_t>(n)));
}

float special_or_normal(Rng& rng) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kSpecial[] = {
      0,     -0.0f,  1,       -1,    2,   0.5f, kInf,
      -kInf, 1e-40f, -1e-40f, 3e38f, 100, -100, std::numeric_limits<float>::quiet_NaN()};
  if (below(rng, 4) == 0)
    return kSpecial[static_cast<std::size_t>(below(rng, static_cast<int>(std::size(kSpecial))))];
  return 2 * rng.normal();
}

std::vector<const OpDef*> compiled_ops() {
  std::vector<const OpDef*> out;
  for (const OpDef* op : ops::standard_ops().all()) {
    if ((op->traits & kElementwise) && op != &kPow && op != &kSin && op != &kCos) out.push_back(op);
  }
  return out;
}

Program random_program(Rng& rng, int inputs, int length) {
  static const auto ops = compiled_ops();
  Program p{inputs, {}, {}};
  const auto operand = [&](int temps) -> Operand {
    const int pick = below(rng, 8);
    if (pick == 0) return {Operand::Kind::constant, 0, static_cast<double>(special_or_normal(rng))};
    if (temps > 0 && pick < 6) {
      const int back = std::min(temps, 1 + below(rng, 6));
      return {Operand::Kind::temp, temps - back, 0};
    }
    return {Operand::Kind::input, below(rng, inputs), 0};
  };
  for (int i = 0; i < length; ++i) {
    // Products and sums twice as often, that they join.
    const OpDef* op = below(rng, 3) == 0 ? std::array{&kMul, &kAdd, &kSub}[rng.below(3)]
                                         : ops[rng.below(ops.size())];
    Instruction line{op, {}};
    for (std::size_t j = 0; j < op->inputs.size(); ++j) line.args.push_back(operand(i));
    p.code.push_back(line);
  }
  p.outputs.push_back(length - 1);
  for (int o = below(rng, 3); o > 0; --o) p.outputs.push_back(below(rng, length));
  return p;
}

void expect_same_bits(const std::vector<float>& got, const std::vector<float>& want) {
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (std::isnan(got[i]) && std::isnan(want[i])) continue;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(got[i]), std::bit_cast<std::uint32_t>(want[i]))
        << "element " << i << ": " << got[i] << ", the interpreter says " << want[i];
  }
}

// Buffers of one run: inputs with `ld`, results that take the place of some of them.
struct Buffers {
  std::vector<std::vector<float>> inputs, results;
  std::vector<int> shared;  // by result: the input whose buffer it is, or -1
  std::int64_t ld = 0;

  void run(const ProgramRunner& runner, std::int64_t rows, std::int64_t cols) {
    std::vector<ProgramInput> in;
    std::vector<ProgramOutput> out;
    for (auto& v : inputs) in.push_back({v.data(), ld});
    for (std::size_t o = 0; o < results.size(); ++o) {
      out.push_back(
          {shared[o] < 0 ? results[o].data() : inputs[static_cast<std::size_t>(shared[o])].data(),
           ld});
    }
    runner.run(rows, cols, in.data(), out.data());
  }
};

TEST(CompiledProgram, SameBitsAsTheInterpreter) {
  REQUIRE_COMPILER();
  Rng rng(11, 12);
  int compiled = 0, programs = 400;
  for (int n = 0; n < programs; ++n) {
    const int inputs = 1 + below(rng, 12);
    const Program p = random_program(rng, inputs, 1 + below(rng, n % 10 == 0 ? 60 : 14));
    std::vector<OperandKind> kinds;
    for (int i = 0; i < inputs; ++i) {
      constexpr OperandKind kAll[] = {OperandKind::full, OperandKind::full, OperandKind::row,
                                      OperandKind::column, OperandKind::scalar};
      kinds.push_back(kAll[rng.below(std::size(kAll))]);
    }
    SCOPED_TRACE(cat(n, ": ", p.text()));
    const ProgramRunner fast(p, kinds, active_features());
    const ProgramRunner slow(p, kinds, active_features(), Engine::interpreter);
    ASSERT_FALSE(slow.is_compiled());
    compiled += fast.is_compiled();

    for (int size = 0; size < 4; ++size) {
      const std::int64_t rows = 1 + below(rng, 3),
                         cols = size == 3 ? 100 + below(rng, 300) : below(rng, 34);
      Buffers buffers;
      buffers.ld = cols + below(rng, 2) * below(rng, 5);
      const auto floats = static_cast<std::size_t>(rows * buffers.ld + 1);
      for (int i = 0; i < inputs; ++i) {
        buffers.inputs.emplace_back(floats);
        for (float& v : buffers.inputs.back()) v = special_or_normal(rng);
      }
      std::vector<int> full;
      for (int i = 0; i < inputs; ++i) {
        if (kinds[static_cast<std::size_t>(i)] == OperandKind::full) full.push_back(i);
      }
      for (std::size_t o = 0; o < p.outputs.size(); ++o) {
        buffers.results.emplace_back(floats, -7.0f);
        buffers.shared.push_back(-1);
        if (!full.empty() && below(rng, 2)) {
          buffers.shared.back() = full.back();
          full.pop_back();
        }
      }
      Buffers want = buffers;
      buffers.run(fast, rows, cols);
      want.run(slow, rows, cols);
      SCOPED_TRACE(cat(rows, " x ", cols, ", ld ", buffers.ld));
      for (int i = 0; i < inputs; ++i) {
        SCOPED_TRACE(cat("input ", i));
        const auto at = static_cast<std::size_t>(i);
        ASSERT_NO_FATAL_FAILURE(expect_same_bits(buffers.inputs[at], want.inputs[at]));
      }
      for (std::size_t o = 0; o < p.outputs.size(); ++o) {
        SCOPED_TRACE(cat("result ", o));
        ASSERT_NO_FATAL_FAILURE(expect_same_bits(buffers.results[o], want.results[o]));
      }
    }
  }
  EXPECT_GE(compiled, programs * 9 / 10) << "the rest has too many live values";
}

// Every function, at every size up to two vectors and one, on special values.
TEST(CompiledProgram, EveryOpAndSize) {
  REQUIRE_COMPILER();
  Rng rng(13, 14);
  for (const OpDef* op : compiled_ops()) {
    SCOPED_TRACE(op->name);
    Program p{3, {{op, {}}}, {0}};
    for (std::size_t j = 0; j < op->inputs.size(); ++j)
      p.code[0].args.push_back({Operand::Kind::input, static_cast<int>(j), 0});
    const std::vector<OperandKind> kinds(3, OperandKind::full);
    const ProgramRunner fast(p, kinds, active_features());
    const ProgramRunner slow(p, kinds, active_features(), Engine::interpreter);
    ASSERT_TRUE(fast.is_compiled());
    for (std::int64_t cols = 0; cols <= 33; ++cols) {
      Buffers buffers{{}, {std::vector<float>(40, -7.0f)}, {-1}, cols};
      for (int i = 0; i < 3; ++i) {
        buffers.inputs.emplace_back(40);
        for (float& v : buffers.inputs.back()) v = special_or_normal(rng);
      }
      Buffers want = buffers;
      buffers.run(fast, 1, cols);
      want.run(slow, 1, cols);
      ASSERT_NO_FATAL_FAILURE(expect_same_bits(buffers.results[0], want.results[0]));
    }
  }
}

TEST(CompiledProgram, WhatStaysWithTheInterpreter) {
  REQUIRE_COMPILER();
  const auto compiled = [](const Program& p, CpuFeatures features) {
    return ProgramRunner(p, {OperandKind::full}, features).is_compiled();
  };
  const CpuFeatures all = active_features();
  EXPECT_TRUE(compiled(program("t0=neg(a0)->t0"), all));
  EXPECT_FALSE(compiled(program("t0=neg(a0)->t0"), kAvx2));
  EXPECT_FALSE(compiled(program("t0=sin(a0)->t0"), all));
  std::string many = "t0=exp(a0)";
  for (int i = 1; i < 40; ++i) many += cat(";t", i, "=exp(t", i - 1, ")");
  std::string sum = many;
  for (int i = 40; i < 79; ++i) sum += cat(";t", i, "=add(t", i - 1, ",t", i - 40, ")");
  EXPECT_TRUE(compiled(program(many + "->t39"), all));
  EXPECT_FALSE(compiled(program(sum + "->t78"), all)) << "40 values live at once";
}

#if defined(PR_SET_MDWE) || defined(__linux__)
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif
// A process that may not make memory executable runs the same programs.
TEST(CompiledProgramDeathTest, RefusedMemory) {
  REQUIRE_COMPILER();
  const auto child = [] {
    if (prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0) std::exit(77);
    const ProgramRunner runner(program("t0=add(a0,a0)->t0"), {}, active_features());
    float x = 3;
    const ProgramInput in[] = {{&x, 1}};
    const ProgramOutput out[] = {{&x, 1}};
    runner.run(1, 1, in, out);
    std::exit(runner.is_compiled() ? 1 : x == 6 ? 0 : 2);
  };
  EXPECT_EXIT(
      child(),
      [](int status) {
        return WIFEXITED(status) &&
               (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);  // 77: old kernel
      },
      "");
}
#endif

}  // namespace
}  // namespace tessera
