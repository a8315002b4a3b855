// Malformed safetensors files, one cause each, and what the message must say about it.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::testing {

// Header length, header, `data` bytes of data.
inline std::string safetensors_file(std::string_view header, std::size_t data) {
  const std::uint64_t length = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  out += header;
  for (std::size_t i = 0; i < data; ++i) out += static_cast<char>(i * 37 + 11);
  return out;
}

struct MalformedCase {
  std::string cause;
  std::string bytes;
  std::string message;  // whole, after "FILE: "
};

inline std::vector<MalformedCase> malformed_safetensors() {
  using namespace std::string_literals;
  auto one = [](std::string_view fields, std::size_t data) {
    return safetensors_file("{\"w\":{" + std::string(fields) + "}}", data);
  };
  const std::string length_over = "\xff\xff\xff\xff\xff\xff\xff\x7f{}"s;
  std::string deep = "{\"w\":{\"dtype\":\"U8\",\"shape\":";
  for (int i = 0; i < 100000; ++i) deep += '[';
  return {
      {"empty", "", "0 bytes are too few for a safetensors file"},
      {"seven bytes", "1234567", "7 bytes are too few for a safetensors file"},
      {"length over the limit", length_over,
       "byte 0: header length 9223372036854775807 is over the limit of 100000000 (is this a "
       "safetensors file?)"},
      {"length over the file", "\x40\0\0\0\0\0\0\0{}"s,
       "byte 0: header length 64 does not fit into a file of 10 bytes"},
      {"empty header", safetensors_file("", 0), "byte 8: the header does not begin with '{'"},
      {"leading space", safetensors_file(" {}", 0), "byte 8: the header does not begin with '{'"},
      {"byte order mark", safetensors_file("\xef\xbb\xbf{}", 0),
       "byte 8: the header does not begin with '{'"},
      {"list", safetensors_file("[]", 0), "byte 8: the header does not begin with '{'"},
      {"unfinished", safetensors_file("{\"w\":", 0),
       "byte 13: syntax error while parsing value - unexpected end of input; expected '[', '{', "
       "or a literal"},
      {"text after the object", safetensors_file("{} {}", 0),
       "byte 11: syntax error while parsing value - unexpected '{'; expected end of input"},
      {"NUL padding", safetensors_file("{}\0\0"s, 0), "byte 10: NUL byte in JSON"},
      {"not UTF-8", safetensors_file("{\"w\xff\":1}", 0),
       "byte 11: syntax error while parsing object key - invalid string: ill-formed UTF-8 byte"},
      {"overlong UTF-8", safetensors_file("{\"\xc0\xaf\":1}", 0),
       "byte 10: syntax error while parsing object key - invalid string: ill-formed UTF-8 byte"},
      {"half a surrogate pair", safetensors_file("{\"\\ud800\":1}", 0),
       "byte 16: syntax error while parsing object key - invalid string: surrogate U+D800..U+DBFF "
       "must be followed by U+DC00..U+DFFF"},
      {"number out of range", one("\"dtype\":1e999", 0),
       "byte 26: number overflow parsing '1e999'"},
      {"nesting", safetensors_file(deep, 0), "byte 37: lists and objects nest deeper than 4"},
      {"name twice",
       safetensors_file("{\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                        "\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                        1),
       "byte 61: key 'w' occurs twice in one object"},
      {"name twice, written differently", safetensors_file("{\"a\\\"\":1,\"\\u0061\\u0022\":2}", 0),
       "byte 17: key 'a\"' occurs twice in one object"},
      {"field twice", one("\"dtype\":\"U8\",\"dtype\":\"F32\"", 0),
       "byte 27: key 'dtype' occurs twice in one object"},
      {"tensor is no object", safetensors_file("{\"w\":3}", 0),
       "byte 9: tensor 'w': expected an object, got 3"},
      {"unknown field", one("\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1],\"x\":0", 1),
       "byte 9: tensor 'w': unknown field 'x'"},
      {"no dtype", one("\"shape\":[],\"data_offsets\":[0,1]", 1),
       "byte 9: tensor 'w': field 'dtype' is missing"},
      {"no shape", one("\"dtype\":\"U8\",\"data_offsets\":[0,1]", 1),
       "byte 9: tensor 'w': field 'shape' is missing"},
      {"no offsets", one("\"dtype\":\"U8\",\"shape\":[]", 1),
       "byte 9: tensor 'w': field 'data_offsets' is missing"},
      {"dtype is a number", one("\"dtype\":8,\"shape\":[],\"data_offsets\":[0,1]", 1),
       "byte 9: tensor 'w': /dtype: expected a dtype, got 8"},
      {"unknown dtype", one("\"dtype\":\"Q7\",\"shape\":[],\"data_offsets\":[0,1]", 1),
       "byte 9: tensor 'w': /dtype: dtype 'Q7' cannot be read (expected F32, BF16, F16, F64, I8, "
       "U8, I32 or I64)"},
      {"dtype in our spelling", one("\"dtype\":\"u8\",\"shape\":[],\"data_offsets\":[0,1]", 1),
       "byte 9: tensor 'w': /dtype: dtype 'u8' cannot be read (expected F32, BF16, F16, F64, I8, "
       "U8, I32 or I64)"},
      {"shape is text", one("\"dtype\":\"U8\",\"shape\":\"[1]\",\"data_offsets\":[0,1]", 1),
       "byte 9: tensor 'w': /shape: expected a list of dimensions, got string"},
      {"dimension is text", one("\"dtype\":\"U8\",\"shape\":[1,\"2\"],\"data_offsets\":[0,2]", 2),
       "byte 9: tensor 'w': /shape/1: expected an integer, got string"},
      {"dimension is a fraction", one("\"dtype\":\"U8\",\"shape\":[1.5],\"data_offsets\":[0,1]", 1),
       "byte 9: tensor 'w': /shape/0: expected an integer, got 1.5"},
      {"negative dimension", one("\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]", 1),
       "byte 9: tensor 'w': /shape/0: expected an integer of at least 0, got -1"},
      {"dimension over 63 bits",
       one("\"dtype\":\"U8\",\"shape\":[18446744073709551615],\"data_offsets\":[0,1]", 1),
       "byte 9: tensor 'w': /shape/0: expected an integer in [0, 9223372036854775807], got "
       "18446744073709551615"},
      {"rank",
       one("\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"
           "\"data_offsets\":[0,1]",
           1),
       "byte 9: tensor 'w': /shape: expected at most 16 dimensions, got 17"},
      {"shape overflows",
       one("\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]", 0),
       "byte 9: tensor 'w': /shape: the size of [4294967296,4294967296] overflows 64 bits"},
      {"bytes overflow",
       one("\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]", 0),
       "byte 9: tensor 'w': /shape: the size of [4611686018427387904] overflows 64 bits"},
      {"overflow hidden by a zero",
       one("\"dtype\":\"U8\",\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]", 0),
       "byte 9: tensor 'w': /shape: the size of [0,4294967296,4294967296] overflows 64 bits"},
      {"offsets are text", one("\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":\"0,1\"", 1),
       "byte 9: tensor 'w': /data_offsets: expected two offsets, got string"},
      {"three offsets", one("\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1,2]", 1),
       "byte 9: tensor 'w': /data_offsets: expected two offsets, got 3"},
      {"negative offset", one("\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[-1,0]", 1),
       "byte 9: tensor 'w': /data_offsets/0: expected an integer of at least 0, got -1"},
      {"offsets backwards", one("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]", 1),
       "byte 9: tensor 'w': /data_offsets: begin 1 is after end 0"},
      {"truncated", one("\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]", 8),
       "byte 9: tensor 'w': /data_offsets: end 9 is past the data, which has 8 bytes (is the file "
       "truncated?)"},
      {"size is not the shape's", one("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]", 4),
       "byte 9: tensor 'w': /data_offsets: expected 8 bytes for F32[2], got 4"},
      {"bytes after the tensors", one("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]", 3),
       "byte 62: the tensors end here, but 2 more bytes follow"},
      {"bytes without tensors", safetensors_file("{}", 1),
       "byte 10: the tensors end here, but 1 more bytes follow"},
      {"hole before", one("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]", 2),
       "byte 9: tensor 'w': data starts at 1, which leaves a hole after 0"},
      {"overlap",
       safetensors_file("{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]},"
                        "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
                        3),
       "byte 9: tensor 'b': data starts at 1, inside the tensor before it, which ends at 2"},
      {"metadata is a list", safetensors_file("{\"__metadata__\":[]}", 0),
       "byte 9: __metadata__: expected an object of strings, got list"},
      {"metadata of numbers", safetensors_file("{\"__metadata__\":{\"step\":3}}", 0),
       "byte 9: __metadata__: /step: expected a string, got 3"},
      {"line break in a name", safetensors_file("{\"a\\nb\":null}", 0),
       "byte 9: tensor 'a\\x0ab': expected an object, got null"},
  };
}

}  // namespace tessera::testing
