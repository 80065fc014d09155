// SPDX-License-Identifier: Apache-2.0
// Files that appear together or not at all.
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
