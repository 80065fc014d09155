// SPDX-License-Identifier: Apache-2.0
// Writing files: complete, or as if nothing had happened.
#include <qwq/io/atomic_file.hpp>

#include <doctest/doctest.h>

#include <csignal>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.hpp"

namespace {
/// Files of this process cannot grow past `bytes` while it lives, as on a disk that is full.
class full_disk {
 public:
  explicit full_disk(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  full_disk(const full_disk&) = delete;
  full_disk& operator=(const full_disk&) = delete;
  ~full_disk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};
}  // namespace

TEST_CASE("a committed file has its name, its contents and the usual permissions") {
  const scratch temp;
  const auto path = temp / "out.bin";
  {
    qwq::atomic_file file(path);
    file.write("abc");
    CHECK(file.position() == 3);
    file.pad_to(4);
    file.pad_to(4);
    CHECK(file.position() == 4);
    file.write("d");
    file.pad_to(256);
    CHECK(file.position() == 256);
    CHECK_FALSE(std::filesystem::exists(path));
    file.commit();
  }
  CHECK(slurp(path) == std::string("abc\0d", 5) + std::string(251, '\0'));
  CHECK(temp.count() == 1);
  const mode_t mask = ::umask(0);
  ::umask(mask);
  CHECK((static_cast<mode_t>(std::filesystem::status(path).permissions()) & 0777) == (0666 & ~mask));
}

TEST_CASE("pieces of every size around the buffer arrive in order") {
  const scratch temp;
  std::string expected;
  {
    qwq::atomic_file file(temp / "out");
    const std::size_t mib = 1 << 20;
    for (const std::size_t size :
         {std::size_t{1}, mib - 1, mib, mib + 1, std::size_t{0}, 3 * mib, std::size_t{7}, mib - 7}) {
      const std::string piece(size, static_cast<char>('a' + expected.size() % 23));
      file.write(piece);
      expected += piece;
      CHECK(file.position() == expected.size());
    }
    file.commit();
  }
  CHECK(slurp(temp / "out") == expected);
}

TEST_CASE("without commit the old file stays and nothing is left behind") {
  const scratch temp;
  temp.put("out", "old");
  {
    qwq::atomic_file file(temp / "out");
    file.write(std::string(3 << 20, 'n'));
    CHECK(temp.count() == 2);
  }
  CHECK(slurp(temp / "out") == "old");
  CHECK(temp.count() == 1);
  qwq::write_file(temp / "out", "new");
  CHECK(slurp(temp / "out") == "new");
}

TEST_CASE("two writers of one target do not meet") {
  const scratch temp;
  qwq::atomic_file a(temp / "out"), b(temp / "out");
  a.write("a");
  b.write("bb");
  b.commit();
  CHECK(slurp(temp / "out") == "bb");
  a.commit();
  CHECK(slurp(temp / "out") == "a");
  CHECK(temp.count() == 1);
}

TEST_CASE("what a killed process left behind goes when its file is written again, and nothing else") {
  const scratch temp;
  const pid_t child = ::fork();
  if (child == 0) {
    const auto* const file = new qwq::atomic_file(temp / "out");
    ::raise(SIGKILL);
    delete file;
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(temp.count() == 1);
  for (const char* other : {"out.tmp", "out.7.tmp.gz", "out.a.0.tmp", "outer.1.0.tmp", "out2.1.0.tmp"})
    temp.put(other, "someone else's");
  {
    qwq::atomic_file first(temp / "out");
    CHECK(temp.count() == 6);  // the old one went, a new one is there
    qwq::atomic_file second(temp / "out");
    CHECK(temp.count() == 7);  // that of a living writer stays
    second.write("new");
    second.commit();
  }
  CHECK(slurp(temp / "out") == "new");
  CHECK(temp.count() == 6);
}

TEST_CASE("a target that cannot be created is named with the reason") {
  const scratch temp;
  temp.put("file", "");
  const auto below = temp / "file/out";
  CHECK(complaint([&] { qwq::atomic_file{below}; }) == below.string() + ": cannot create: Not a directory");
  const auto nowhere = temp / "nowhere/out";
  CHECK(complaint([&] { qwq::atomic_file{nowhere}; }) ==
        nowhere.string() + ": cannot create: No such file or directory");
  CHECK(complaint([&] { qwq::atomic_file{temp.folder()}; }) ==
        temp.folder().string() + ": expected a regular file or nothing, found something else");
  if (::geteuid() != 0) {
    std::filesystem::permissions(temp.folder(),
                                 std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
    CHECK(complaint([&] { qwq::atomic_file{temp / "out"}; }) ==
          (temp / "out").string() + ": cannot create: Permission denied");
    std::filesystem::permissions(temp.folder(), std::filesystem::perms::owner_all);
  }
  CHECK(temp.count() == 1);
}

TEST_CASE("a full disk is reported by name") {
  const int fd = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  const std::byte one{};
  CHECK(complaint([&] {
          qwq::detail::write_all(fd, std::span{&one, 1}, "weights.bin");
        }) == "weights.bin: cannot write: No space left on device");
  ::close(fd);
}

TEST_CASE("a disk that fills up on the way leaves nothing, and the file cannot be continued") {
  const scratch temp;
  const auto path = temp / "out";
  temp.put("out", "old");
  const std::string too_large = path.string() + ": cannot write: File too large";
  {
    const full_disk limit(1 << 16);
    SUBCASE("while writing") {
      qwq::atomic_file file(path);
      CHECK(complaint([&] { file.write(std::string(2 << 20, 'x')); }) == too_large);
      CHECK(temp.count() == 1);
      CHECK(complaint([&] { file.commit(); }) == path.string() + ": cannot flush to disk: Bad file descriptor");
    }
    SUBCASE("when the buffer is flushed at the end") {
      qwq::atomic_file file(path);
      file.write(std::string(1 << 17, 'x'));
      CHECK(complaint([&] { file.commit(); }) == too_large);
    }
    SUBCASE("in one call") {
      CHECK(complaint([&] { qwq::write_file(path, std::string(1 << 17, 'x')); }) == too_large);
    }
  }
  CHECK(slurp(path) == "old");
  CHECK(temp.count() == 1);
}
