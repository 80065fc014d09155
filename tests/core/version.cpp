// SPDX-License-Identifier: Apache-2.0
// The version that CMake read is the version that the headers say.
#include <qwq/core/version.hpp>

#include <doctest/doctest.h>

#include <string>

TEST_CASE("CMake and the header name the same version") {
  CHECK(std::to_string(qwq::version.major) + "." + std::to_string(qwq::version.minor) + "." +
            std::to_string(qwq::version.patch) ==
        QWQ_CMAKE_VERSION);
}
