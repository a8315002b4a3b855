// tessera merge: the results of several folders in one, for `tessera report`.
#include <algorithm>
#include <array>
#include <filesystem>
#include <iostream>
#include <map>

#include "apps/cli/cli.h"
#include "apps/cli/parse.h"
#include "apps/tessera/commands.h"
#include "core/files/atomic_file.h"
#include "experiment/results.h"
#include "report/html/report.h"

namespace tessera::apps {

namespace fs = std::filesystem;

namespace {

// What a report reads; models stay where they are.
constexpr std::array<std::string_view, 4> kEndings = {kResultExtension, kProblemExtension,
                                                      ".log.jsonl", ".histograms.json"};

bool is_result(const std::string& name) {
  return name.ends_with(kResultExtension) || name.ends_with(kProblemExtension);
}

std::vector<fs::path> files_of(const fs::path& folder) {
  check(fs::is_directory(folder), folder.string(), ": expected a folder of results");
  std::vector<fs::path> out;
  bool any = false;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() ||
        std::ranges::none_of(kEndings, [&](auto end) { return name.ends_with(end); }))
      continue;
    any |= is_result(name);
    out.push_back(entry.path());
  }
  check(any, folder.string(), ": holds no result of compress or compare");
  std::ranges::sort(out);
  return out;
}

// The name of a folder in front of those of its files.
std::string prefix_of(const fs::path& folder) {
  const fs::path whole = fs::weakly_canonical(folder);
  return whole.filename().string() + "-";
}

// Why two files that shall have one name cannot.
[[noreturn]] void fail_twice(const fs::path& first, const fs::path& second) {
  std::string why;
  if (is_result(first.filename().string())) {
    why = changes_text(read_stored(first).config, read_stored(second).config);
  }
  fail(second.string(), ": ", first.string(), " has the same name and another content",
       why.empty() ? "" : cat(" (", why, ")"), "; --prefix puts the folders' names before both");
}

}  // namespace

int merge_command(const std::vector<std::string>& args) {
  std::string out;
  bool prefix = false;
  FlagList options("options");
  auto add = options.add_options();
  add("out", text_flag(out, "DIR"), "the folder to make; it must be empty or not be there");
  add("prefix", on_flag(prefix), "put each folder's name before the names of its runs");
  const auto folders = parse_flags(
      args,
      {"tessera merge DIR DIR... --out DIR [options]",
       "Copies the results that compress and compare left in several folders, their logs and "
       "histograms, into one folder, of which 'tessera report' makes one comparison. Models stay "
       "where they are. Files of one name must be the same.",
       2,
       1000,
       "two folders or more",
       {"tessera merge out/a out/b --out out/both", "tessera merge a b --out both --prefix"}},
      options);
  if (!folders) return kExitDone;
  check(!out.empty(), "--out DIR is needed");
  check(!fs::exists(out) || (fs::is_directory(out) && fs::is_empty(out)), "--out ", out,
        ": expected an empty folder, or a name that is not there");
  std::map<std::string, fs::path> targets;
  for (const std::string& folder : *folders) {
    for (const fs::path& file : files_of(folder)) {
      const std::string base = file.filename().string();
      if (is_result(base)) read_stored(file);  // or Error: a damaged one is not passed on
      const std::string name = (prefix ? prefix_of(folder) : "") + base;
      const auto [there, fresh] = targets.emplace(name, file);
      if (!fresh && read_file(there->second) != read_file(file)) fail_twice(there->second, file);
    }
  }
  fs::create_directories(out);
  for (const auto& [name, file] : targets) write_file(fs::path(out) / name, read_file(file));
  const Report report = load_report(out);
  for (const NetworkReport& network : report.networks) {
    std::cout << printable(network.title) << ": " << network.references.size() << " references, "
              << network.runs.size() << " runs\n";
  }
  std::cout << out << ": " << targets.size() << " files; 'tessera report " << out
            << "' makes a page of them\n";
  return kExitDone;
}

}  // namespace tessera::apps
