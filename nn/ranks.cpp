#include "nn/ranks.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <sstream>

#include "core/files/sha256.h"
#include "ops/communication/reduction.h"

namespace tessera::nn {

namespace {

std::string bytes_of(const Tensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.data()), static_cast<std::size_t>(tensor.bytes())};
}

enum class Kind { rows, each, part };

std::optional<Kind> kind_of(const std::string& name) {
  if (name.starts_with(kCarriedPrefix)) return Kind::rows;
  if (!name.starts_with(kGradientsPrefix)) return std::nullopt;
  return name.ends_with(".mean_residual") ? Kind::part : Kind::each;
}

Shape stacked(const Shape& one, std::int64_t ranks) {
  Shape out{ranks};
  for (const Dim d : one.dims()) out.push_back(d);
  return out;
}

// All ranks' bytes, one behind the other.
Tensor joined(const Tensor& like, const Shape& shape, const std::vector<std::string>& parts) {
  Tensor out(like.dtype(), shape);
  std::size_t at = 0;
  for (const std::string& part : parts) {
    check(at + part.size() <= static_cast<std::size_t>(out.bytes()),
          "the ranks' parts of a state differ in size");
    std::memcpy(out.data() + at, part.data(), part.size());
    at += part.size();
  }
  return out;
}

// Every owner's part of what each rank has.
Tensor of_owners(const Tensor& like, const std::vector<std::string>& all) {
  Tensor out(DType::f32, like.shape());
  const int ranks = static_cast<int>(all.size());
  for (int r = 0; r < ranks; ++r) {
    const Range part = part_of(like.numel(), r, ranks, Reduction::kUnit);
    if (part.size() == 0) continue;
    std::memcpy(out.data() + 4 * part.begin,
                all[static_cast<std::size_t>(r)].data() + 4 * part.begin,
                static_cast<std::size_t>(4 * part.size()));
  }
  return out;
}

Tensor mean_over_rows(const Tensor& all, const Shape& shape) {
  const std::int64_t rows = all.shape()[0].value();
  Tensor out(DType::f32, shape);
  const auto from = all.span<float>();
  auto to = out.span<float>();
  for (std::size_t i = 0; i < to.size(); ++i) {
    double sum = 0;
    for (std::int64_t r = 0; r < rows; ++r)
      sum += static_cast<double>(from[static_cast<std::size_t>(r) * to.size() + i]);
    to[i] = static_cast<float>(sum / static_cast<double>(rows));
  }
  return out;
}

Shape without_first(const Shape& shape) {
  return Shape(std::vector<Dim>(shape.dims().begin() + 1, shape.dims().end()));
}

}  // namespace

bool is_rank_state(const std::string& name) {
  return kind_of(name).has_value();
}

bool has_rank_states(const State& state) {
  return std::ranges::any_of(state.entries(),
                             [](const auto& entry) { return is_rank_state(entry.first); });
}

State gathered(Communicator& ranks, const State& state) {
  State out;
  for (const auto& [name, entry] : state.entries()) {
    const Tensor& mine = entry.tensor;
    const auto kind = kind_of(name);
    if (!kind) {
      out.set(name, mine);
      continue;
    }
    const std::vector<std::string> all = all_gather(ranks, bytes_of(mine));
    Shape shape = mine.shape();
    switch (*kind) {
      case Kind::rows:
        shape[0] = shape[0].value() * ranks.size();
        out.set(name, joined(mine, shape, all));
        break;
      case Kind::each:
        out.set(name, joined(mine, stacked(shape, ranks.size()), all));
        break;
      case Kind::part:
        out.set(name, of_owners(mine, all));
        break;
    }
  }
  return out;
}

void take_own(const Ranks& ranks, State& state) {
  for (const std::string& name : state.names()) {
    const auto kind = kind_of(name);
    if (!kind) continue;
    const Tensor all = state.get(name);
    const std::int64_t rows = all.shape().rank() > 0 ? all.shape()[0].value() : 0;
    if (*kind == Kind::rows) {
      check(rows % ranks.size() == 0, "'", name, "' has ", rows, " rows, which ", ranks.size(),
            " ranks cannot share evenly");
      const std::int64_t n = rows / ranks.size();
      state.set(name, all.slice(ranks.rank() * n, (ranks.rank() + 1) * n).clone());
    } else if (ranks.alone()) {
      state.erase(name);
    } else if (*kind == Kind::each) {
      const Shape one = without_first(all.shape());
      state.set(name, rows == ranks.size()
                          ? all.slice(ranks.rank(), ranks.rank() + 1).clone().reshape(one)
                          : mean_over_rows(all, one));
    }
  }
}

Evaluation shared(Communicator& ranks, Evaluation evaluation) {
  // A line of numbers for each metric, then its texts: none of them has a line break.
  std::ostringstream out;
  out << std::hexfloat << evaluation.samples << "\n";
  for (const Metric& m : evaluation.metrics) {
    out << m.value << " " << m.lower_is_better << " " << m.digits << " " << m.count << "\n"
        << m.name << "\n"
        << m.unit << "\n"
        << m.detail << "\n"
        << m.label << "\n";
  }
  std::istringstream in(broadcast(ranks, out.str()));
  if (ranks.rank() == 0) return evaluation;
  Evaluation found;
  std::string line;
  std::getline(in, line);
  found.samples = std::stoll(line);
  while (std::getline(in, line)) {
    Metric& m = found.metrics.emplace_back();
    std::istringstream numbers(line);
    std::string value;  // streams do not read hexadecimal numbers
    numbers >> value >> m.lower_is_better >> m.digits >> m.count;
    m.value = std::strtod(value.c_str(), nullptr);
    for (std::string* text : {&m.name, &m.unit, &m.detail, &m.label}) std::getline(in, *text);
  }
  return found;
}

void require_agreement(Communicator& ranks,
                       const std::vector<std::pair<std::string, std::string>>& items) {
  std::string mine;  // digests are of one length
  for (const auto& [name, value] : items) mine += sha256_hex(value);
  const std::vector<std::string> all = all_gather(ranks, mine);
  const std::size_t length = mine.size() / items.size();
  for (std::size_t r = 1; r < all.size(); ++r) {
    for (std::size_t i = 0; i < items.size(); ++i) {
      const auto of = [&](std::size_t rank) { return all[rank].substr(i * length, length); };
      check(all[r].size() == mine.size() && of(r) == of(0), "rank ", r, " has another ",
            items[i].first, " than rank 0; all ranks of a training must have the same");
    }
  }
}

std::string digest(const BatchSource& data, std::int64_t batch) {
  constexpr std::int64_t kBatches = 8;
  Sha256 hash;
  const std::int64_t samples = data.samples();
  const std::int64_t rows = data.lanes() > 0 ? data.lanes() : std::min(batch, samples);
  hash.update(cat(samples, " ", data.lanes(), " ", listed(data.fields())));
  const std::int64_t whole = samples / rows;
  for (std::int64_t i = 0; i < std::min(kBatches, whole); ++i) {
    TensorMap fields = batch_of(data.fields(), rows);
    data.fill(0, whole * i / std::min(kBatches, whole) * rows, fields);
    for (const auto& [name, tensor] : fields)
      hash.update({tensor.data(), static_cast<std::size_t>(tensor.bytes())});
  }
  return hash.hex();
}

std::string digest(const State& state) {
  Sha256 hash;
  for (const auto& [name, entry] : state.entries()) {
    hash.update(name + entry.tensor.text_type());
    hash.update({entry.tensor.data(), static_cast<std::size_t>(entry.tensor.bytes())});
  }
  return hash.hex();
}

}  // namespace tessera::nn
