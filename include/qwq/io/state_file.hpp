// SPDX-License-Identifier: Apache-2.0
// Defines `state_file`, the serialized form of a saved session: its types, its states and their values.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <istream>
#include <limits>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwq/core/dtype.hpp"
#include "qwq/core/error.hpp"
#include "qwq/core/quote.hpp"

namespace qwq {

/// One state of a saved session: an array [outer, rows, inner].
struct saved_state {
  std::string name;         ///< Name of the state.
  std::int64_t layer = -1;  ///< Layer number, or -1.
  dtype type = dtype::f32;  ///< Element type.
  bool running = false;     ///< All rows are saved, not only those of the tokens in the text.
  std::int64_t outer = 1;   ///< Heads of a cache.
  std::int64_t rows = 1;    ///< Saved rows per head.
  std::int64_t inner = 1;   ///< Elements of a row.
  /// Compares all members.
  friend bool operator==(const saved_state&, const saved_state&) = default;
};

/// A saved session. The file is "QWQSTATE", version, header size (u32 each), the header, its checksum, the values, and
/// their checksum (FNV-1a, 64 bits); numbers are little-endian.
struct state_file {
  std::string model,                ///< Name of the type of the model.
      target,                       ///< Name of the target.
      scheme;                       ///< Name of the scheme.
  std::uint64_t checkpoint = 0;     ///< `fingerprint` of the weights.
  std::int64_t position = 0;        ///< Tokens in the text.
  std::vector<saved_state> states;  ///< For growing states, `rows` is `position`.
  std::vector<std::byte> values;    ///< Values of all states, in order: elements, then the scales of 8-bit codes.
};

namespace detail {

inline constexpr std::string_view state_magic = "QWQSTATE";
inline constexpr std::uint32_t state_version = 1;
static_assert(std::endian::native == std::endian::little, "qwq: files of states are written as they are in memory");

/// FNV-1a, 64 bits, of `bytes`; `h` is the hash of the bytes before them.
inline std::uint64_t fnv1a(std::span<const std::byte> bytes, std::uint64_t h = 0xcbf29ce484222325u) {
  for (const std::byte b : bytes) h = (h ^ static_cast<std::uint64_t>(b)) * 0x100000001b3u;
  return h;
}

/// Serializes numbers and strings.
struct state_packer {
  std::vector<std::byte> bytes;

  template <class T>
  void number(T value) {
    const auto* first = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), first, first + sizeof(T));
  }
  void string(std::string_view s) {
    number(static_cast<std::uint32_t>(s.size()));
    const auto* first = reinterpret_cast<const std::byte*>(s.data());
    bytes.insert(bytes.end(), first, first + s.size());
  }
};

/// Parses them; `where` is the name of the file in messages.
struct state_parser {
  std::span<const std::byte> rest;
  const std::string& where;

  [[noreturn]] void refuse(const std::string& what) const { throw error(where + ": " + what); }
  std::span<const std::byte> take(std::uint64_t size) {
    if (size > rest.size()) refuse("not a whole file of states: its header ends early");
    const auto out = rest.first(static_cast<std::size_t>(size));
    rest = rest.subspan(static_cast<std::size_t>(size));
    return out;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string string() {
    const auto size = number<std::uint32_t>();
    const auto bytes = take(size);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  /// A number of elements or rows.
  std::int64_t count(const char* field) {
    const auto n = number<std::int64_t>();
    if (n < 0 || n > std::int64_t{1} << 40)
      refuse(std::string(field) + ": expected a number of elements, found " + std::to_string(n));
    return n;
  }
};

/// Size in bytes of the values of a state, with scales. Throws if it exceeds the address space.
inline std::uint64_t state_bytes(const saved_state& s, const std::string& where) {
  const auto times = [&](std::uint64_t a, std::uint64_t b) {
    if (a != 0 && b > (std::uint64_t{1} << 48) / a) throw error(where + ": state " + quote(s.name) + " is too large");
    return a * b;
  };
  const std::uint64_t rows = times(static_cast<std::uint64_t>(s.outer), static_cast<std::uint64_t>(s.rows));
  const std::uint64_t row = byte_size(s.type, static_cast<std::size_t>(s.inner));
  return times(rows, row) + (s.type == dtype::i8 ? times(rows, sizeof(float)) : 0);
}

}  // namespace detail

/// Writes a state file. Throws `error` if writing fails.
inline void write_state_file(std::ostream& out, const state_file& f, const std::string& where) {
  detail::state_packer header;
  for (const std::string_view s : {std::string_view(f.model), std::string_view(f.target), std::string_view(f.scheme)})
    header.string(s);
  header.number(f.checkpoint);
  header.number(f.position);
  header.number(static_cast<std::uint32_t>(f.states.size()));
  for (const saved_state& s : f.states) {
    header.string(s.name);
    header.number(s.layer);
    header.number(static_cast<std::uint8_t>(s.type));
    header.number(static_cast<std::uint8_t>(s.running ? 1 : 0));
    for (const std::int64_t n : {s.outer, s.rows, s.inner}) header.number(n);
  }
  const auto write = [&](std::span<const std::byte> bytes) {
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  };
  const auto write_number = [&](auto n) { write(std::as_bytes(std::span(&n, 1))); };
  write(std::as_bytes(std::span(detail::state_magic)));
  write_number(detail::state_version);
  write_number(static_cast<std::uint32_t>(header.bytes.size()));
  write(header.bytes);
  write_number(detail::fnv1a(header.bytes));
  write(f.values);
  write_number(detail::fnv1a(f.values));
  out.flush();
  if (!out) throw error(where + ": cannot write the states of a session");
}

/// Reads a state file. Throws `error`, one line that begins with `where`, if it is not a state file, has another
/// version, is truncated or damaged. The caller checks that model and states match.
inline state_file read_state_file(std::istream& in, const std::string& where) {
  const auto refuse = [&](const std::string& what) { throw error(where + ": " + what); };
  const auto read = [&](std::uint64_t size) {
    // In pieces: a damaged size must not cause a large allocation.
    std::vector<std::byte> bytes;
    constexpr std::uint64_t piece = std::uint64_t{1} << 20;
    while (bytes.size() < size) {
      const std::size_t before = bytes.size(), more = static_cast<std::size_t>(std::min(piece, size - before));
      bytes.resize(before + more);
      in.read(reinterpret_cast<char*>(bytes.data() + before), static_cast<std::streamsize>(more));
      if (static_cast<std::size_t>(in.gcount()) != more)
        refuse("expected " + std::to_string(size) + " bytes, found " +
               std::to_string(before + static_cast<std::size_t>(in.gcount())) + ": the file of states is cut off");
    }
    return bytes;
  };
  const auto read_u32 = [&] {
    std::uint32_t n;
    std::memcpy(&n, read(sizeof n).data(), sizeof n);
    return n;
  };
  const auto check_sum = [&](const std::vector<std::byte>& bytes, const char* what) {
    std::uint64_t sum;
    std::memcpy(&sum, read(sizeof sum).data(), sizeof sum);
    if (sum != detail::fnv1a(bytes)) refuse(std::string("the file of states is damaged in its ") + what);
  };

  const std::vector<std::byte> magic = read(detail::state_magic.size());
  if (!std::ranges::equal(magic, std::as_bytes(std::span(detail::state_magic)))) refuse("not a file of states");
  if (const std::uint32_t version = read_u32(); version != detail::state_version)
    refuse("expected version " + std::to_string(detail::state_version) + " of the file of states, found " +
           std::to_string(version));
  const std::uint32_t header_size = read_u32();
  if (header_size > 1u << 24) refuse("expected a header of at most 16 MiB, found " + std::to_string(header_size));
  const std::vector<std::byte> header = read(header_size);
  check_sum(header, "header");

  state_file f;
  detail::state_parser parser{header, where};
  f.model = parser.string();
  f.target = parser.string();
  f.scheme = parser.string();
  f.checkpoint = parser.number<std::uint64_t>();
  f.position = parser.count("position");
  std::uint64_t bytes = 0;
  const auto count = parser.number<std::uint32_t>();
  for (std::uint32_t i = 0; i < count; ++i) {
    saved_state s;
    s.name = parser.string();
    s.layer = parser.number<std::int64_t>();
    const auto type = parser.number<std::uint8_t>(), running = parser.number<std::uint8_t>();
    if (type > static_cast<std::uint8_t>(dtype::i64) || running > 1)
      refuse("state " + detail::quote(s.name) + ": expected an element type, found " + std::to_string(type));
    s.type = static_cast<dtype>(type);
    s.running = running != 0;
    s.outer = parser.count("state");
    s.rows = parser.count("state");
    s.inner = parser.count("state");
    bytes += detail::state_bytes(s, where);
    f.states.push_back(std::move(s));
  }
  if (!parser.rest.empty()) refuse("the header of the file of states has more than it says");
  f.values = read(bytes);
  check_sum(f.values, "values");
  return f;
}

}  // namespace qwq
