// SPDX-License-Identifier: Apache-2.0
// System calls that fail while files are written: the folder is whole or as it was, and nothing else stays.
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "scratch.hpp"
#include <qwq/io/atomic_file.hpp>
#include <qwq/io/file_set.hpp>

namespace {

/// Which calls of one function fail: those from `first` on, `count` of them.
struct fault {
  int first = 0, count = 0, error = EIO;
  int calls = 0;
  std::function<void(int)> before{};  ///< Is called before each call with its number.

  bool hits() {
    const int call = calls++;
    if (before) std::exchange(before, {})(call);
    if (call < first || call >= first + count) return false;
    errno = error;
    return true;
  }
};
fault renames, syncs, locks;

void heal() { renames = syncs = locks = {}; }

}  // namespace

// These take the place of the C library's in this executable.
extern "C" int rename(const char* from, const char* to) noexcept {
  return renames.hits() ? -1 : static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
extern "C" int fsync(int fd) { return syncs.hits() ? -1 : static_cast<int>(::syscall(SYS_fsync, fd)); }
extern "C" int flock(int fd, int operation) noexcept {
  return locks.hits() ? -1 : static_cast<int>(::syscall(SYS_flock, fd, operation));
}

namespace {

using files = std::map<std::string, std::string>;

files all_of(const std::filesystem::path& folder) {
  files found;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    found[entry.path().filename().string()] = slurp(entry.path());
  return found;
}

void put_all(const scratch& dir, const files& all) {
  for (const auto& [name, bytes] : all) dir.put(name, bytes);
}

/// Writes a, b and c, and returns the complaint.
std::string write_three(const std::filesystem::path& folder, qwq::file_handling how = {}) {
  return complaint([&] {
    qwq::file_set set(folder, std::move(how));
    for (const char* name : {"a", "b", "c"}) set.add(name).write(std::string("new ") + name);
    set.commit();
  });
}

const files fresh{{"a", "new a"}, {"b", "new b"}, {"c", "new c"}};

}  // namespace

TEST_CASE("whichever rename or flush fails, the folder is as it was") {
  for (const files& before : {files{}, files{{"b", "old b"}}, files{{"a", "old a"}, {"b", "old b"}, {"c", "old c"}}}) {
    for (fault* f : {&renames, &syncs}) {
      int failed = 0;
      for (int first = 0;; ++first) {
        const scratch dir;
        put_all(dir, before);
        heal();
        f->first = first;
        f->count = 1;
        const std::string message = write_three(dir.folder());
        const bool hit = f->calls > first;
        heal();
        INFO("call " << first << ": " << message);
        if (!hit) {
          CHECK(message == "");
          CHECK(all_of(dir.folder()) == fresh);
          break;
        }
        ++failed;
        // Renaming a file that is not there is a failure that counts only if something is there.
        if (message.empty()) {
          CHECK(all_of(dir.folder()) == fresh);
          continue;
        }
        CHECK(message.find(": cannot ") != message.npos);
        CHECK(message.ends_with("Input/output error"));
        CHECK(all_of(dir.folder()) == before);
      }
      CHECK(failed >= 3);
    }
  }
}

TEST_CASE("an older file that cannot be put back is kept, and the message says where") {
  const scratch dir;
  const files before{{"a", "old a"}, {"b", "old b"}, {"c", "old c"}};
  put_all(dir, before);
  heal();
  renames.first = 4;  // after three older files and one new one
  renames.count = 2;  // the next new file, and the first older one on its way back
  const std::string message = write_three(dir.folder());
  heal();
  const auto kept = message.find("; the older file is kept as ");
  REQUIRE(kept != message.npos);
  const std::filesystem::path file = message.substr(kept + std::string("; the older file is kept as ").size());
  CHECK(slurp(file) == "old a");
  CHECK(slurp(dir / "b") == "old b");
  CHECK(slurp(dir / "c") == "old c");
  CHECK_FALSE(std::filesystem::exists(dir / "a"));
  CHECK(dir.count() == 3);
}

TEST_CASE("each file is flushed once") {
  const scratch dir;
  heal();
  CHECK(write_three(dir.folder()) == "");
  CHECK(syncs.calls == 3);
}

TEST_CASE("a file system without locks is written to, and nothing stays behind") {
  for (const int code : {ENOLCK, ENOSYS, EOPNOTSUPP}) {
    const scratch dir;
    dir.put("a", "old a");
    heal();
    locks.count = 1'000'000;
    locks.error = code;
    CHECK(write_three(dir.folder()) == "");
    CHECK(locks.calls < 20);
    heal();
    CHECK(all_of(dir.folder()) == fresh);
  }
}

TEST_CASE("a temporary file that another process took for one left behind is given up") {
  const scratch dir;
  heal();
  locks.count = 1;
  locks.error = EWOULDBLOCK;
  qwq::write_file(dir / "a", "new a");
  heal();
  CHECK(all_of(dir.folder()) == files{{"a", "new a"}});
}

TEST_CASE("temporary files that are always taken end in an error") {
  const scratch dir;
  heal();
  locks.count = 1'000'000;
  locks.error = EWOULDBLOCK;
  CHECK(complaint([&] { qwq::atomic_file{dir / "a"}; }) == (dir / "a").string() + ": cannot create: File exists");
  heal();
  CHECK(dir.count() == 0);
}

TEST_CASE("of two sets that are put into one folder, one waits and gives up") {
  const scratch dir;
  heal();
  std::string other;
  renames.before = [&](int) { other = write_three(dir.folder(), {.patience = std::chrono::milliseconds(30)}); };
  qwq::file_set set(dir.folder());
  for (const char* name : {"a", "b", "c"}) set.add(name).write(std::string("mine ") + name);
  set.commit();
  heal();
  CHECK(other == dir.folder().string() + ": expected no other export into this folder, found one that is not done");
  CHECK(all_of(dir.folder()) == files{{"a", "mine a"}, {"b", "mine b"}, {"c", "mine c"}});
}

TEST_CASE("standard streams that are closed are no files to write to") {
  const scratch dir;
  const int saved = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
  if (saved >= 0) ::close(STDIN_FILENO);
  {
    qwq::atomic_file file(dir / "a");
    CHECK(::fcntl(STDIN_FILENO, F_GETFD) == -1);
    file.write("new a");
    file.commit();
  }
  if (saved >= 0) {
    ::dup2(saved, STDIN_FILENO);
    ::close(saved);
  }
  CHECK(all_of(dir.folder()) == files{{"a", "new a"}});
}
