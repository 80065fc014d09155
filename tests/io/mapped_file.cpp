// SPDX-License-Identifier: Apache-2.0
// Mapping files: contents, hints, moves, and what cannot be mapped.
#include <qwq/io/mapped_file.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include <sys/stat.h>

#include "scratch.hpp"

namespace {
/// Resident pages of this process.
long resident() {
  std::ifstream statm("/proc/self/statm");
  long total = 0, pages = -1;
  statm >> total >> pages;
  return pages;
}
}  // namespace

TEST_CASE("a mapped file shows the bytes of the file") {
  const scratch temp;
  const qwq::mapped_file file(temp.put("a", "hello\nworld"));
  CHECK(file.size() == 11);
  CHECK(file.text() == "hello\nworld");
  CHECK(file.bytes()[1] == std::byte{'e'});
}

TEST_CASE("an empty file maps to no bytes") {
  const scratch temp;
  const qwq::mapped_file file(temp.put("empty", ""));
  CHECK(file.size() == 0);
  CHECK(file.text().empty());
}

TEST_CASE("moving a mapping keeps its address") {
  const scratch temp;
  qwq::mapped_file a(temp.put("a", "first"));
  const auto* address = a.bytes().data();
  qwq::mapped_file b(std::move(a));
  CHECK(b.bytes().data() == address);
  qwq::mapped_file c(temp.put("c", "second"));
  c = std::move(b);
  CHECK(c.bytes().data() == address);
  CHECK(c.text() == "first");
}

TEST_CASE("released pages leave memory and come back with the same contents") {
  const scratch temp;
  const std::size_t size = 8 << 20;
  std::string content(size, 'x');
  content.front() = 'a';
  content.back() = 'z';
  const qwq::mapped_file file(temp.put("big", content));
  file.sequential(file.bytes());
  const auto count = [&] {
    std::size_t xs = 0;
    for (const char c : file.text()) xs += c == 'x' ? 1 : 0;
    return xs;
  };
  CHECK(count() == size - 2);
  const long before = resident();
  file.release(file.bytes().subspan(1, size - 2));
  CHECK(before - resident() > static_cast<long>(size / 4096 / 2));
  CHECK(count() == size - 2);
  CHECK(file.text().back() == 'z');
}

TEST_CASE("a hint about memory that is not of the file changes nothing") {
  const scratch temp;
  const qwq::mapped_file file(temp.put("a", "abc"));
  const std::string other(1 << 16, 'o');
  CHECK_FALSE(file.contains(std::as_bytes(std::span{other})));
  CHECK(file.contains(file.bytes().subspan(3)));
  file.release(std::as_bytes(std::span{other}));
  CHECK(other == std::string(1 << 16, 'o'));
}

TEST_CASE("what cannot be mapped is named") {
  const scratch temp;
  const auto missing = temp / "missing";
  CHECK(complaint([&] { qwq::mapped_file{missing}; }) == missing.string() + ": cannot open: No such file or directory");
  CHECK(complaint([&] { qwq::mapped_file{temp.folder()}; }) ==
        temp.folder().string() + ": expected a regular file, found something else");
  const auto pipe = temp / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(complaint([&] { qwq::mapped_file{pipe}; }) ==
        pipe.string() + ": expected a regular file, found something else");
}

TEST_CASE("a link that leads nowhere is named with its target") {
  const scratch temp;
  const auto link = temp / "link";
  std::filesystem::create_symlink("../blobs/gone", link);
  CHECK(complaint([&] { qwq::mapped_file{link}; }) ==
        link.string() + ": cannot open: it is a link to ../blobs/gone, which is not there");
  const auto loop = temp / "loop";
  std::filesystem::create_symlink("loop", loop);
  CHECK(complaint([&] { qwq::mapped_file{loop}; }) ==
        loop.string() + ": cannot open: Too many levels of symbolic links");
}

TEST_CASE("a file that stands for another one is refused") {
  const scratch temp;
  const auto refusal = [&](const std::string& text) {
    const auto path = temp.put("model.safetensors", text);
    return complaint([&] { qwq::mapped_file{path}; });
  };
  const std::string expected = (temp / "model.safetensors").string() + ": expected the file itself, found ";
  CHECK(refusal("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n") ==
        expected + "65 bytes of a git-lfs pointer to it (run `git lfs pull`)");
  CHECK(refusal("<!DOCTYPE html>\n<html>") == expected + "22 bytes of an HTML page");
  CHECK(refusal("<HTML><body>") == expected + "12 bytes of an HTML page");
  for (const char* sound : {"version", "<htm", "<|im_start|>"}) CHECK(refusal(sound) == "");
}

TEST_CASE("a file that is written to while it is mapped is noticed, one that is replaced is still there") {
  const scratch temp;
  const auto path = temp.put("a", "first");
  const qwq::mapped_file file(path);
  CHECK(complaint([&] { file.check_unchanged(); }) == "");
  std::filesystem::rename(temp.put("b", "other"), path);
  CHECK(complaint([&] { file.check_unchanged(); }) == "");
  CHECK(file.text() == "first");
  const qwq::mapped_file second(path);
  temp.put("a", "longer than before");
  CHECK(complaint([&] { second.check_unchanged(); }) ==
        path.string() + ": expected a file that does not change while it is read, found one that did");
}
