// Writing beside what is not ours: links, pipes, files of the user and of killed or other writers.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "core/files/atomic_file.h"
#include "core/files/model.h"
#include "ops/load.h"
#include "tests/core/sample_models.h"
#include "tests/error_of.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::TempFolder;

using testing::error_of;

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(folder))
    out.push_back(entry.path().filename().string());
  std::sort(out.begin(), out.end());
  return out;
}

const std::string kLeftover = ".tessera-0123456789abcdef.tmp";

// What waits for ever ends the test.
class Saving : public ::testing::Test {
 protected:
  Saving() { ::alarm(120); }
  ~Saving() override { ::alarm(0); }
  TempFolder folder{"saving"};
};

TEST_F(Saving, FilesOfTheUserBesideItStay) {
  write_file(folder / "net.json.tmp", "mine");
  write_file(folder / "a.tmp", "mine too");
  const SavedModel saved = save(testing::small_model(), folder / "net");
  write_file(folder / "a", "x");
  EXPECT_EQ(read_file(folder / "net.json.tmp"), "mine");
  EXPECT_EQ(read_file(folder / "a.tmp"), "mine too");
  EXPECT_EQ(files_in(folder.path()),
            (std::vector<std::string>{"a", "a.tmp", saved.weights.filename().string(), "net.json",
                                      "net.json.tmp"}));
}

TEST_F(Saving, LinksAndPipesBesideItDoNotHoldItUp) {
  fs::create_symlink("nowhere", folder / "a.tmp");
  ASSERT_EQ(::mkfifo((folder / "b.tmp").c_str(), 0600), 0);
  write_file(folder / "a", "x");
  write_file(folder / "b", "y");
  EXPECT_EQ(read_file(folder / "a"), "x");
  EXPECT_EQ(read_file(folder / "b"), "y");
  EXPECT_TRUE(fs::is_symlink(folder / "a.tmp"));
  EXPECT_FALSE(fs::exists(folder / "nowhere"));
  EXPECT_TRUE(fs::is_fifo(folder / "b.tmp"));
}

TEST_F(Saving, LeftoversOfKilledWritersGo) {
  std::ignore = ::close(::open((folder / kLeftover).c_str(), O_WRONLY | O_CREAT, 0666));
  write_file(folder / "a", "new");
  EXPECT_FALSE(fs::exists(folder / kLeftover));

  // One that is being written is locked, and stays.
  const int live = ::open((folder / kLeftover).c_str(), O_WRONLY | O_CREAT, 0666);
  ASSERT_EQ(::flock(live, LOCK_EX), 0);
  write_file(folder / "a", "newer");
  EXPECT_TRUE(fs::exists(folder / kLeftover));
  ::close(live);
  fs::remove(folder / kLeftover);

  // So does what only looks like one.
  write_file(folder / "target", "precious");
  fs::create_symlink("target", folder / kLeftover);
  write_file(folder / ".tessera-0123456789abcdeX.tmp", "");
  write_file(folder / "a", "newest");
  EXPECT_EQ(read_file(folder / "target"), "precious");
  EXPECT_TRUE(fs::is_symlink(folder / kLeftover));
  EXPECT_TRUE(fs::exists(folder / ".tessera-0123456789abcdeX.tmp"));
}

// Both files lie where the link leads, whether something is there or not.
TEST_F(Saving, LinkedModelStaysTogether) {
  fs::create_directories(folder / "real");
  fs::create_directories(folder / "links");
  fs::create_symlink("../real/net.json", folder / "links/net.json");
  Model model = testing::small_model();
  for (const char* round : {"a dangling link", "a link to a model"}) {
    SCOPED_TRACE(round);
    model.state.set("fc2.bias", Tensor::full({3}, round[2] == 'd' ? 1 : 2));
    const SavedModel saved = save(model, folder / "links/net");
    EXPECT_TRUE(fs::is_symlink(folder / "links/net.json"));
    EXPECT_EQ(files_in(folder / "links"), std::vector<std::string>{"net.json"});
    EXPECT_EQ(files_in(folder / "real"),
              (std::vector<std::string>{saved.weights.filename().string(), "net.json"}));
    EXPECT_TRUE(equal_bits(load(folder / "links/net.json").state, model.state));
    EXPECT_TRUE(equal_bits(load(folder / "real/net.json").state, model.state));
  }
  fs::create_symlink("ring", folder / "ring.json");
  fs::create_symlink("ring.json", folder / "ring");
  EXPECT_EQ(error_of([&] { save(model, folder / "ring.json"); }),
            cat("cannot follow ", (folder / "ring.json").string(),
                ": Too many levels of symbolic links"));
}

// Two links in one folder, as caches lay models out.
TEST_F(Saving, WeightsBesideTheLinkAreFound) {
  fs::create_directories(folder / "blobs");
  const SavedModel saved = save(testing::small_model(), folder / "net");
  fs::rename(saved.json, folder / "blobs/one");
  fs::rename(saved.weights, folder / "blobs/two");
  fs::create_symlink("blobs/one", saved.json);
  fs::create_symlink("blobs/two", saved.weights);
  EXPECT_TRUE(equal_bits(load(saved.json).state, testing::small_model().state));
}

// Weights that one has just written are not old ones of the other.
TEST_F(Saving, SaversOfOneNameLeaveOneModel) {
  std::vector<std::thread> savers;
  for (int i = 0; i < 4; ++i) {
    savers.emplace_back([&, i] {
      Model model = testing::small_model();
      for (int n = 0; n < 10; ++n) {
        model.state.set("fc2.bias", Tensor::full({3}, static_cast<float>(100 * i + n)));
        save(model, folder / "net");
      }
    });
  }
  for (auto& saver : savers) saver.join();
  EXPECT_NO_THROW(load(folder / "net.json"));
  EXPECT_EQ(files_in(folder.path()).size(), 2u);
}

TEST_F(Saving, ModelsAreRegularFiles) {
  const Model model = testing::small_model();
  ASSERT_EQ(::mkfifo((folder / "pipe.json").c_str(), 0600), 0);
  fs::create_directories(folder / "folder.json");
  for (const char* name : {"pipe.json", "folder.json"}) {
    const std::string path = (folder / name).string();
    EXPECT_EQ(
        error_of([&] { save(model, path); }),
        cat("cannot save ", path, ": expected a regular file, got a folder, a device or a pipe"));
  }
  EXPECT_EQ(files_in(folder.path()), (std::vector<std::string>{"folder.json", "pipe.json"}));
}

TEST_F(Saving, SpecialFilesAreNotRead) {
  const std::string pipe = (folder / "pipe.json").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const std::string& path : {pipe, std::string("/dev/zero"), std::string("/dev/null")}) {
    const std::string expected =
        cat("cannot read ", path, ": expected a regular file, got a device or a pipe");
    EXPECT_EQ(error_of([&] { InputFile{path}; }), expected);
    EXPECT_EQ(error_of([&] { read_file(path); }), expected);
    EXPECT_EQ(error_of([&] { load(path); }), expected);
  }
  // Weights, too.
  const SavedModel saved = save(testing::small_model(), folder / "net");
  fs::remove(saved.weights);
  ASSERT_EQ(::mkfifo(saved.weights.c_str(), 0600), 0);
  EXPECT_EQ(error_of([&] { load(saved.json); }),
            cat("cannot read ", saved.weights.string(),
                ": expected a regular file, got a device or a pipe"));
  // What <(...) gives is a pipe with a writer and without a name.
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  std::thread writer([&] {
    std::ignore = ::write(ends[1], "piped", 5);
    ::close(ends[1]);
  });
  EXPECT_EQ(read_file(cat("/dev/fd/", ends[0])), "piped");
  writer.join();
  ::close(ends[0]);
}

// What was checked is what is used: another file under the name changes nothing.
TEST_F(Saving, InputIsOneFile) {
  write_file(folder / "a", "header and data");
  InputFile file(folder / "a");
  EXPECT_EQ(file.head(6), "header");
  write_file(folder / "a", "something else altogether");
  EXPECT_EQ(file.head(10), "header and");
  EXPECT_EQ(file.all(), "header and data");
  EXPECT_EQ(
      error_of([&] { InputFile(folder / "a").all(10); }),
      cat("cannot read ", (folder / "a").string(), ": 25 bytes, more than the limit of 10 bytes"));
}

TEST_F(Saving, NamesTheSystemRefuses) {
  const fs::path path = folder / std::string(300, 'a');
  EXPECT_EQ(error_of([&] { file_exists(path); }),
            cat("cannot read ", path.string(), ": File name too long"));
  EXPECT_FALSE(file_exists(folder / "nothing"));
  EXPECT_FALSE(file_exists("/dev/null/nothing"));
}

}  // namespace
}  // namespace tessera
