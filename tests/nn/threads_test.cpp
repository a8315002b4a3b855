// A number of threads binds every part of a run, and small work takes one.
#include "core/threads.h"

#include <gtest/gtest.h>

#ifndef TESSERA_STD_THREADS
#include <omp.h>
#endif
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "core/parallel.h"
#include "nn/conv.h"
#include "nn/evaluator.h"
#include "nn/trainer.h"
#include "tests/quant/scores.h"

namespace tessera::nn {
namespace {

class Threads : public ::testing::Test {
 protected:
  void SetUp() override { set_num_threads(3); }
  void TearDown() override { set_num_threads(before_); }

 private:
  int before_ = num_threads();
};

// With convolutions of oneDNN's.
Model network() {
  const Sequential net{Conv2d{3, 64, 3, {.padding = 1}}, ReLU{}, Conv2d{64, 64, 3, {.padding = 1}},
                       Flatten{}, Linear{64 * 16 * 16, 10}};
  return initial_model(net, {3, 16, 16});
}

#ifndef TESSERA_STD_THREADS  // else OpenMP is left alone
void run(const Model& model, const CompileOptions& options) {
  const Plan plan = compile(model, options);
  Tensor x(DType::f32, {options.batch, 3, 16, 16});
  plan.run({{"x", x}});
}

std::ptrdiff_t threads_alive() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"), {});
}

TEST_F(Threads, AScopeBindsTheCallingThreadAndOpenMp) {
  {
    const ThreadScope one(1);
    EXPECT_EQ(num_threads(), 1);
    EXPECT_EQ(omp_get_max_threads(), 1);
    const auto me = std::this_thread::get_id();
    parallel_parts(8, [&](std::int64_t) { EXPECT_EQ(std::this_thread::get_id(), me); });
    {
      const ThreadScope two(2);
      EXPECT_EQ(num_threads(), 2);
      EXPECT_EQ(omp_get_max_threads(), 2);
    }
    EXPECT_EQ(num_threads(), 1);
    std::thread([] { EXPECT_EQ(num_threads(), 3); }).join();  // of others nothing
  }
  EXPECT_EQ(num_threads(), 3);
  EXPECT_EQ(omp_get_max_threads(), 3);
}

// A thread that has run nothing before has no team yet: one would have to be started.
TEST_F(Threads, APlanForOneThreadStartsNoOther) {
  const Model model = network();
  run(model, {.batch = 8});  // our own team, and what oneDNN starts once
  const auto started = [&](int threads) {
    std::ptrdiff_t out = 0;
    std::thread([&] {
      const auto before = threads_alive();
      run(model, {.batch = 8, .threads = threads});
      out = threads_alive() - before;
    }).join();
    return out;
  };
  EXPECT_EQ(started(1), 0);
  const auto several = started(3);
  // Two of the library's own, and two of OpenMP's where a kernel of oneDNN runs.
  EXPECT_TRUE(several == 2 || several == 4) << several;
}

#endif

TEST_F(Threads, SmallWorkTakesOneThread) {
  Trainer t = test::reference();
  EXPECT_EQ(compile(inference_model(t), {.batch = 1}).threads(), 1);
  EXPECT_EQ(compile(inference_model(t), {.batch = 1, .threads = 2}).threads(), 2);  // as asked for
  EXPECT_EQ(compile(network(), {.batch = 8}).threads(), 3);
  EXPECT_EQ(compile(network(), {.batch = 8, .threads = 1}).threads(), 1);
  EXPECT_EQ(t.train_plan(50).threads(), 1);
  EXPECT_THROW(compile(network(), {.threads = -1}), Error);
}

#ifndef TESSERA_STD_THREADS
double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// What OpenMP's threads burn while nothing is to be done, 50 regions with 2 ms between them. Exits
// with 0 below 20 ms; without a limit it is over 100 on an idle machine.
[[noreturn]] void measure_spinning(bool limited) {
  set_num_threads(2);
  if (limited) limit_openmp_spinning();
  ::usleep(20000);
  std::atomic<int> sum = 0;
  const double before = cpu_seconds();
  for (int i = 0; i < 50; ++i) {
#pragma omp parallel num_threads(2)
    ++sum;
    ::usleep(2000);
  }
  std::_Exit(cpu_seconds() - before < 0.02 ? 0 : 1);
}

TEST(OpenMp, WaitsForMicrosecondsOnly) {
  // Its runtime reads these when a process starts; the tests below are processes of their own.
  ::unsetenv("OMP_WAIT_POLICY");
  ::unsetenv("GOMP_SPINCOUNT");
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(measure_spinning(false), ::testing::ExitedWithCode(1), "");
  EXPECT_EXIT(measure_spinning(true), ::testing::ExitedWithCode(0), "");
}

#endif

}  // namespace
}  // namespace tessera::nn
