#include "experiment/machine.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "core/cpu.h"
#include "core/parallel.h"
#include "core/text.h"
#include "core/version.h"

namespace tessera::experiment {

namespace {

std::int64_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 0;
}

// As it was started, by whatever name.
std::string command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < all.size();) {
    const std::size_t end = std::min(all.find('\0', begin), all.size());
    words.push_back(all.substr(begin, end - begin));
    begin = end + 1;
  }
  // What is no text could not be stored.
  const auto replace = Json::error_handler_t::replace;
  return Json::parse(Json(shell_line(words)).dump(-1, ' ', false, replace)).get<std::string>();
}

}  // namespace

std::string shell_line(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += ' ';
    const bool plain = !word.empty() && word.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789-_=+./:,@%") == word.npos;
    if (plain) {
      out += word;
      continue;
    }
    out += '\'';
    for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    out += '\'';
  }
  return out;
}

std::string Machine::text() const {
  return cat(cpu, ", ", threads, threads == 1 ? " thread" : " threads", " of ", cores,
             cores == 1 ? " core" : " cores", ", ", features, ", Tessera ", version);
}

Json Machine::json() const {
  return {{"cpu", cpu},           {"cores", cores},     {"threads", threads},
          {"features", features}, {"version", version}, {"command", command}};
}

Machine Machine::parse(const JsonAt& at) {
  return {at.at("cpu").text(),      at.at("cores").integer(0), at.at("threads").integer(1),
          at.at("features").text(), at.at("version").text(),   at.at("command").text()};
}

Machine this_machine() {
  static const std::string command = command_line();
  return {processor_name(),       usable_cores(), num_threads(), tessera::text(active_features()),
          std::string(version()), command};
}

}  // namespace tessera::experiment
