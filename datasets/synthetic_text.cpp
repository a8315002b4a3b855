#include "datasets/synthetic_text.h"

#include <string>

#include "core/rng.h"

namespace tessera::datasets {

namespace {

// Nouns of a kind have their own verbs, which agree in number, too.
constexpr std::int64_t kKinds = 6, kNouns = 4, kVerbs = 2, kFillers = 10, kBrackets = 4;
constexpr const char* kOpen[kBrackets] = {"(", "[", "{", "<"};
constexpr const char* kClose[kBrackets] = {")", "]", "}", ">"};

// A word of consonants and vowels by number, different for different (group, number).
std::string word(std::uint64_t group, std::uint64_t number) {
  constexpr const char* kFirst = "bdfgklmnprstvz";
  constexpr const char* kVowel = "aeiou";
  std::string out;
  for (std::uint64_t rest = 1 + group * 97 + number; rest > 0; rest /= 70) {
    out += kFirst[rest % 70 / 5];
    out += kVowel[rest % 5];
  }
  return out;
}

class Sentence {
 public:
  explicit Sentence(Rng rng) : rng_(rng) { clause(0); }
  const std::string& text() const { return text_; }
  std::int64_t words() const { return words_; }

 private:
  void put(const std::string& word) {
    text_ += (text_.empty() ? "" : " ") + word;
    ++words_;
  }

  // the NOUN (between brackets: other words, or a clause) VERB
  void clause(int depth) {
    const auto kind = rng_.below(kKinds);
    const bool plural = rng_.below(2) == 1;
    put(plural ? "some" : "a");
    put(word(1 + kind, rng_.below(kNouns)) + (plural ? "s" : ""));
    if (rng_.below(4) > 0) {
      const auto bracket = rng_.below(kBrackets);
      put(kOpen[bracket]);
      if (depth < 2 && rng_.below(3) == 0) {
        clause(depth + 1);
      } else {
        const auto count = 5 + rng_.below(4);
        for (std::uint64_t i = 0; i < count; ++i) put(word(0, rng_.below(kFillers)));
      }
      put(kClose[bracket]);
    }
    put(word(11 + kind, rng_.below(kVerbs)) + (plural ? "" : "t"));
  }

  Rng rng_;
  std::string text_;
  std::int64_t words_ = 0;
};

std::string part_text(const SyntheticText& options, const char* part, std::int64_t words) {
  check(words >= 1 && words <= 100'000'000, "a synthetic text has 1 to 100 million words, got ",
        words);
  std::string out;
  for (std::int64_t i = 0; words > 0; ++i) {
    const Sentence sentence(
        Rng(options.seed, stable_id(cat("datasets/synthetic_text/", part, "/", i))));
    out += sentence.text() + "\n";
    words -= sentence.words() + 1;
  }
  return out;
}

}  // namespace

TextSplit synthetic_text(const SyntheticText& options,
                         const std::shared_ptr<const Vocabulary>& known) {
  const auto vocabulary =
      known ? std::make_shared<Vocabulary>(*known) : std::make_shared<Vocabulary>();
  TextSplit out{"synthetic", options.unit, vocabulary, {}, {}, {}};
  const auto part = [&](const char* name, std::int64_t words) {
    return parse_text(part_text(options, name, words), cat("synthetic/", name), options.unit,
                      *vocabulary, known == nullptr);
  };
  out.train = part("train", options.train);
  out.validation = part("valid", options.validation);
  out.test = part("test", options.test);
  return out;
}

}  // namespace tessera::datasets
