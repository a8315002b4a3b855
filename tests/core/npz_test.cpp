// numpy archives: one that numpy made, and damaged ones.
#include "core/files/npz.h"

#include <gtest/gtest.h>

#include <cstring>

#include "core/files/atomic_file.h"
#include "core/files/import.h"
#include "core/files/unpack.h"
#include "tests/test_dir.h"

namespace tessera {
namespace {

std::filesystem::path golden(const std::string& name) {
  return testing::test_dir() / "golden" / name;
}

template <class T>
std::string little(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// A .npy array of version 1.
std::string npy(const std::string& header, const std::string& data) {
  return std::string("\x93NUMPY\1\0", 8) + little(static_cast<std::uint16_t>(header.size())) +
         header + data;
}
std::string header(const std::string& descr, const std::string& shape, bool fortran = false) {
  return "{'descr': " + descr + ", 'fortran_order': " + (fortran ? "True" : "False") +
         ", 'shape': " + shape + ", }  \n";
}

struct Entry {
  std::string name, content;
  std::uint16_t flags = 0, method = 0;
  int crc_off = 0, size_off = 0;
  int copies = 1;  // directory entries of the same data
};

// A zip archive of stored entries.
std::string zip(const std::vector<Entry>& entries, const std::string& comment = "") {
  std::string out, directory;
  std::uint16_t count = 0;
  for (const Entry& e : entries) {
    const auto size = static_cast<std::uint32_t>(e.content.size());
    const std::string common =
        little(e.flags) + little(e.method) + little(std::uint32_t{0}) +
        little(crc32(e.content) + static_cast<std::uint32_t>(e.crc_off)) + little(size) +
        little(size + static_cast<std::uint32_t>(e.size_off)) +
        little(static_cast<std::uint16_t>(e.name.size())) + little(std::uint16_t{0});
    for (int i = 0; i < e.copies; ++i, ++count) {
      directory += "PK\1\2" + little(std::uint32_t{20}) + common + std::string(10, '\0') +
                   little(static_cast<std::uint32_t>(out.size())) + e.name;
    }
    out += "PK\3\4" + little(std::uint16_t{20}) + common + e.name + e.content;
  }
  const auto start = static_cast<std::uint32_t>(out.size());
  return out + directory + "PK\5\6" + std::string(4, '\0') + little(count) + little(count) +
         little(static_cast<std::uint32_t>(directory.size())) + little(start) +
         little(static_cast<std::uint16_t>(comment.size())) + comment;
}

std::string error_of(const std::string& bytes) {
  try {
    parse_npz(bytes, "f.npz");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}
std::string array_error(const std::string& array) {
  std::string what = error_of(zip({{"a.npy", array}}));
  const std::string start = "f.npz: array 'a.npy': ";
  return what.starts_with(start) ? what.substr(start.size()) : what;
}

const std::string kData = little(1.5f) + little(-2.0f);
const std::string kGood = npy(header("'<f4'", "(2,)"), kData);

TEST(Npz, ReadsWhatNumpyWrote) {
  const TensorMap read = parse_npz(read_file(golden("arrays.npz")), "arrays.npz");
  ASSERT_EQ(read.size(), 7u);
  EXPECT_EQ(read.at("fc1.weight").text_type(), "f32[3,2]");
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(element(read.at("fc1.weight"), i), static_cast<float>(i / 3.0));
  }
  EXPECT_EQ(read.at("fc1.bias").to_vector<float>(), (std::vector<float>{0.5f, -65504, 0x1p-24f}));
  EXPECT_EQ(read.at("cube").text_type(), "s32[2,3,4]");
  for (int i = 0; i < 24; ++i) EXPECT_EQ(element(read.at("cube"), i), i);
  EXPECT_EQ(read.at("count").text_type(), "s64[]");
  EXPECT_EQ(element(read.at("count"), 0), 7);
  EXPECT_EQ(read.at("none").text_type(), "f32[0,3]");
  EXPECT_EQ(read.at("bytes").to_vector<std::uint8_t>(), (std::vector<std::uint8_t>{1, 255}));
  EXPECT_EQ(read.at("small").to_vector<std::int8_t>(), (std::vector<std::int8_t>{-128, 127}));
}

TEST(Npz, IsImportedAlsoFromXz) {
  for (const char* name : {"arrays.npz", "arrays.npz.xz"}) {
    State state;
    state.set("w", Tensor(DType::f32, {2, 3}));
    state.set("fc1.bias", Tensor(DType::f32, {3}));
    state.set("own", Tensor::scalar(5));
    ImportOptions options;
    options.rules = {"fc1.weight=w:t"};
    options.ignored = {"cube|count|none", "bytes", "s.*"};
    EXPECT_THROW(import_weights(golden(name), state, options), Error);
    options.optional = {"ow."};
    const ImportReport report = import_weights(golden(name), state, options);
    EXPECT_TRUE(report.complete());
    EXPECT_EQ(report.kept, std::vector<std::string>{"own"});
    EXPECT_EQ(report.ignored.size(), 5u);
    EXPECT_NE(report.text().find("kept as it was: own"), std::string::npos) << report.text();
    EXPECT_EQ(element(state.get("w"), 1), static_cast<float>(2 / 3.0));
    options.optional = {"("};
    EXPECT_THROW(import_weights(golden(name), state, options), Error);
  }
}

TEST(Npz, StoredAndCommented) {
  const TensorMap read = parse_npz(zip({{"a.npy", kGood}, {"b.c.npy", kGood}}, "hello PK"), "f");
  EXPECT_EQ(read.at("b.c").to_vector<float>(), (std::vector<float>{1.5f, -2.0f}));
  EXPECT_TRUE(parse_npz(zip({}), "f").empty());
  const std::string other = "{\"shape\":(2,),\"descr\":\"<f4\",\"fortran_order\":False}";
  const std::string two = std::string("\x93NUMPY\2\0", 8) +
                          little(static_cast<std::uint32_t>(other.size())) + other + kData;
  EXPECT_EQ(parse_npy(two, "f").to_vector<float>(), (std::vector<float>{1.5f, -2.0f}));
}

TEST(Npz, DamagedArchives) {
  const std::string good = zip({{"a.npy", kGood}});
  EXPECT_EQ(error_of(""), "f.npz: too short for a zip archive (0 bytes)");
  EXPECT_EQ(error_of(good.substr(0, good.size() - 1)),
            "f.npz: no zip end record; the archive is cut short or none");
  EXPECT_EQ(error_of(zip({{.name = "a.npy", .content = kGood, .flags = 1}})),
            "f.npz: array 'a.npy': is encrypted");
  EXPECT_EQ(error_of(zip({{.name = "a.npy", .content = kGood, .method = 12}})),
            "f.npz: array 'a.npy': compression method 12; only stored and deflated are read");
  EXPECT_EQ(error_of(zip({{.name = "a.npy", .content = kGood, .crc_off = 1}})),
            "f.npz: array 'a.npy': its checksum is wrong; the archive is damaged");
  EXPECT_EQ(error_of(zip({{.name = "a.npy", .content = kGood, .size_off = 1}})),
            cat("f.npz: array 'a.npy': expected ", kGood.size() + 1, " bytes, got ", kGood.size()));
  EXPECT_EQ(error_of(zip({{"a.npy", kGood}, {"a.npy", kGood}})),
            "f.npz: array 'a.npy': occurs twice");
  EXPECT_EQ(error_of(zip({{"readme.txt", "hello"}})),
            "f.npz: array 'readme.txt': expected names that end in .npy");
  EXPECT_EQ(error_of(zip({{.name = "a.npy", .content = kGood, .method = 8}})),
            cat("f.npz: array 'a.npy': expected ", kGood.size(), " bytes unpacked, got 6"));
  // A small archive that claims to unpack to a megabyte.
  EXPECT_EQ(error_of(zip({{.name = "a.npy", .content = kGood, .method = 8, .size_off = 1 << 20}})),
            cat("f.npz: array 'a.npy': ", kGood.size(), " bytes of deflate data cannot unpack to ",
                kGood.size() + (1 << 20)));
  const std::string large = npy(header("'|u1'", "(4000,)"), std::string(4000, '\0'));
  EXPECT_EQ(error_of(zip({{.name = "a.npy", .content = large, .copies = 2}})),
            "f.npz: array 'a.npy': overlaps another");
}

TEST(Npz, DamagedArrays) {
  EXPECT_EQ(array_error("hello"), "not a .npy array");
  EXPECT_EQ(array_error(std::string("\x93NUMPY\4\0", 8) + std::string(20, ' ')),
            ".npy version 4; versions 1 to 3 are read");
  EXPECT_EQ(array_error(std::string("\x93NUMPY\1\0\xff\xff{}", 12)),
            "its header of 65535 bytes reaches past its end");
  EXPECT_EQ(array_error(npy(header("'>f4'", "(2,)"), kData)),
            "elements of type '>f4'; expected one of <f4, <f8, <f2, |i1, |u1, <i4, <i8");
  EXPECT_EQ(array_error(npy(header("[('a', '<f4')]", "(2,)"), kData)),
            "structured arrays are not read");
  EXPECT_EQ(array_error(npy(header("'<f4'", "(3,)"), kData)), "expected 12 bytes of <f4[3], got 8");
  EXPECT_EQ(array_error(npy(header("'<f4'", "(999999999999,)"), kData)),
            "expected 3999999999996 bytes of <f4[999999999999], got 8");
  EXPECT_EQ(array_error(npy(header("'<f4'", "(999999999999,999999999999)"), kData)),
            "its shape is too large");
  EXPECT_EQ(array_error(npy(header("'<f4'", "(99999999999999999999999,)"), kData)),
            "a dimension is too large");
  EXPECT_EQ(array_error(npy(header("'<f4'", "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2)"), kData)),
            "expected at most 16 dimensions, got 17");
  EXPECT_EQ(array_error(npy("{'descr': '<f4', 'extra': 1}", kData)),
            "unknown field 'extra' in the header");
  for (const char* bad :
       {"", "{", "{}", "{'descr': '<f4'}", "{'descr': '<f4', 'descr': '<f4'}", "{'descr",
        "{'shape': (2}", "{'shape': (2, 'a')}", "{'shape': (-2,)}", "{'fortran_order': Maybe}"}) {
    EXPECT_TRUE(array_error(npy(bad, kData)).starts_with("expected a header {'descr': ...")) << bad;
  }
}

// Any byte changed, any length cut: an error or arrays, never anything else.
TEST(Npz, NoDamageCrashes) {
  const std::string good = read_file(golden("arrays.npz"));
  const auto attempt = [](const std::string& bytes) {
    try {
      parse_npz(bytes, "f");
    } catch (const Error&) {
    }
  };
  for (std::size_t i = 0; i < good.size(); ++i) {
    attempt(good.substr(0, i));
    for (const int value : {0, 1, 127, 255}) {
      std::string bad = good;
      bad[i] = static_cast<char>(value);
      attempt(bad);
    }
  }
  for (std::size_t i = 0; i < kGood.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string bad = kGood;
      bad[i] = static_cast<char>(value);
      attempt(zip({{"a.npy", bad}}));
    }
  }
  const std::string xz = read_file(golden("arrays.npz.xz"));
  EXPECT_EQ(unpack_xz(xz, 1 << 20, "f"), good);
  EXPECT_THROW(unpack_xz(xz, 100, "f"), Error);
  EXPECT_THROW(unpack_xz(xz.substr(0, xz.size() / 2), 1 << 20, "f"), Error);
}

}  // namespace
}  // namespace tessera
