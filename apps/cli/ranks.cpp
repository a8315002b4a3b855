#include "apps/cli/ranks.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <streambuf>

#include "core/files/atomic_file.h"
#include "core/files/sha256.h"
#include "core/parallel.h"
#include "mpi/world.h"
#include "nn/ranks.h"

namespace tessera::apps {

namespace {

namespace fs = std::filesystem;

// Files of runs that later ones look at.
constexpr std::array kShared = {".json", ".safetensors", ".result", ".checkpoint", ".sensitivity"};

class Nowhere final : public std::streambuf {
  int overflow(int c) override { return traits_type::not_eof(c); }
  std::streamsize xsputn(const char*, std::streamsize n) override { return n; }
};

struct This {
  std::unique_ptr<mpi::World> world;
  Nowhere nowhere;
  fs::path folder;
};
This& self() {
  static This one;
  return one;
}

// The cores that this process may use, as text.
std::string cores(int& count) {
  cpu_set_t set;
  CPU_ZERO(&set);
  ::sched_getaffinity(0, sizeof(set), &set);
  count = std::max(1, CPU_COUNT(&set));
  std::string out;
  for (std::size_t i = 0; i < CPU_SETSIZE; ++i) out += CPU_ISSET(i, &set) ? '1' : '0';
  return out;
}

std::string machine() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

// Ranks that may use the same cores share them.
void share_cores(Communicator& ranks) {
  int count = 1;
  const std::string mine = machine() + " " + cores(count);
  const auto all = all_gather(ranks, mine);
  const auto sharers = static_cast<int>(std::ranges::count(all, mine));
  if (std::getenv("TESSERA_THREADS") == nullptr && std::getenv("OMP_NUM_THREADS") == nullptr)
    set_num_threads(std::max(1, count / sharers));
}

std::string arguments(int argc, char** argv) {
  std::string out;
  for (int i = 1; i < argc; ++i) out += std::string(argv[i]) + '\n';
  return out;
}

}  // namespace

Communicator* world() {
  return self().world.get();
}

bool leads() {
  return world() == nullptr || world()->rank() == 0;
}

void join_world(int argc, char** argv) {
  self().world = mpi::join();
  if (world() == nullptr) return;
  if (!leads()) {
    std::cout.rdbuf(&self().nowhere);
    std::cerr.rdbuf(&self().nowhere);
  }
  share_cores(*world());
  nn::require_agreement(*world(), {{"program", read_file("/proc/self/exe")},
                                   {"command line", arguments(argc, argv)}});
}

void leave_world(int code) {
  std::error_code ignored;
  if (!self().folder.empty()) fs::remove_all(self().folder, ignored);
  if (self().world) self().world->end(code);
}

void require_alone(const std::string& what) {
  check(world() == nullptr, what, " is the work of one process: start it without mpirun");
}

fs::path own_folder(const std::string& out, const std::string& prefix) {
  const auto shared = [&](const fs::path& file) {
    return file.filename().string().starts_with(prefix) &&
           std::ranges::find(kShared, file.extension().string()) != kShared.end();
  };
  std::vector<fs::path> files;
  std::error_code error;
  if (leads() && !out.empty()) {
    for (const auto& entry : fs::directory_iterator(out, error)) {
      if (entry.is_regular_file() && shared(entry.path())) files.push_back(entry.path());
    }
    std::ranges::sort(files);
  }
  if (!leads() && self().folder.empty()) {
    std::string name = (fs::temp_directory_path() / "tessera-rank-XXXXXX").string();
    check(::mkdtemp(name.data()) != nullptr, name, ": cannot be created");
    self().folder = name;
  }
  const std::size_t count = std::stoul(broadcast(*world(), std::to_string(files.size())));
  for (std::size_t i = 0; i < count; ++i) {
    const std::string name = broadcast(*world(), leads() ? files[i].filename().string() : "");
    const std::string bytes = broadcast(*world(), leads() ? read_file(files[i]) : "");
    if (!leads()) write_file(self().folder / name, bytes);
  }
  return leads() ? fs::path(out) : self().folder;
}

}  // namespace tessera::apps
