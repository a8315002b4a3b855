// The bytes of a data file, unpacked on the way when it is compressed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace tessera::datasets {

// Plain, gzip or xz, told apart by the first bytes and not by the name.
class ByteReader {
 public:
  // `reader` stands at the front of every message: "idx" gives "[idx] PATH: no such file". Throws
  // Error when there is no such file, it is something else, or it cannot be opened.
  ByteReader(const std::string& reader, const std::filesystem::path& path);
  ~ByteReader();
  ByteReader(const ByteReader&) = delete;
  ByteReader& operator=(const ByteReader&) = delete;

  // "[idx] PATH", to start a message with.
  const std::string& where() const { return where_; }
  // Nothing for a plain file, else "gzip" or "xz".
  const std::string& packing() const { return packing_; }
  bool packed() const { return !packing_.empty(); }
  std::int64_t file_bytes() const { return file_bytes_; }
  // No file of file_bytes() can hold more than this.
  std::int64_t most_bytes() const;
  // Bytes handed out so far.
  std::int64_t position() const { return position_; }

  // Up to n bytes; fewer only at the end. Throws Error when the stream is damaged. A packed stream
  // verifies its checksum when it is read to the end, so read one byte more than you expect.
  std::int64_t read(char* out, std::int64_t n);

 private:
  struct Stream;

  std::string where_, packing_;
  std::unique_ptr<Stream> stream_;
  std::int64_t file_bytes_ = 0, position_ = 0;
};

// The files in a folder with `part` in their names, by name. Throws Error where it cannot be
// listed.
std::vector<std::filesystem::path> files_in(const std::filesystem::path& dir,
                                            const std::string& part);

}  // namespace tessera::datasets
