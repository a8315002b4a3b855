#include "core/files/npz.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "core/files/json_io.h"
#include "core/files/unpack.h"
#include "core/memory_rule.h"

namespace tessera {

namespace {

constexpr int kMaxRank = 16;  // as safetensors

// ---- zip: APPNOTE 6.3, sections 4.3.7, 4.3.12 and 4.3.16 ----

constexpr std::uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50,
                        kEndOfCentral = 0x06054b50;
constexpr std::size_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kMaxComment = 65535;
constexpr std::uint32_t kZip64Size = 0xffffffff;
constexpr std::uint16_t kStored = 0, kDeflated = 8;

template <class T>
T number(std::string_view bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

struct ZipEntry {
  std::string name;
  std::uint16_t flags, method;
  std::uint32_t crc, packed_bytes, bytes, local_at;
};

// The position of the end record: the last one whose comment reaches the end of the file.
std::size_t find_end(std::string_view zip, const std::string& file) {
  check(zip.size() >= kEndBytes, file, ": too short for a zip archive (", zip.size(), " bytes)");
  const std::size_t last = zip.size() - kEndBytes;
  for (std::size_t back = 0; back <= std::min(last, kMaxComment); ++back) {
    const std::size_t at = last - back;
    if (number<std::uint32_t>(zip, at) == kEndOfCentral &&
        number<std::uint16_t>(zip, at + 20) == back) {
      return at;
    }
  }
  fail(file, ": no zip end record; the archive is cut short or none");
}

std::vector<ZipEntry> read_directory(std::string_view zip, const std::string& file) {
  const std::size_t end = find_end(zip, file);
  const auto count = number<std::uint16_t>(zip, end + 10);
  const auto bytes = number<std::uint32_t>(zip, end + 12);
  const auto start = number<std::uint32_t>(zip, end + 16);
  check(start != kZip64Size && count != 0xffff, file, ": zip64 archives are not read");
  check(number<std::uint32_t>(zip, end + 4) == 0 && number<std::uint16_t>(zip, end + 8) == count,
        file, ": archives of several parts are not read");
  check(std::uint64_t{start} + bytes == end, file, ": byte ", end,
        ": the zip directory does not end here (it starts at ", start, " and has ", bytes,
        " bytes)");
  std::vector<ZipEntry> out;
  std::size_t at = start;
  for (int i = 0; i < count; ++i) {
    check(end - at >= kCentralBytes && number<std::uint32_t>(zip, at) == kCentralHeader, file,
          ": byte ", at, ": expected entry ", i, " of the zip directory");
    const std::size_t name = number<std::uint16_t>(zip, at + 28),
                      rest = std::size_t{number<std::uint16_t>(zip, at + 30)} +
                             number<std::uint16_t>(zip, at + 32);
    check(end - at - kCentralBytes >= name + rest, file, ": byte ", at,
          ": a zip directory entry reaches past the directory");
    out.push_back({std::string(zip.substr(at + kCentralBytes, name)),
                   number<std::uint16_t>(zip, at + 8), number<std::uint16_t>(zip, at + 10),
                   number<std::uint32_t>(zip, at + 16), number<std::uint32_t>(zip, at + 20),
                   number<std::uint32_t>(zip, at + 24), number<std::uint32_t>(zip, at + 42)});
    at += kCentralBytes + name + rest;
  }
  check(at == end, file, ": byte ", at, ": the zip directory has more than its ", count,
        " entries");
  return out;
}

// The bytes of an entry as they stand in the file.
std::string_view packed_bytes(std::string_view zip, const ZipEntry& entry,
                              const std::string& place) {
  check((entry.flags & 1) == 0, place, ": is encrypted");
  check(entry.method == kStored || entry.method == kDeflated, place, ": compression method ",
        entry.method, "; only stored and deflated are read");
  check(
      entry.packed_bytes != kZip64Size && entry.bytes != kZip64Size && entry.local_at != kZip64Size,
      place, ": zip64 sizes are not read");
  const std::size_t at = entry.local_at;
  check(at <= zip.size() && zip.size() - at >= kLocalBytes &&
            number<std::uint32_t>(zip, at) == kLocalHeader,
        place, ": byte ", at, ": expected its zip header");
  const std::size_t skip =
      kLocalBytes + number<std::uint16_t>(zip, at + 26) + number<std::uint16_t>(zip, at + 28);
  check(zip.size() - at >= skip && zip.size() - at - skip >= entry.packed_bytes, place, ": its ",
        entry.packed_bytes, " bytes reach past the end of the file");
  return zip.substr(at + skip, entry.packed_bytes);
}

// ---- npy ----

struct NpyHeader {
  std::string descr;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

// A Python literal such as {'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }
class NpyHeaderParser {
 public:
  NpyHeaderParser(std::string_view text, const std::string& place) : text_(text), place_(place) {}

  NpyHeader parse() {
    NpyHeader out;
    std::set<std::string> seen;
    expect('{');
    while (!take('}')) {
      const std::string key = string();
      require(seen.insert(key).second);
      expect(':');
      if (key == "descr") {
        check(peek() == '\'' || peek() == '"', place_, ": structured arrays are not read");
        out.descr = string();
      } else if (key == "fortran_order") {
        out.fortran_order = boolean();
      } else if (key == "shape") {
        out.shape = tuple();
      } else {
        fail(place_, ": unknown field ", quote(key), " in the header");
      }
      if (!take(',')) require(peek() == '}');
    }
    require(seen.size() == 3 && peek() == '\0');
    return out;
  }

 private:
  void require(bool ok) const {
    check(ok, place_,
          ": expected a header {'descr': ..., 'fortran_order': ..., 'shape': ...}, got ",
          quote(text_));
  }
  // The next character that is no space; 0 at the end.
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    const bool there = peek() == c && at_ < text_.size();
    at_ += there;
    return there;
  }
  void expect(char c) { require(take(c)); }
  std::string string() {
    const char mark = peek();
    require(mark == '\'' || mark == '"');
    const std::size_t close = text_.find(mark, ++at_);
    require(close != text_.npos);
    std::string out(text_.substr(at_, close - at_));
    at_ = close + 1;
    return out;
  }
  bool boolean() {
    const bool value = peek() == 'T';
    const std::string_view word = value ? "True" : "False";
    require(text_.substr(at_, word.size()) == word);
    at_ += word.size();
    return value;
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> out;
    expect('(');
    while (!take(')')) {
      require(peek() >= '0' && peek() <= '9');
      std::int64_t n = 0;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
        n = n * 10 + (text_[at_] - '0');
        check(n < std::int64_t{1} << 40, place_, ": a dimension is too large");
      }
      out.push_back(n);
      if (!take(',')) require(peek() == ')');
    }
    check(out.size() <= kMaxRank, place_, ": expected at most ", kMaxRank, " dimensions, got ",
          out.size());
    return out;
  }

  std::string_view text_;
  const std::string& place_;
  std::size_t at_ = 0;
};

float f32_of_f16(const char* at) {
  std::uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return f32_from_f16(bits);
}
float f32_of_f64(const char* at) {
  double value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<float>(value);
}

struct NpyDtype {
  std::string_view descr;
  DType dtype;
  std::int64_t bytes;
  float (*convert)(const char*);  // null: the same bits
};
constexpr NpyDtype kNpyDtypes[] = {
    {"<f4", DType::f32, 4, nullptr},    {"<f8", DType::f32, 8, f32_of_f64},
    {"<f2", DType::f32, 2, f32_of_f16}, {"|i1", DType::s8, 1, nullptr},
    {"|u1", DType::u8, 1, nullptr},     {"<i4", DType::s32, 4, nullptr},
    {"<i8", DType::s64, 8, nullptr},
};

const NpyDtype& npy_dtype(const std::string& descr, const std::string& place) {
  for (const NpyDtype& row : kNpyDtypes) {
    if (row.descr == descr) return row;
  }
  std::string known;
  for (const NpyDtype& row : kNpyDtypes) known += cat(known.empty() ? "" : ", ", row.descr);
  fail(place, ": elements of type ", quote(descr), "; expected one of ", known);
}

void read_element(const NpyDtype& dtype, const char* from, Tensor& out, std::int64_t at) {
  std::byte* to = out.data() + at * size_of(out.dtype());
  if (dtype.convert) {
    const float value = dtype.convert(from);
    std::memcpy(to, &value, sizeof value);
  } else {
    std::memcpy(to, from, static_cast<std::size_t>(dtype.bytes));
  }
}

// From elements in the order of the first axis first.
void read_fortran(const NpyDtype& dtype, const char* from, const std::vector<std::int64_t>& shape,
                  Tensor& out) {
  const auto to = strides_of(shape);
  std::vector<std::int64_t> index(shape.size(), 0);
  std::int64_t at = 0;
  for (std::int64_t i = 0; i < out.numel(); ++i, from += dtype.bytes) {
    read_element(dtype, from, out, at);
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      at += to[axis];
      if (++index[axis] < shape[axis]) break;
      at -= to[axis] * shape[axis];
      index[axis] = 0;
    }
  }
}

}  // namespace

Tensor parse_npy(std::string_view bytes, const std::string& place) {
  constexpr std::string_view kMagic("\x93NUMPY", 6);
  check(bytes.size() >= 12 && bytes.starts_with(kMagic), place, ": not a .npy array");
  const int version = bytes[6];
  check(version >= 1 && version <= 3, place, ": .npy version ", version,
        "; versions 1 to 3 are read");
  const std::size_t start = version == 1 ? 10 : 12;
  const std::size_t length =
      version == 1 ? number<std::uint16_t>(bytes, 8) : number<std::uint32_t>(bytes, 8);
  check(bytes.size() - start >= length, place, ": its header of ", length,
        " bytes reaches past its end");
  const NpyHeader header = NpyHeaderParser(bytes.substr(start, length), place).parse();
  const NpyDtype& dtype = npy_dtype(header.descr, place);
  const std::string_view data = bytes.substr(start + length);
  // Zeros count as ones here: strides must not overflow either.
  std::int64_t elements = 1, extent = 8;
  for (const std::int64_t d : header.shape) {
    check(!__builtin_mul_overflow(extent, std::max<std::int64_t>(d, 1), &extent), place,
          ": its shape is too large");
    elements *= d;
  }
  check(elements * dtype.bytes == std::ssize(data), place, ": expected ", elements * dtype.bytes,
        " bytes of ", header.descr, Shape::of(header.shape), ", got ", data.size());
  Tensor out(dtype.dtype, Shape::of(header.shape));
  if (header.fortran_order && header.shape.size() > 1) {
    read_fortran(dtype, data.data(), header.shape, out);
  } else if (dtype.convert) {
    for (std::int64_t i = 0; i < elements; ++i)
      read_element(dtype, data.data() + i * dtype.bytes, out, i);
  } else if (!data.empty()) {
    std::memcpy(out.data(), data.data(), data.size());
  }
  return out;
}

TensorMap parse_npz(std::string_view bytes, const std::string& file, std::int64_t file_bytes) {
  constexpr std::string_view kSuffix = ".npy";
  TensorMap out;
  std::size_t total = 0;
  std::int64_t taken = std::ssize(bytes);
  if (file_bytes == 0) file_bytes = taken;
  for (const ZipEntry& entry : read_directory(bytes, file)) {
    const std::string place = cat(file, ": array ", quote(entry.name));
    check(entry.name.ends_with(kSuffix) && entry.name.size() > kSuffix.size(), place,
          ": expected names that end in .npy");
    const std::string_view packed = packed_bytes(bytes, entry, place);
    total += packed.size();
    check(total <= bytes.size(), place, ": overlaps another");
    // The array beside its bytes: halves become floats.
    require_memory(taken + 3 * std::int64_t{entry.bytes}, file_bytes,
                   cat(place, ": unpacking takes"));
    std::string unpacked;
    std::string_view content = packed;
    if (entry.method == kDeflated) {
      unpacked = inflate(packed, entry.bytes, place);
      content = unpacked;
    }
    check(content.size() == entry.bytes, place, ": expected ", entry.bytes, " bytes, got ",
          content.size());
    check(crc32(content) == entry.crc, place, ": its checksum is wrong; the archive is damaged");
    std::string name = entry.name.substr(0, entry.name.size() - kSuffix.size());
    Tensor array = parse_npy(content, place);
    taken += array.bytes();
    check(out.emplace(std::move(name), std::move(array)).second, place, ": occurs twice");
  }
  return out;
}

}  // namespace tessera
