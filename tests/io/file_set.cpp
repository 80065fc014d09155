// SPDX-License-Identifier: Apache-2.0
// Files that appear together or not at all.
#include <cstdint>
#include <filesystem>
#include <string>

#include <doctest/doctest.h>

#include "scratch.hpp"
#include <qwq/io/file_set.hpp>

using namespace qwq;

TEST_CASE("file_set: nothing is there before commit, everything after it") {
  const scratch dir;
  dir.put("b", "old");
  file_set files(dir.folder());
  files.add("a").write("first");
  files.add("b").write("second");
  CHECK_FALSE(std::filesystem::exists(dir / "a"));
  CHECK(slurp(dir / "b") == "old");
  const auto written = files.commit();
  REQUIRE(written.size() == 2);
  CHECK(written[0].name == "a");
  CHECK(written[1].bytes == 6);
  CHECK(slurp(dir / "a") == "first");
  CHECK(slurp(dir / "b") == "second");
  CHECK(dir.count() == 2);
}

TEST_CASE("file_set: without commit the folder is as it was") {
  const scratch dir;
  dir.put("b", "old");
  {
    file_set files(dir.folder());
    files.add("a").write("first");
    files.add("b").write("second");
  }
  CHECK(slurp(dir / "b") == "old");
  CHECK(dir.count() == 1);
  {
    file_set files(dir / "new");
    files.add("a").write("first");
    CHECK(std::filesystem::exists(dir / "new"));
  }
  CHECK_FALSE(std::filesystem::exists(dir / "new"));
}

TEST_CASE("file_set: a folder that cannot be made, and a target that cannot be replaced, are refused") {
  const scratch dir;
  dir.put("file", "");
  std::filesystem::create_directory(dir / "taken");
  CHECK(complaint([&] {
          file_set files(dir / "file/inside");
        }).starts_with((dir / "file/inside").string() + ": cannot create: "));
  file_set files(dir.folder());
  CHECK(complaint([&] { files.add("taken"); }) ==
        (dir / "taken").string() + ": expected a regular file or nothing, found something else");
}

TEST_CASE("file_set: folders that it made go too when nothing comes of it, inner and outer ones") {
  const scratch dir;
  {
    file_set files(dir / "a/b/c/");
    files.add("d/e").write("first");
    CHECK(std::filesystem::exists(dir / "a/b/c/d"));
  }
  CHECK(dir.count() == 0);
  file_set files(dir / "a/b");
  files.add("c/d").write("first");
  files.commit();
  CHECK(slurp(dir / "a/b/c/d") == "first");
}

TEST_CASE("file_set: sizes alone can be asked for, and touch nothing") {
  const scratch dir;
  std::uint64_t heard = 0;
  file_set files(dir / "nowhere", {file_use::count, [&](std::uint64_t bytes) { heard += bytes; }});
  output_file& file = files.add("a/b");
  CHECK_FALSE(file.takes_bytes());
  file.write("12345");
  file.pad_to(64);
  file.skip(std::uint64_t{1} << 40);
  CHECK_FALSE(file.whole().has_value());
  const auto counted = files.commit();
  REQUIRE(counted.size() == 1);
  CHECK(counted[0].name == "a/b");
  CHECK(counted[0].bytes == (std::uint64_t{1} << 40) + 64);
  CHECK(heard == counted[0].bytes);
  CHECK(dir.count() == 0);
}

TEST_CASE("file_set: files that are there are compared with what they should be") {
  const scratch dir;
  const auto compare = [&](const std::string& a, const std::string& b) {
    return complaint([&] {
      file_set files(dir.folder(), {file_use::compare});
      output_file& first = files.add("a");
      first.begin("w");
      first.write(a);
      files.add("b").write(b);
      files.commit();
    });
  };
  CHECK(compare("1234", "").starts_with((dir / "a").string() + ": cannot open: "));
  dir.put("a", "1234");
  dir.put("b", "");
  CHECK(compare("1234", "") == "");
  CHECK(compare("1254", "") == (dir / "a").string() + ": tensor 'w': byte 2: expected 53, found 51");
  CHECK(compare("12345", "") == (dir / "a").string() + ": tensor 'w': byte 4: expected 53, found the end");
  CHECK(compare("123", "") == (dir / "a").string() + ": expected 3 bytes, found 4");
  CHECK(compare("1234", "x") == (dir / "b").string() + ": byte 0: expected 120, found the end");
  CHECK(slurp(dir / "a") == "1234");
  CHECK(dir.count() == 2);
}

TEST_CASE("file_set: who hears of the bytes can stop it, and the folder is as it was") {
  const scratch dir;
  dir.put("a", "old");
  for (const std::uint64_t at : {0, 3}) {
    CHECK(complaint([&] {
            file_set files(dir.folder(), {file_use::write, [&](std::uint64_t bytes) {
                                            if (bytes == at) throw error("stop");
                                          }});
            files.add("a").write("new");
            files.commit();
          }) == "stop");
    CHECK(slurp(dir / "a") == "old");
    CHECK(dir.count() == 1);
  }
}

TEST_CASE("file_set: outer folders go too when an inner one cannot be made") {
  const scratch dir;
  const auto folder = dir / "n1/n2" / std::string(300, 'a');
  CHECK(complaint([&] { file_set files(folder); }) == folder.string() + ": cannot create: File name too long");
  CHECK(dir.count() == 0);
  {
    file_set files(dir / "kept");
    CHECK(complaint([&] { files.add("n1/" + std::string(300, 'a') + "/file"); }).ends_with("File name too long"));
  }
  CHECK(dir.count() == 0);
}
