#include "datasets/text.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "core/files/atomic_file.h"
#include "datasets/byte_reader.h"

namespace tessera::datasets {

namespace {

constexpr std::size_t kMostWord = 1000;  // bytes
constexpr std::int64_t kMostTokens = std::int64_t{1} << 31;

// Bytes of the UTF-8 sequence that a byte begins; 0: none does.
int sequence_length(unsigned char first) {
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first < 0xE0) return 2;
  if (first >= 0xE0 && first < 0xF0) return 3;
  if (first >= 0xF0 && first < 0xF5) return 4;
  return 0;
}

// Whether a whole sequence is one of a code point: no surrogate, none that a shorter one says.
bool is_code_point(std::string_view s) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  for (std::size_t i = 1; i < s.size(); ++i)
    if (at(i) >> 6 != 2) return false;
  if (s.size() == 3) return !(at(0) == 0xE0 && at(1) < 0xA0) && !(at(0) == 0xED && at(1) >= 0xA0);
  if (s.size() == 4) return !(at(0) == 0xF0 && at(1) < 0x90) && !(at(0) == 0xF4 && at(1) >= 0x90);
  return true;
}

// Takes the bytes of a text as they come and gives its tokens.
class Tokens {
 public:
  Tokens(std::string where, TextUnit unit, Vocabulary& vocabulary, bool grow)
      : where_(std::move(where)), unit_(unit), vocabulary_(vocabulary), grow_(grow) {}

  void take(std::string_view bytes) {
    for (const char byte : bytes) {
      if (point_.empty() && static_cast<unsigned char>(byte) < 0x80) {
        take_point({&byte, 1});
        ++at_;
        continue;
      }
      point_ += byte;
      if (std::ssize(point_) == 1) length_ = sequence_length(static_cast<unsigned char>(byte));
      if (length_ == 0) bad_byte();
      if (std::ssize(point_) < length_) continue;
      if (!is_code_point(point_)) bad_byte();
      take_point(point_);
      at_ += std::ssize(point_);
      point_.clear();
    }
  }

  Text finish(std::string name) {
    if (!point_.empty()) bad_byte();
    if (unit_ == TextUnit::word) end_line();
    check(!out_.tokens.empty(), where_, ": there is no ", unit_name(), " in it");
    out_.before = vocabulary_.find(unit_ == TextUnit::word ? kEndOfLine : "\n");
    out_.name = std::move(name);
    return std::move(out_);
  }

 private:
  std::string unit_name() const { return std::string(datasets::name(unit_)); }
  std::string place() const { return cat(where_, ": line ", line_, ", byte ", at_); }

  [[noreturn]] void bad_byte() const {
    constexpr const char* kDigits = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(point_[0]);
    fail(place(), ": found byte 0x", kDigits[byte >> 4], kDigits[byte & 15],
         ", which begins no UTF-8 character here");
  }

  void take_point(std::string_view point) {
    const char c = point[0];
    if (unit_ == TextUnit::character) {
      add(point);
      line_ += c == '\n';
      return;
    }
    if (c == '\n') {
      end_line();
      ++line_;
    } else if (c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f') {
      end_word();
    } else {
      word_ += point;
      check(word_.size() <= kMostWord, place(), ": a word of more than ", kMostWord, " bytes");
    }
  }

  void end_word() {
    if (word_.empty()) return;
    add(word_);
    word_.clear();
    in_line_ = true;
  }

  void end_line() {
    end_word();
    if (in_line_) add(kEndOfLine);
    in_line_ = false;
  }

  void add(std::string_view token) {
    check(std::ssize(out_.tokens) < kMostTokens, where_, ": more than 2^31 tokens");
    std::int32_t number = vocabulary_.find(token);
    if (number < 0 && grow_) {
      check(vocabulary_.size() < Vocabulary::kMost, place(), ": '", token, "' is one of more than ",
            Vocabulary::kMost, " different ", unit_name(), "s");
      number = vocabulary_.add(token);
    }
    if (number < 0) {
      number = vocabulary_.find(kUnknown);
      check(number >= 0, place(), ": '", token, "' is none of the ", vocabulary_.size(), " ",
            unit_name(), "s of the vocabulary, which has no ", kUnknown, " either");
      ++out_.unknown;
    }
    out_.tokens.push_back(number);
  }

  std::string where_;
  TextUnit unit_;
  Vocabulary& vocabulary_;
  bool grow_;
  Text out_;
  std::string point_, word_;
  int length_ = 0;  // of the code point that has begun
  bool in_line_ = false;
  std::int64_t line_ = 1, at_ = 0;
};

// The words of the Treebank's files, ends of lines among them.
struct Part {
  const char* name;
  std::int64_t words;
};
constexpr Part kTrain{"train", 929589}, kValidation{"valid", 73760}, kTest{"test", 82430};
constexpr std::int64_t kTreebankWords = 10000;

struct Found {
  std::filesystem::path path;
  bool treebank;
};

std::optional<Found> seek_part(const std::filesystem::path& dir, const Part& part) {
  for (const auto& folder : {dir, dir / "ptb"}) {
    for (const bool treebank : {true, false}) {
      const auto path = folder / cat(treebank ? "ptb." : "", part.name, ".txt");
      if (file_exists(path)) return Found{path, treebank};
    }
  }
  return std::nullopt;
}

Found find_part(const std::filesystem::path& dir, const Part& part) {
  if (auto found = seek_part(dir, part)) return *std::move(found);
  fail("[text] ", dir.string(), ": expected ptb.", part.name, ".txt (the Penn Treebank) or ",
       part.name, ".txt (any text) in it or its folder ptb; both are missing");
}

Text read_part(const Found& found, const Part& part, TextUnit unit, Vocabulary& vocabulary,
               bool grow) {
  Text text = read_text(found.path, unit, vocabulary, grow);
  text.name = cat(found.treebank ? "ptb/" : "text/", part.name);
  const std::int64_t words = std::ssize(text.tokens);
  check(!found.treebank || unit != TextUnit::word || words == part.words, "[text] ",
        found.path.string(), ": has ", words, " words with ends of lines, the Penn Treebank's has ",
        part.words, "; call another text ", part.name, ".txt");
  return text;
}

}  // namespace

TextUnit parse_text_unit(std::string_view text) {
  if (text == "word") return TextUnit::word;
  if (text == "character") return TextUnit::character;
  fail("a text consists of word or character, got '", text, "'");
}

std::string_view name(TextUnit unit) {
  return unit == TextUnit::word ? "word" : "character";
}

std::int32_t Vocabulary::find(std::string_view token) const {
  const auto found = numbers_.find(token);
  return found == numbers_.end() ? -1 : found->second;
}

std::int32_t Vocabulary::add(std::string_view token) {
  const auto [at, fresh] =
      numbers_.emplace(std::string(token), static_cast<std::int32_t>(tokens_.size()));
  if (fresh) tokens_.emplace_back(token);
  return at->second;
}

std::string Vocabulary::text() const {
  std::string out;
  for (const std::string& token : tokens_) {
    for (const char c : token) {
      if (c == '\n') {
        out += "\\n";
      } else {
        if (c == '\\') out += '\\';
        out += c;
      }
    }
    out += '\n';
  }
  return out;
}

Vocabulary Vocabulary::parse(std::string_view text) {
  Vocabulary out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string token;
    for (std::size_t i = 0; i < end; ++i) {
      const bool escaped = text[i] == '\\' && i + 1 < end;
      if (escaped) ++i;
      token += escaped && text[i] == 'n' ? '\n' : text[i];
    }
    check(!token.empty(), "token ", out.size(), " of a vocabulary is empty");
    check(out.find(token) < 0, "a vocabulary has '", token, "' twice");
    check(out.size() < kMost, "a vocabulary has more than ", kMost, " tokens");
    out.add(token);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  check(out.size() > 0, "a vocabulary has no token");
  return out;
}

Text parse_text(std::string_view text, std::string name, TextUnit unit, Vocabulary& vocabulary,
                bool grow) {
  Tokens tokens(cat("[text] ", name), unit, vocabulary, grow);
  tokens.take(text);
  return tokens.finish(std::move(name));
}

Text read_text(const std::filesystem::path& path, TextUnit unit, Vocabulary& vocabulary,
               bool grow) {
  ByteReader in("text", path);
  Tokens tokens(in.where(), unit, vocabulary, grow);
  std::array<char, 1 << 16> bytes;
  for (;;) {
    const std::int64_t n = in.read(bytes.data(), std::ssize(bytes));
    if (n == 0) break;
    tokens.take({bytes.data(), static_cast<std::size_t>(n)});
  }
  return tokens.finish(path.string());
}

TextSplit read_texts(const std::filesystem::path& dir, TextUnit unit,
                     std::shared_ptr<const Vocabulary> known) {
  const auto vocabulary =
      known ? std::make_shared<Vocabulary>(*known) : std::make_shared<Vocabulary>();
  TextSplit out{"text", unit, vocabulary, {}, {}, {}};
  const auto part = [&](const Part& which, bool grow, bool required) {
    const auto found = required ? find_part(dir, which) : seek_part(dir, which);
    if (!found) return Text{};
    if (found->treebank) out.name = "ptb";
    return read_part(*found, which, unit, *vocabulary, grow);
  };
  const bool fresh = known == nullptr;
  if (fresh) {  // all are there, or Error before a long one is read
    for (const Part& which : {kTrain, kValidation, kTest}) find_part(dir, which);
  }
  out.train = part(kTrain, fresh, fresh);
  check(
      !fresh || out.name != "ptb" || unit != TextUnit::word || vocabulary->size() == kTreebankWords,
      "[text] ", dir.string(), ": ptb.", kTrain.name, ".txt has ", vocabulary->size(),
      " different words, the Penn Treebank has ", kTreebankWords);
  out.validation = part(kValidation, false, fresh);
  out.test = part(kTest, false, true);
  return out;
}

TextStreams::TextStreams(std::shared_ptr<const Text> text, std::int64_t tokens,
                         std::int64_t streams, std::int64_t steps)
    : IndexedSource(false, 0),
      text_(std::move(text)),
      tokens_(tokens),
      streams_(streams),
      steps_(steps) {
  check(streams >= 1 && steps >= 1, text_->name,
        ": expected at least one stream and one step, got ", streams, " and ", steps);
  const std::int64_t all = std::ssize(text_->tokens);
  shift_ = text_->before >= 0 ? 1 : 0;
  length_ = (all - 1 + shift_) / streams;
  check(length_ >= steps, text_->name, ": ", all, " tokens are too few for ", streams,
        streams == 1 ? " stream" : " streams", " of a window of ", steps, "; expected at least ",
        streams * steps + 1 - shift_, ", or a shorter window");
  windows_ = (length_ + steps - 1) / steps;
}

std::vector<Field> TextStreams::own_fields() const {
  return {{"x", DType::s32, {steps_}, tokens_},
          {"y", DType::s32, {steps_}, tokens_},
          {"weight", DType::f32, {steps_}}};
}

void TextStreams::write(std::int64_t, std::span<const std::int32_t> rows, TensorMap& batch) const {
  const auto part = [&](const char* field, auto&& fn) {
    const auto found = batch.find(field);
    if (found == batch.end()) return;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::int64_t first = rows[i] / streams_ * steps_;
      const std::int64_t count = std::min(steps_, length_ - first);
      fn(found->second, static_cast<std::size_t>(i) * static_cast<std::size_t>(steps_),
         rows[i] % streams_ * length_ + first, count);
    }
  };
  // Behind the end of a stream there is token 0, which counts for nothing.
  const auto tokens = [&](std::int64_t later) {
    return [this, later](Tensor& to, std::size_t at, std::int64_t from, std::int64_t count) {
      const auto out = to.span<std::int32_t>().subspan(at, static_cast<std::size_t>(steps_));
      std::fill(out.begin(), out.end(), 0);
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t place = from + i + later - shift_;
        out[static_cast<std::size_t>(i)] =
            place < 0 ? text_->before : text_->tokens[static_cast<std::size_t>(place)];
      }
    };
  };
  part("x", tokens(0));
  part("y", tokens(1));
  part("weight", [&](Tensor& to, std::size_t at, std::int64_t, std::int64_t count) {
    const auto out = to.span<float>().subspan(at, static_cast<std::size_t>(steps_));
    std::fill(out.begin(), out.end(), 0.0f);
    std::fill_n(out.begin(), count, 1.0f);
  });
}

}  // namespace tessera::datasets
