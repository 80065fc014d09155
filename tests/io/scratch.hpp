// SPDX-License-Identifier: Apache-2.0
// A folder that goes away with the test, and the message of an expected error.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include <qwq/core/error.hpp>

/// A new folder under the system's folder for temporary files, removed at the end.
class scratch {
 public:
  scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "qwq_test_XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
  }
  scratch(const scratch&) = delete;
  scratch& operator=(const scratch&) = delete;
  ~scratch() { std::filesystem::remove_all(folder_); }

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path operator/(std::string_view name) const { return folder_ / name; }

  /// Writes a file, as it would arrive from elsewhere.
  std::filesystem::path put(std::string_view name, std::string_view bytes) const {
    std::ofstream file(folder_ / name, std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    REQUIRE(file.flush().good());
    return folder_ / name;
  }

  /// Number of entries in the folder.
  std::size_t count() const {
    const std::filesystem::directory_iterator begin(folder_), end;
    return static_cast<std::size_t>(std::distance(begin, end));
  }

 private:
  std::filesystem::path folder_;
};

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The message of the error that `f` throws: one line of printable ASCII. "" when it throws none.
template <class F>
std::string complaint(F&& f) {
  try {
    f();
  } catch (const qwq::error& e) {
    const std::string_view what = e.what();
    for (const char c : what) CHECK(static_cast<unsigned char>(c) >= 0x20);
    return std::string(what);
  }
  return "";
}
