// Runs that are stopped, by kill -9 and by Ctrl-C, and go on: their files are those of a run that
// was never stopped, byte for byte.
#include <csignal>
#include <random>

#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

class Resume : public MnistApp {
 protected:
  // Long enough to be hit in the reference, in iDC and in LC, at every place.
  Args work(const std::string& out) const {
    return {"compress",
            "--data",
            "synthetic:2000:200",
            "--out",
            path(out),
            "--ref-epochs",
            "8",
            "--methods",
            "idc,lc",
            "--bits",
            "1",
            "--lc-steps",
            "6",
            "--lc-epochs",
            "2",
            "--first-epochs",
            "3",
            "--threads",
            "2",
            "--checkpoint-seconds",
            "0",
            "--quiet",
            "--resume"};
  }
  // Starts the work again and again, ending it with `signal` after a random time, until it is done
  // or was hit `hits` times; then lets it finish. Returns how often it was hit.
  int stop_often(const std::string& out, int signal, int hits) {
    std::mt19937 random(7);
    // The time between starts grows, so that slow machines come through as well.
    double longest = 0.4;
    int hit = 0;
    while (hit < hits) {
      Process process(app, work(out), folder.path());
      const double seconds = std::uniform_real_distribution<double>(0.02, longest)(random);
      if (process.wait(seconds)) {
        const Result result = process.wait();
        EXPECT_EQ(result.code, 0) << result.error << result.out;
        return hit;
      }
      process.send(signal);
      const Result result = process.wait();
      if (result.code == 0) return hit;  // it was at its end
      // A program that is still being loaded has no handler yet.
      EXPECT_TRUE(result.code == -signal || (signal == SIGINT && result.code == 130))
          << result.code << " " << result.error << result.out;
      ++hit;
      longest *= 1.1;
    }
    must(work(out));
    return hit;
  }
};

TEST_F(Resume, KilledAtRandomMoments) {
  must(work("whole"));
  const auto whole = models("whole");
  EXPECT_EQ(whole.size(), 6u);
  EXPECT_GT(stop_often("killed", SIGKILL, 12), 2);
  EXPECT_TRUE(models("killed") == whole);
}

TEST_F(Resume, InterruptedAtRandomMoments) {
  must(work("whole"));
  EXPECT_GT(stop_often("stopped", SIGINT, 12), 2);
  EXPECT_TRUE(models("stopped") == models("whole"));
}

}  // namespace
}  // namespace tessera::testing
