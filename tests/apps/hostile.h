// Programs that read what they must not trust.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/text.h"
#include "tests/apps/process.h"
#include "tests/datasets/temp_dir.h"

namespace tessera::testing {

inline constexpr std::int64_t kMaxPeakBytes = 500'000'000;
inline constexpr double kMaxCpuSeconds = 5;

// The program ends by itself, with exit code 0, or 2 and one line; quickly, in little memory; and
// prints nothing that moves a terminal's cursor but line breaks. Of the processor's time, since the
// machine may be busy; one that waits is ended after two minutes.
inline Result expect_harmless(const std::string& name, const std::vector<std::string>& args,
                              const std::filesystem::path& folder) {
  std::string line = name;
  for (const std::string& arg : args) line += " " + arg;
  SCOPED_TRACE(line);
  Process process(program(name), args, folder);
  const bool ended = process.wait(120);
  EXPECT_TRUE(ended) << "still running after two minutes";
  if (!ended) process.send(SIGKILL);
  const Result result = process.wait();
  EXPECT_TRUE(result.code == 0 || result.code == 2) << result.code << " " << result.error;
  EXPECT_LT(result.peak_bytes, kMaxPeakBytes);
  EXPECT_LT(result.cpu_seconds, kMaxCpuSeconds);
  if (result.code == 2) {
    EXPECT_TRUE(result.error.starts_with(name + ": error: ")) << result.error;
    EXPECT_EQ(result.error.find('\n'), result.error.size() - 1) << result.error;
    EXPECT_EQ(result.error.find("internal error"), std::string::npos) << result.error;
    EXPECT_LT(result.error.size(), 2000u);
  }
  std::string printed = result.out + result.error;
  std::erase(printed, '\n');
  EXPECT_EQ(escaped(printed), printed);
  return result;
}

// The same with exit code 2.
inline Result expect_refused(const std::string& name, const std::vector<std::string>& args,
                             const std::filesystem::path& folder) {
  const Result result = expect_harmless(name, args, folder);
  EXPECT_EQ(result.code, 2) << name << " " << args[0] << " " << args[1];
  return result;
}

}  // namespace tessera::testing
