// Messages between pairs of ranks are all that is asked of MPI: sums are made by ourselves
// (ops/communication/reduction.h), in an order that does not depend on it. All calls come from the
// thread that joined.
#include "mpi/open_world.h"

#if defined(TESSERA_MPI)

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <deque>

namespace tessera::mpi {

namespace {

constexpr int kTags = 1 << 14;  // any MPI has as many
constexpr int kGivenUp = 1;     // tag of the last words, on a communicator of their own
// What rank 0 may still take to save and to say why, before another rank ends the job.
constexpr unsigned kLastSeconds = 60;

void require(int result, const char* what) {
  if (result == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(result, text.data(), &length);
  throw CommunicationError(
      cat("MPI: ", what, ": ", std::string(text.data(), static_cast<std::size_t>(length))));
}

using Clock = std::chrono::steady_clock;

// A link slower than the one that is there, TESSERA_LINK_MBYTES a second, for measurements: what
// others send takes as long as what this rank sends, one exchange after the other. 0: as it is.
class Link {
 public:
  Link() {
    const char* text = std::getenv(kName);
    if (text == nullptr) return;
    char* end = nullptr;
    const double mbytes = std::strtod(text, &end);
    check(end != text && *end == '\0' && std::isfinite(mbytes) && mbytes > 0, kName,
          ": expected megabytes a second above 0, got '", text, "'");
    seconds_per_byte_ = 1e-6 / mbytes;
  }
  // When an exchange that begins now is over.
  Clock::time_point end_of(std::int64_t bytes) {
    if (seconds_per_byte_ == 0) return {};
    const std::chrono::duration<double> takes(static_cast<double>(bytes) * seconds_per_byte_);
    return free_ =
               std::max(free_, Clock::now()) + std::chrono::duration_cast<Clock::duration>(takes);
  }

 private:
  static constexpr const char* kName = "TESSERA_LINK_MBYTES";
  double seconds_per_byte_ = 0;
  Clock::time_point free_;
};

class Exchange final : public Pending {
 public:
  Exchange(bool& broken, Clock::time_point least) : broken_(broken), least_(least) {}
  // MPI may still read and write what is no longer there.
  ~Exchange() override { broken_ = broken_ || !done_; }
  bool advance() override {
    if (done_) return true;
    if (least_ != Clock::time_point() && Clock::now() < least_) return false;
    int done = 0;
    require(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done,
                        MPI_STATUSES_IGNORE),
            "exchange");
    done_ = done != 0;
    return done_;
  }
  MPI_Request* next() { return &requests_.emplace_back(MPI_REQUEST_NULL); }

 private:
  std::vector<MPI_Request> requests_;
  bool& broken_;
  Clock::time_point least_;  // when it may be over
  bool done_ = false;
};

class OpenWorld final : public World {
 public:
  explicit OpenWorld(std::size_t most_bytes) : most_bytes_(most_bytes) {
    int level = 0;
    require(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level), "initialisation");
    MPI_Comm_dup(MPI_COMM_WORLD, &data_);
    MPI_Comm_dup(MPI_COMM_WORLD, &words_);
    for (const MPI_Comm comm : {data_, words_}) MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(data_, &rank_);
    MPI_Comm_size(data_, &size_);
    MPI_Comm local = MPI_COMM_NULL;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local);
    MPI_Comm_size(local, &local_size_);
    MPI_Comm_free(&local);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_size() const override { return local_size_; }

  std::unique_ptr<Pending> exchange(std::int64_t tag, Parts parts, Places places) override {
    const std::int64_t before = traffic().bytes;
    count(parts);
    auto out = std::make_unique<Exchange>(broken_, link_.end_of(traffic().bytes - before));
    const int mpi_tag = static_cast<int>(tag % kTags);
    for (int step = 1; step < size_; ++step) {  // not all to rank 0 first
      const int from = (rank_ + size_ - step) % size_;
      in_messages(places[static_cast<std::size_t>(from)], [&](std::byte* at, int bytes) {
        require(MPI_Irecv(at, bytes, MPI_BYTE, from, mpi_tag, data_, out->next()), "receive");
      });
    }
    for (int step = 1; step < size_; ++step) {
      const int to = (rank_ + step) % size_;
      in_messages(parts[static_cast<std::size_t>(to)], [&](const std::byte* at, int bytes) {
        require(MPI_Isend(at, bytes, MPI_BYTE, to, mpi_tag, data_, out->next()), "send");
      });
    }
    const auto own = static_cast<std::size_t>(rank_);
    if (!places[own].empty())
      std::memcpy(places[own].data(), parts[own].data(), places[own].size());
    return out;
  }

  void give_up(const std::string& why) override {
    const std::string& text = last_words_.emplace_back(why);
    for (int r = 0; r < size_; ++r) {
      if (r == rank_) continue;
      MPI_Request request = MPI_REQUEST_NULL;
      MPI_Isend(text.data(), static_cast<int>(text.size()), MPI_BYTE, r, kGivenUp, words_,
                &request);
      MPI_Request_free(&request);
    }
  }

  void end(int code) override {
    if (!broken_ && (code == 0 || code >= 128)) {  // all ranks end so
      MPI_Finalize();
      return;
    }
    // Rank 0 has said why and saved what there is, or will.
    if (rank_ != 0) ::sleep(kLastSeconds);
    MPI_Abort(MPI_COMM_WORLD, code == 0 ? 1 : code);
  }

 protected:
  void look() override {
    int there = 0;
    MPI_Status status;
    require(MPI_Iprobe(MPI_ANY_SOURCE, kGivenUp, words_, &there, &status), "probe");
    if (there == 0) return;
    int length = 0;
    MPI_Get_count(&status, MPI_BYTE, &length);
    std::string text(static_cast<std::size_t>(length), '\0');
    MPI_Recv(text.data(), length, MPI_BYTE, status.MPI_SOURCE, kGivenUp, words_, MPI_STATUS_IGNORE);
    throw CommunicationError(cat("rank ", status.MPI_SOURCE, ": ", text));
  }

 private:
  // A message counts in ints; those of one tag arrive in the order in which they were sent.
  template <class Byte, class Fn>
  void in_messages(std::span<Byte> all, Fn&& fn) const {
    for (std::size_t at = 0; at < all.size(); at += most_bytes_)
      fn(all.data() + at, static_cast<int>(std::min(most_bytes_, all.size() - at)));
  }

  MPI_Comm data_ = MPI_COMM_NULL, words_ = MPI_COMM_NULL;
  std::size_t most_bytes_;  // of a message
  Link link_;
  int rank_ = 0, size_ = 1, local_size_ = 1;
  bool broken_ = false;  // an exchange was left before it was done
  std::deque<std::string> last_words_;
};

}  // namespace

std::unique_ptr<World> open_world(std::size_t most_bytes) {
  return std::make_unique<OpenWorld>(most_bytes);
}

}  // namespace tessera::mpi

#else

namespace tessera::mpi {

std::unique_ptr<World> open_world(std::size_t) {
  return nullptr;
}

}  // namespace tessera::mpi

#endif
