// SPDX-License-Identifier: Apache-2.0
// Fuzz entry: any bytes as a file of states.
#include <qwq/io/state_file.hpp>

#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::istringstream in(std::string(reinterpret_cast<const char*>(data), size));
  fuzz::parse([&] {
    const qwq::state_file f = qwq::read_state_file(in, "fuzz");
    fuzz::expect(f.values.size() <= size && f.position >= 0);
    std::ostringstream out;
    qwq::write_state_file(out, f, "fuzz");
    fuzz::expect(out.str() == std::string(reinterpret_cast<const char*>(data), size).substr(0, out.str().size()));
  });
  return 0;
}
