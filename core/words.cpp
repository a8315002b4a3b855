#include "core/words.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace tessera {

namespace {

// Nobody types more; the distance takes the product of both lengths.
constexpr std::size_t kLongestWord = 100;

}  // namespace

std::string listed(std::span<const std::string> words, std::string_view last) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? last : ", ";
    out += words[i];
  }
  return out;
}

// Damerau and Levenshtein's distance in its restricted form: no text is edited twice.
int edit_distance(std::string_view a, std::string_view b) {
  std::vector<int> before, last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int replaced = last[j - 1] + (a[i - 1] != b[j - 1]);
      row[j] = std::min({replaced, last[j] + 1, row[j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = std::exchange(last, row);
  }
  return last[b.size()];
}

std::string closest(std::string_view word, std::span<const std::string> known) {
  if (word.empty() || word.size() > kLongestWord) return "";
  const std::string* best = nullptr;
  int least = static_cast<int>(word.size() + 2) / 3 + 1;
  for (const std::string& other : known) {
    if (const int edits = edit_distance(word, other); edits < least) {
      least = edits;
      best = &other;
    }
  }
  if (best != nullptr) return *best;
  for (const std::string& other : known) {
    if (word.size() > 1 && other.starts_with(word)) return other;
  }
  return "";
}

std::string did_you_mean(std::string_view word, std::span<const std::string> known) {
  const std::string near = closest(word, known);
  return near.empty() ? "" : "; did you mean '" + near + "'?";
}

void fail_unknown(std::string_view what, std::string_view word,
                  std::span<const std::string> known) {
  const std::string hint = did_you_mean(word, known);
  fail(what, ": '", word, "' is unknown", hint.empty() ? "; known are " : hint + " Known are ",
       listed(known));
}

void require_known(std::string_view what, std::string_view word,
                   std::span<const std::string> known) {
  if (std::find(known.begin(), known.end(), word) == known.end()) fail_unknown(what, word, known);
}

}  // namespace tessera
