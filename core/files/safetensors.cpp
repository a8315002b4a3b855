#include "core/files/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "core/files/sha256.h"

namespace tessera {

static_assert(std::endian::native == std::endian::little, "files hold little-endian numbers");

namespace {

constexpr std::int64_t kLengthBytes = 8;
constexpr int kMaxRank = 16;  // as parse_shape
constexpr std::string_view kMetadata = "__metadata__";

// The dtypes of foreign files that are converted.
struct Foreign {
  std::string_view name;
  std::int64_t bytes;
};
constexpr Foreign kF16{"F16", 2}, kF64{"F64", 8};

template <class T>
T load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// What a dtype of the file is read as, and the bytes of one stored element.
struct Stored {
  DType dtype;
  std::int64_t bytes;
};

Stored parse_stored(const JsonAt& at) {
  const std::string text = at.text("a dtype");
  for (const auto& row : kDTypes) {
    if (row.safetensors == text) return {row.dtype, row.bytes};
  }
  for (const Foreign& row : {kF16, kF64}) {
    if (row.name == text) return {DType::f32, row.bytes};
  }
  at.fail("dtype ", quote(text),
          " cannot be read (expected F32, BF16, F16, F64, I8, U8, I32 or I64)");
}

// One tensor of the header; begin is still relative to the data.
SafetensorsEntry parse_entry(const std::string& name, const JsonAt& at, std::int64_t data_bytes) {
  at.only({"dtype", "shape", "data_offsets"});
  SafetensorsEntry entry;
  entry.name = name;
  const Stored stored = parse_stored(at.at("dtype"));
  entry.stored_dtype = at.at("dtype").text();
  entry.dtype = stored.dtype;
  const JsonAt shape = at.at("shape");
  entry.shape = shape.integers("a list of dimensions", 0);
  if (entry.shape.size() > kMaxRank) {
    shape.fail("expected at most ", kMaxRank, " dimensions, got ", entry.shape.size());
  }
  // Zeros are left out of the overflow check: strides must not overflow either.
  std::int64_t extent = std::max(stored.bytes, size_of(stored.dtype));
  std::int64_t expected = stored.bytes;
  for (const std::int64_t n : entry.shape) {
    if (__builtin_mul_overflow(extent, std::max<std::int64_t>(n, 1), &extent)) {
      shape.fail("the size of ", Shape::of(entry.shape).text(), " overflows 64 bits");
    }
    expected *= n;
  }
  const JsonAt offsets = at.at("data_offsets");
  const auto range = offsets.integers("two offsets", 0);
  if (range.size() != 2) offsets.fail("expected two offsets, got ", range.size());
  if (range[0] > range[1]) offsets.fail("begin ", range[0], " is after end ", range[1]);
  if (range[1] > data_bytes) {
    offsets.fail("end ", range[1], " is past the data, which has ", data_bytes,
                 " bytes (is the file truncated?)");
  }
  entry.begin = range[0];
  entry.bytes = range[1] - range[0];
  if (entry.bytes != expected) {
    offsets.fail("expected ", expected, " bytes for ", entry.stored_dtype,
                 Shape::of(entry.shape).text(), ", got ", entry.bytes);
  }
  return entry;
}

// `head` holds at least the header, or the whole file when that is shorter.
SafetensorsHeader parse_header(std::string_view head, std::int64_t file_bytes,
                               const std::string& file) {
  check(std::ssize(head) >= kLengthBytes, file, ": ", head.size(),
        " bytes are too few for a safetensors file");
  const auto length = load<std::uint64_t>(head.data());
  check(length <= static_cast<std::uint64_t>(kMaxSafetensorsHeader), file,
        ": byte 0: header length ", length, " is over the limit of ", kMaxSafetensorsHeader,
        " (is this a safetensors file?)");
  const std::int64_t data_at = kLengthBytes + static_cast<std::int64_t>(length);
  check(data_at <= std::min(file_bytes, static_cast<std::int64_t>(head.size())), file,
        ": byte 0: header length ", length, " does not fit into a file of ", file_bytes, " bytes");
  const std::string_view text = head.substr(kLengthBytes, length);
  check(text.starts_with('{'), file, ": byte 8: the header does not begin with '{'");

  std::map<std::string, std::int64_t> key_bytes;
  const Json json = parse_json(text, file,
                               {.max_depth = 4,
                                .first_byte = kLengthBytes,
                                .file_bytes = file_bytes,
                                .key_bytes = &key_bytes});
  SafetensorsHeader out;
  out.file_bytes = file_bytes;
  const std::int64_t data_bytes = file_bytes - data_at;
  auto place = [&](const std::string& name) {
    return cat(file, ": byte ", key_bytes.at(name), ": ", name == kMetadata ? "" : "tensor ",
               name == kMetadata ? name : quote(name));
  };
  for (const auto& [name, value] : json.items()) {
    const JsonAt at(value, place(name));
    if (name == kMetadata) {
      at.each_field([&](const std::string& key,
                        const JsonAt& item) { out.metadata.emplace(key, item.text()); },
                    "an object of strings");
    } else {
      out.entries.push_back(parse_entry(name, at, data_bytes));
    }
  }

  // In order of their data the tensors must tile it.
  std::vector<SafetensorsEntry*> order;
  for (auto& entry : out.entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->begin, a->begin + a->bytes) < std::pair(b->begin, b->begin + b->bytes);
  });
  std::int64_t end = 0;
  for (const SafetensorsEntry* entry : order) {
    check(entry->begin >= end, place(entry->name), ": data starts at ", entry->begin,
          ", inside the tensor before it, which ends at ", end);
    check(entry->begin == end, place(entry->name), ": data starts at ", entry->begin,
          ", which leaves a hole after ", end);
    end += entry->bytes;
  }
  check(end == data_bytes, file, ": byte ", data_at + end, ": the tensors end here, but ",
        data_bytes - end, " more bytes follow");
  for (auto& entry : out.entries) entry.begin += data_at;
  return out;
}

Tensor read_entry(std::string_view bytes, const SafetensorsEntry& entry) {
  Tensor out(entry.dtype, Shape::of(entry.shape));
  const char* from = bytes.data() + entry.begin;
  if (entry.stored_dtype == kF16.name) {
    for (float& value : out.span<float>()) {
      value = f32_from_f16(load<std::uint16_t>(from));
      from += kF16.bytes;
    }
  } else if (entry.stored_dtype == kF64.name) {
    for (float& value : out.span<float>()) {
      value = static_cast<float>(load<double>(from));
      from += kF64.bytes;
    }
  } else {
    std::memcpy(out.data(), from, static_cast<std::size_t>(entry.bytes));
  }
  return out;
}

std::span<const std::byte> bytes_of(const Tensor& tensor) {
  return {tensor.data(), static_cast<std::size_t>(tensor.bytes())};
}

}  // namespace

SafetensorsHeader read_safetensors_header(InputFile& file, const std::string& name) {
  std::string_view head = file.head(kLengthBytes);
  if (std::ssize(head) == kLengthBytes) {
    const auto length = load<std::uint64_t>(head.data());
    if (length <= static_cast<std::uint64_t>(kMaxSafetensorsHeader)) {
      head = file.head(kLengthBytes + static_cast<std::int64_t>(length));
    }
  }
  return parse_header(head, file.size(), name);
}

SafetensorsHeader read_safetensors_header(const std::filesystem::path& path) {
  InputFile file(path);
  return read_safetensors_header(file, path.string());
}

SafetensorsHeader read_safetensors_header(std::string_view bytes, const std::string& name) {
  return parse_header(bytes, std::ssize(bytes), name);
}

Safetensors parse_safetensors(std::string_view bytes, const std::string& file) {
  SafetensorsHeader header = parse_header(bytes, std::ssize(bytes), file);
  Safetensors out;
  for (const auto& entry : header.entries) {
    out.tensors.emplace(entry.name, read_entry(bytes, entry));
  }
  out.metadata = std::move(header.metadata);
  out.sha256 = sha256_hex(bytes);
  return out;
}

Safetensors read_safetensors(const std::filesystem::path& path) {
  return parse_safetensors(InputFile(path).all(), path.string());
}

std::int64_t SafetensorsImage::bytes() const {
  std::int64_t n = std::ssize(header);
  for (const Tensor& tensor : data) n += tensor.bytes();
  return n;
}

std::string SafetensorsImage::sha256() const {
  Sha256 hash;
  hash.update(header);
  for (const Tensor& tensor : data) hash.update(bytes_of(tensor));
  return hash.hex();
}

std::string SafetensorsImage::content() const {
  std::string out = header;
  for (const Tensor& tensor : data) {
    out.append(reinterpret_cast<const char*>(tensor.data()),
               static_cast<std::size_t>(tensor.bytes()));
  }
  return out;
}

void SafetensorsImage::write(const std::filesystem::path& path) const {
  std::vector<std::span<const std::byte>> pieces = {std::as_bytes(std::span(header))};
  for (const Tensor& tensor : data) pieces.push_back(bytes_of(tensor));
  write_file(path, pieces);
}

SafetensorsImage make_safetensors(const TensorMap& tensors, const TextMap& metadata) {
  std::vector<const TensorMap::value_type*> order;
  for (const auto& item : tensors) {
    check(item.second.defined(), "cannot save the undefined tensor ", quote(item.first));
    check(item.first != kMetadata, "a tensor cannot be named ", kMetadata);
    order.push_back(&item);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return size_of(a->second.dtype()) > size_of(b->second.dtype());
  });
  SafetensorsImage out;
  std::map<std::string_view, std::int64_t> begins;
  std::int64_t end = 0;
  for (const auto* item : order) {
    begins[item->first] = end;
    end += item->second.bytes();
    out.data.push_back(item->second);
  }

  std::string json = "{";
  if (!metadata.empty()) json += cat('"', kMetadata, "\":", json_text(Json(metadata)));
  for (const auto& [name, tensor] : tensors) {
    if (json.size() > 1) json += ',';
    const std::int64_t begin = begins.at(name);
    json += cat(json_text(Json(name)), ":{\"dtype\":\"", info(tensor.dtype()).safetensors,
                "\",\"shape\":", tensor.shape().text(), ",\"data_offsets\":[", begin, ',',
                begin + tensor.bytes(), "]}");
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  check(std::ssize(json) <= kMaxSafetensorsHeader, "a safetensors header of ", json.size(),
        " bytes is over the limit of ", kMaxSafetensorsHeader);
  const std::uint64_t length = json.size();
  out.header.resize(kLengthBytes);
  std::memcpy(out.header.data(), &length, sizeof length);
  out.header += json;
  return out;
}

void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const TextMap& metadata) {
  make_safetensors(tensors, metadata).write(path);
}

}  // namespace tessera
