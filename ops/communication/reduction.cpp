#include "ops/communication/reduction.h"

#include <algorithm>

namespace tessera {

namespace {

std::vector<std::span<const std::byte>> parts_of(const std::vector<std::vector<std::byte>>& all) {
  return {all.begin(), all.end()};
}

std::vector<std::span<std::byte>> places_in(std::vector<std::vector<std::byte>>& all) {
  return {all.begin(), all.end()};
}

}  // namespace

Reduction::Reduction(Communicator& ranks, std::vector<std::int64_t> sizes, GradientCode code,
                     std::vector<bool> exact)
    : ranks_(ranks), sizes_(std::move(sizes)), code_(code), exact_(std::move(exact)) {
  std::int64_t total = 0;
  for (const std::int64_t n : sizes_) total += n;
  values_.resize(static_cast<std::size_t>(total));
  decoded_.resize(values_.size());
  if (code_.loses()) mean_residual_.resize(values_.size());
  cut();
}

Reduction::~Reduction() {
  ranks_.leave(*this);
}

void Reduction::cut() {
  const int n = ranks_.size();
  const auto own = static_cast<std::size_t>(ranks_.rank());
  for (int r = 0; r < n; ++r) {
    const Range part = part_of(total(), r, n, kUnit);
    parts_.push_back(part);
    auto& pieces = pieces_.emplace_back();
    std::int64_t tensor = 0, at = 0;
    for (std::size_t i = 0; i < sizes_.size(); tensor += sizes_[i++]) {
      const std::int64_t begin = std::max(part.begin, tensor),
                         end = std::min(part.end, tensor + sizes_[i]);
      if (begin >= end) continue;
      const GradientCode code = exact_[i] ? GradientCode{} : code_;
      pieces.push_back({begin, end - begin, at, code});
      // Whole words, so that every table is aligned.
      at += (code.bytes(end - begin) + 3) / 4 * 4;
    }
    bytes_.push_back(at);
    sent_.emplace_back(static_cast<std::size_t>(at));
    means_.emplace_back(static_cast<std::size_t>(at));
  }
  received_.resize(static_cast<std::size_t>(n));
  for (auto& place : received_) place.resize(static_cast<std::size_t>(bytes_[own]));
}

// `values` and what decode() writes are the whole bucket.
void Reduction::encode(int part, std::span<const float> values, std::byte* to) const {
  for (const Piece& p : pieces_[static_cast<std::size_t>(part)]) {
    p.code.encode(
        values.subspan(static_cast<std::size_t>(p.begin), static_cast<std::size_t>(p.size)),
        to + p.at);
  }
}

void Reduction::decode(int part, const std::byte* from, std::span<float> values) const {
  for (const Piece& p : pieces_[static_cast<std::size_t>(part)]) {
    p.code.decode(from + p.at, values.subspan(static_cast<std::size_t>(p.begin),
                                              static_cast<std::size_t>(p.size)));
  }
}

void Reduction::start(std::span<const float* const> tensors, const float* residual,
                      const float* mean_residual, float* next) {
  check(stage_ == Stage::idle || stage_ == Stage::done,
        "a bucket of gradients was sent again before it was received");
  std::size_t at = 0;
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    std::copy_n(tensors[i], sizes_[i], values_.data() + at);
    at += static_cast<std::size_t>(sizes_[i]);
  }
  if (residual != nullptr) {
    for (std::size_t i = 0; i < values_.size(); ++i) values_[i] += residual[i];
  }
  for (int r = 0; r < ranks_.size(); ++r)
    encode(r, values_, sent_[static_cast<std::size_t>(r)].data());
  if (residual != nullptr) {
    for (int r = 0; r < ranks_.size(); ++r)
      decode(r, sent_[static_cast<std::size_t>(r)].data(), decoded_);
    std::copy_n(mean_residual, total(), mean_residual_.data());
    for (std::size_t i = 0; i < values_.size(); ++i) next[i] = values_[i] - decoded_[i];
  }
  const std::int64_t tag = ranks_.next_tag();
  spread_tag_ = ranks_.next_tag();
  exchange_ = ranks_.exchange(tag, parts_of(sent_), places_in(received_));
  stage_ = Stage::gathering;
  ranks_.enter(*this);
}

void Reduction::average() {
  const int own = ranks_.rank();
  const Range part = parts_[static_cast<std::size_t>(own)];
  const auto begin = values_.begin() + part.begin, end = values_.begin() + part.end;
  std::fill(begin, end, 0.0f);
  for (int r = 0; r < ranks_.size(); ++r) {
    decode(own, received_[static_cast<std::size_t>(r)].data(), decoded_);
    for (std::int64_t i = part.begin; i < part.end; ++i)
      values_[static_cast<std::size_t>(i)] += decoded_[static_cast<std::size_t>(i)];
  }
  const float share = 1.0f / static_cast<float>(ranks_.size());
  std::for_each(begin, end, [share](float& v) { v *= share; });
  if (!mean_residual_.empty()) {
    for (std::int64_t i = part.begin; i < part.end; ++i)
      values_[static_cast<std::size_t>(i)] += mean_residual_[static_cast<std::size_t>(i)];
  }
  std::vector<std::byte>& mine = sent_[static_cast<std::size_t>(own)];
  encode(own, values_, mine.data());
  if (!mean_residual_.empty()) {
    decode(own, mine.data(), decoded_);
    for (std::int64_t i = part.begin; i < part.end; ++i) {
      const auto e = static_cast<std::size_t>(i);
      mean_residual_[e] = values_[e] - decoded_[e];
    }
  }
}

bool Reduction::advance() {
  if (stage_ == Stage::gathering && exchange_->advance()) {
    average();
    const std::vector<std::span<const std::byte>> parts(
        sent_.size(), sent_[static_cast<std::size_t>(ranks_.rank())]);
    exchange_ = ranks_.exchange(spread_tag_, parts, places_in(means_));
    stage_ = Stage::spreading;
  }
  if (stage_ == Stage::spreading && exchange_->advance()) {
    exchange_.reset();
    stage_ = Stage::done;
  }
  return stage_ == Stage::done;
}

void Reduction::finish(std::span<float* const> tensors, float* mean_residual) {
  check(stage_ != Stage::idle, "a bucket of gradients was received before it was sent");
  ranks_.wait(*this);
  ranks_.leave(*this);
  for (int r = 0; r < ranks_.size(); ++r)
    decode(r, means_[static_cast<std::size_t>(r)].data(), values_);
  std::size_t at = 0;
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    std::copy_n(values_.data() + at, sizes_[i], tensors[i]);
    at += static_cast<std::size_t>(sizes_[i]);
  }
  if (mean_residual != nullptr) std::copy_n(mean_residual_.data(), total(), mean_residual);
}

}  // namespace tessera
