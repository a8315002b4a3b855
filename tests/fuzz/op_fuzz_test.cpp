// Random graphs of one op and its readers, compiled and run: an Error, or results that the
// reference interpreter confirms; nothing else. TESSERA_FUZZ_CASES sets how many, TESSERA_FUZZ_SEED
// which; a case that fails is written as the number to repeat it with.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "tests/fuzz/op_cases.h"

namespace tessera::fuzz {
namespace {

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoull(text);
}

std::vector<std::uint8_t> bytes_of(std::uint64_t seed, std::uint64_t number) {
  Rng rng(seed, number);
  std::vector<std::uint8_t> out(160);
  for (auto& byte : out) byte = static_cast<std::uint8_t>(rng.below(256));
  return out;
}

TEST(OpFuzz, CompilesAndRuns) {
  constexpr std::uint64_t kCases = 6000;
  const std::uint64_t cases = setting("TESSERA_FUZZ_CASES", kCases);
  const std::uint64_t seed = setting("TESSERA_FUZZ_SEED", 1);
  const std::uint64_t first = setting("TESSERA_FUZZ_FIRST", 0);
  const bool verbose = std::getenv("TESSERA_FUZZ_VERBOSE") != nullptr;
  std::uint64_t outcomes[3] = {};
  int failures = 0;
  for (std::uint64_t i = first; i < first + cases && failures < 20; ++i) {
    // A crash leaves this as the last line.
    if (verbose) {
      std::fprintf(stderr, "case %llu\n%s", static_cast<unsigned long long>(i),
                   op_case_text(bytes_of(seed, i)).c_str());
    }
    try {
      ++outcomes[static_cast<int>(run_op_case(bytes_of(seed, i)))];
    } catch (const std::exception& error) {
      ADD_FAILURE() << "TESSERA_FUZZ_SEED=" << seed << " TESSERA_FUZZ_FIRST=" << i << ": "
                    << error.what();
      ++failures;
    }
  }
  std::printf(
      "%llu refused, %llu compiled only, %llu run\n", static_cast<unsigned long long>(outcomes[0]),
      static_cast<unsigned long long>(outcomes[1]), static_cast<unsigned long long>(outcomes[2]));
  if (cases < 1000) return;
  EXPECT_GT(outcomes[0], cases / 10);
  EXPECT_GT(outcomes[2], cases / 4);
}

}  // namespace
}  // namespace tessera::fuzz
