// Files that somebody broke: what readers must refuse in one line, or read.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/rng.h"

namespace tessera::testing {

// One to four changes of bytes: another one, a part that is left out, comes twice or elsewhere, an
// end that is cut off, or a digit or sign where there was something else.
inline std::string mutated(std::string_view original, Rng& rng) {
  std::string out(original);
  const auto place = [&] { return rng.below(out.size()); };
  for (std::uint64_t changes = 1 + rng.below(4); changes > 0 && out.size() > 1; --changes) {
    const std::size_t at = place(), length = 1 + rng.below(std::min<std::size_t>(out.size(), 24));
    constexpr std::string_view kOften = "0123456789-+.eE,:=[]{}\"\n \xff";
    switch (rng.below(6)) {
      case 0:
        out[at] = static_cast<char>(rng.below(256));
        break;
      case 1:
        out[at] = kOften[rng.below(kOften.size())];
        break;
      case 2:
        out.erase(at, length);
        break;
      case 3:
        out.insert(place(), out.substr(at, length));
        break;
      case 4:
        out.insert(at, length, kOften[rng.below(kOften.size())]);
        break;
      default:
        if (rng.below(8) == 0) out.resize(at);
        break;
    }
  }
  return out;
}

// A file that is written again and again: some file systems flush what replaces a file's content.
inline void write_anew(const std::filesystem::path& file, const std::string& bytes) {
  std::filesystem::remove(file);
  std::ofstream(file, std::ios::binary) << bytes;
}

// Calls `read` with many broken versions of a file that it reads: it throws Error in one line, and
// nothing else, or it does not. Returns how many it read.
inline int read_mutated(std::string_view original, int times, std::uint64_t seed,
                        const std::function<void(const std::string&)>& read) {
  Rng rng(seed, 1);
  int whole = 0;
  for (int i = 0; i < times; ++i) {
    const std::string text = mutated(original, rng);
    try {
      read(text);
      ++whole;
    } catch (const Error& error) {
      const std::string_view what = error.what();
      EXPECT_TRUE(!what.empty() && what.find('\n') == what.npos) << "case " << i << ": " << what;
    } catch (const std::exception& other) {
      ADD_FAILURE() << "case " << i << ": " << other.what() << "\n" << text;
    }
  }
  return whole;
}

}  // namespace tessera::testing
